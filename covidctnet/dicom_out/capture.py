"""DICOM secondary capture: the answer and its picture, for a PACS that shows no SEG and no SR."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from covidctnet.dicom_out.headers import Headers
from covidctnet.dicom_out.objects import Maker, finish
from covidctnet.evidence import Evidence, LesionVolume
from covidctnet.report.evidence import draw
from covidctnet.report.pictures import canvas_of
from covidctnet.report.words import flag_words
from covidctnet.results import Prediction

__all__ = ["capture_of", "drawn_page"]

_MARGIN, _LINE = 16, 30
_LEAST_WIDTH = 900
_BACK, _FRONT, _WARNING = (16, 18, 22), (236, 238, 240), (255, 176, 0)
NOTICE = "RESEARCH USE ONLY. NOT A MEDICAL DEVICE."


def capture_of(
    prediction: Prediction, headers: Headers, maker: Maker, shown: Iterable[Evidence]
) -> Dataset:
    """The picture of an answer as a secondary capture.

    Args:
        prediction: The answer.
        headers: Of the source.
        maker: Who answers.
        shown: Evidence as it is kept for a picture.
    """
    pixels = drawn_page(prediction, maker, shown)
    study = headers.study
    made = SCImage(
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=study.StudyInstanceUID,
        series_instance_uid=maker.uid("picture series"),
        sop_instance_uid=maker.uid("picture", hashlib.sha256(pixels.tobytes()).hexdigest()),
        patient_id=study.PatientID,
        patient_name=study.PatientName,
        patient_birth_date=study.PatientBirthDate,
        patient_sex=study.PatientSex,
        accession_number=study.AccessionNumber,
        study_id=study.StudyID,
        study_date=study.StudyDate,
        study_time=study.StudyTime,
        referring_physician_name=study.ReferringPhysicianName,
        laterality=None,
        patient_orientation=("L", "P"),
        **maker.equipment(3),
    )
    made.Modality = "OT"
    made.ConversionType = "WSD"
    made.BurnedInAnnotation = "NO"
    made["PatientOrientation"].value = None
    made.BodyPartExamined = "CHEST"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.SeriesDescription = "covidctnet picture, research use only"
    return finish(made, headers)


def drawn_page(prediction: Prediction, maker: Maker, shown: Iterable[Evidence]) -> np.ndarray:
    """What the answer says, above the rows of its picture; it names nobody.

    Args:
        prediction: The answer.
        maker: Who answers.
        shown: Evidence as it is kept for a picture.

    Returns:
        uint8, (row, column, 3).
    """
    rows = [row for one in shown for row in draw(one).rows]
    picture = canvas_of(rows) if any(row.tiles for row in rows) else None
    lines = [(NOTICE, _WARNING), *((text, _FRONT) for text in _lines(prediction, maker))]
    if picture is not None:
        lines.append((f"Rows: {', '.join(row.kind for row in rows)}", _FRONT))
    height = 2 * _MARGIN + _LINE * len(lines)
    width = max(_LEAST_WIDTH, picture.width + 2 * _MARGIN if picture else 0)
    page = Image.new("RGB", (width, height + (picture.height + _MARGIN if picture else 0)), _BACK)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(20)
    for number, (text, colour) in enumerate(lines):
        pen.text((_MARGIN, _MARGIN + _LINE * number), text, fill=colour, font=font)
    if picture is not None:
        page.paste(picture, ((width - picture.width) // 2, height))
    return np.asarray(page)


def _lines(prediction: Prediction, maker: Maker) -> list[str]:
    ranked = ", ".join(f"{label.title} {p:.3f}" for label, p in prediction.probabilities.items())
    lines = [f"{prediction.label.title} ({prediction.status}): {ranked}"]
    if prediction.prediction_set:
        left = ", ".join(label.title for label in prediction.prediction_set)
        lines.append(f"Left open by the prediction set: {left}")
    lesions = prediction.find(LesionVolume)
    if lesions is not None and lesions.lung_ml:
        lines.append(
            f"Lesion {lesions.lesion_ml:.0f} ml of {lesions.lung_ml:.0f} ml lung "
            f"({lesions.share:.1%})"
        )
    lines += [flag_words(flag) for flag in prediction.flags]
    lines.append(
        f"System {maker.system}, version {maker.version}, weights {maker.weights[:40]} "
        f"({maker.digest})"
    )
    return lines
