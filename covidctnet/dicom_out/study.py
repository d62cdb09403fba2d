"""All DICOM objects of one answer; loading this module loads highdicom."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from covidctnet import _version
from covidctnet.contract import PredictorInfo
from covidctnet.dicom_out.capture import capture_of
from covidctnet.dicom_out.headers import checked_headers
from covidctnet.dicom_out.objects import Maker, content_of
from covidctnet.dicom_out.place import SourceGrid
from covidctnet.dicom_out.report_object import report_of
from covidctnet.dicom_out.seg import segmentation_of
from covidctnet.dicom_out.segments import for_a_picture, segments_of
from covidctnet.evidence import SliceEvidence
from covidctnet.io.dicom.elements import quiet
from covidctnet.results import Prediction
from covidctnet.volume import Origin

__all__ = ["dicom_files"]

# It logs the UIDs of what it copies from.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)


def dicom_files(
    prediction: Prediction, origin: Origin, found: Mapping[str, Any], info: PredictorInfo
) -> Iterator[tuple[str, bytes]]:
    """Name and content of every DICOM file of an answer; a report comes behind what it refers to.

    Args:
        prediction: The answer, its evidence with all voxels.
        origin: Of the volume that was answered.
        found: Headers of its images, from `covidctnet.io.child.HeaderChild`.
        info: Who answered.

    Raises:
        StudyError: ``BAD_IDENTITY``, ``CHANGED``.
    """
    # Values of headers must not reach the log.
    with quiet():
        headers = checked_headers(found, origin)
        maker = Maker(info.system, info.weights, info.digest, _version.__version__, headers.key)
        grid = SourceGrid(origin)
        segments = segments_of(prediction.evidence, grid, prediction.classes)
        segmentation = segmentation_of(headers, segments, maker) if segments else None
        shown = next((e for e in prediction.evidence if isinstance(e, SliceEvidence)), None)
        images = grid.nearest_images(shown) if shown is not None else []
        report = report_of(
            prediction,
            headers,
            maker,
            segments=segments,
            segmentation=segmentation,
            images=images,
        )
        picture = capture_of(prediction, headers, maker, for_a_picture(prediction.evidence))
        files = [] if segmentation is None else [("seg.dcm", content_of(segmentation[0]))]
        files += [("sr.dcm", content_of(report)), ("picture.dcm", content_of(picture))]
    yield from files
