"""What all DICOM objects of results have in common."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from covidctnet.dicom_out.headers import Headers, SourceImage
from covidctnet.dicom_out.uids import uid_of

__all__ = ["MANUFACTURER", "Maker", "content_of", "decimal", "finish", "source_dataset"]

MANUFACTURER = "covidctnet"
# Far from the numbers that scanners count.
_FIRST_SERIES = 9100
# None is required. The third says when highdicom was used.
_OF_A_CLOCK = (
    "InstanceCreationDate",
    "InstanceCreationTime",
    "ContributingEquipmentSequence",
    "DateOfSecondaryCapture",
    "TimeOfSecondaryCapture",
)


@dataclass(frozen=True)
class Maker:
    """Who makes the objects of a study's answer.

    Attributes:
        system: Name.
        weights: Name.
        digest: Of the weights and their settings.
        version: Of this package.
        source: Text that names the images of the source.
    """

    system: str
    weights: str
    digest: str
    version: str
    source: str

    @property
    def algorithm(self) -> str:
        """Name of the algorithm."""
        return self.system[:64]

    @property
    def parameters(self) -> dict[str, str]:
        """What tells these weights from others."""
        return {"weights": self.weights, "weights digest": self.digest}

    def uid(self, *parts: str) -> str:
        """A UID of the study, these weights and this version.

        Args:
            parts: What it names; the digest of the content, where that may differ.
        """
        return uid_of(self.source, self.system, self.digest, self.version, *parts)

    def equipment(self, number: int) -> dict[str, Any]:
        """Arguments that every object of highdicom takes.

        Args:
            number: Of its series among those of the results, from 1.
        """
        return {
            "series_number": _FIRST_SERIES + number,
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.algorithm,
            "software_versions": self.version,
            "device_serial_number": self.digest or "none",
            "specific_character_set": "ISO_IR 192",
        }


def source_dataset(headers: Headers, image: SourceImage) -> Dataset:
    """The elements of one image of a source that other objects are made from."""
    made = Dataset()
    made.update(headers.study)
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = image.sop_class
    made.SOPInstanceUID = image.sop_uid
    made.SeriesInstanceUID = image.series_uid
    made.Modality = headers.modality
    made.Rows, made.Columns = headers.rows, headers.columns
    if image.position:
        made.FrameOfReferenceUID = headers.frame_of_reference
        made.PositionReferenceIndicator = headers.position_reference
        made.ImagePositionPatient = [decimal(value) for value in image.position]
        made.ImageOrientationPatient = [decimal(value) for value in image.orientation]
        made.PixelSpacing = [decimal(value) for value in image.spacing]
        made.SliceThickness = decimal(image.thickness_mm or 1.0)
    return made


def decimal(value: float) -> float:
    """The nearest number that decimal text of 16 characters can say."""
    return float(format_number_as_ds(float(value)))


def finish(made: Dataset, headers: Headers) -> Dataset:
    """Take out what a clock or chance has put in, and copy what highdicom leaves out.

    Args:
        made: Changed in place.
        headers: Of its source.
    """
    for keyword in _OF_A_CLOCK:
        if keyword in made:
            delattr(made, keyword)
    made.ContentDate, made.ContentTime = headers.content_moment
    for element in headers.study:
        made[element.tag] = element
    if "LossyImageCompression" in made and headers.lossy is not None:
        made.LossyImageCompression = "01"
        made.LossyImageCompressionRatio, made.LossyImageCompressionMethod = headers.lossy
    return made


def content_of(made: Dataset) -> bytes:
    """The file of an object."""
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def listed(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Each object once, by its UID."""
    return list({str(one.SOPInstanceUID): one for one in datasets}.values())
