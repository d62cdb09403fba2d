"""DICOM SEG: lungs, lesions and regions, one segment each, on the images of the source."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import highdicom as hd
import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from covidctnet.dicom_out import codes as ours
from covidctnet.dicom_out.headers import Headers, SourceImage
from covidctnet.dicom_out.objects import Maker, decimal, finish, source_dataset
from covidctnet.dicom_out.segments import Segment
from covidctnet.dicom_out.uids import uid_of

__all__ = ["segmentation_of"]

_CT = "1.2.840.10008.5.1.4.1.1.2"
_CODES = {
    "lungs": (ours.ANATOMY, ours.LUNG),
    "lesions": (ours.ABNORMAL, ours.LESION),
    "region": (ours.SPATIAL, ours.REGION),
}
# CIELab of blue, orange and yellow, apart for every kind of colour vision.
_COLOURS = {
    "lungs": (62.0, -10.0, -35.0),
    "lesions": (67.0, 35.0, 70.0),
    "region": (88.0, 0.0, 75.0),
}


def segmentation_of(
    headers: Headers, segments: Sequence[Segment], maker: Maker
) -> tuple[Dataset, dict[int, int]] | None:
    """The segmentation of an answer; None where no voxel was marked.

    BINARY and not compressed: for single bits readers know no other. Frames without a voxel are
    left out, and segments without one.

    Args:
        headers: Of the source.
        segments: From `covidctnet.dicom_out.segments.segments_of`.
        maker: Who makes it.

    Returns:
        The object, and the number of its segment for each of `segments` that has one, by place.
    """
    masks: list[np.ndarray] = []
    numbers: dict[int, int] = {}
    for place, segment in enumerate(segments):
        mask = segment.draw()
        if mask.any():
            numbers[place] = len(masks) + 1
            masks.append(mask)
    if not masks:
        return None
    used = np.flatnonzero(np.any([mask.any(axis=(1, 2)) for mask in masks], axis=0)).tolist()
    pixels = np.stack([mask[used] for mask in masks], axis=-1).astype(np.uint8)
    digest = hashlib.sha256(np.packbits(pixels).tobytes()).hexdigest()
    uid = maker.uid("segmentation", digest)
    images = [headers.images[place] for place in used]
    stand_ins = [_stand_in(headers, image) for image in images]
    made = Segmentation(
        source_images=stand_ins,
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=[
            _description(segments[place], number, maker) for place, number in numbers.items()
        ],
        series_instance_uid=maker.uid("segmentation series"),
        sop_instance_uid=uid,
        content_label="COVIDCTNET",
        content_description="Research use only. Not a medical device.",
        omit_empty_frames=True,
        pixel_measures=_measures(headers),
        **maker.equipment(1),
    )
    _refer(made, {str(one.SOPInstanceUID): im for one, im in zip(stand_ins, images, strict=True)})
    _name_dimensions(made, uid_of("dimensions", uid))
    made.SeriesDescription = "covidctnet segmentation, research use only"
    return finish(made, headers), numbers


def _description(segment: Segment, number: int, maker: Maker) -> SegmentDescription:
    category, kind = _CODES[segment.kind]
    description = SegmentDescription(
        segment_number=number,
        segment_label=segment.label[:64],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=maker.algorithm,
            version=maker.version,
            family=codes.DCM.ArtificialIntelligence,
            parameters=maker.parameters,
        ),
        tracking_uid=maker.uid("segment", segment.label),
        tracking_id=segment.label[:64],
        display_color=hd.color.CIELabColor(*_COLOURS[segment.kind]),
    )
    if segment.score is not None:
        description.SegmentDescription = f"score {segment.score:.3f}"
    return description


def _stand_in(headers: Headers, image: SourceImage) -> Dataset:
    """An image that highdicom takes for one of the source's, at the same place.

    It asks for images of one frame, of one series and in one direction. Scans are read that lie in
    several files of many frames, in several series, and with directions that differ by what
    rounding leaves.
    """
    first = headers.images[0]
    made = source_dataset(
        headers, replace(image, orientation=first.orientation, spacing=first.spacing)
    )
    made.SeriesInstanceUID = first.series_uid
    made.SOPClassUID = _CT
    made.SOPInstanceUID = uid_of("frame", image.sop_uid, str(image.frame))
    return made


def _measures(headers: Headers) -> hd.PixelMeasuresSequence:
    first = headers.images[0]
    step = 0.0
    if len(headers.images) > 1:
        ends = np.array([first.position, headers.images[-1].position])
        step = float(np.linalg.norm(ends[1] - ends[0])) / (len(headers.images) - 1)
    return hd.PixelMeasuresSequence(
        pixel_spacing=[decimal(value) for value in first.spacing],
        slice_thickness=decimal(first.thickness_mm or step),
        spacing_between_slices=decimal(step) if step else None,
    )


def _refer(made: Dataset, images: Mapping[str, SourceImage]) -> None:
    """Name the images of the source in the place of those that stand for them."""
    items = [
        item
        for group in made.PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for item in derivation.SourceImageSequence
    ]
    # Segments share the items of an image.
    for item in {id(item): item for item in items}.values():
        image = images[item.ReferencedSOPInstanceUID]
        item.ReferencedSOPClassUID = image.sop_class
        item.ReferencedSOPInstanceUID = image.sop_uid
        if image.frame:
            item.ReferencedFrameNumber = image.frame
    series: dict[str, dict[str, Dataset]] = {}
    for image in images.values():
        instance = Dataset()
        instance.ReferencedSOPClassUID = image.sop_class
        instance.ReferencedSOPInstanceUID = image.sop_uid
        series.setdefault(image.series_uid, {}).setdefault(image.sop_uid, instance)
    made.ReferencedSeriesSequence = [_series(uid, [*of.values()]) for uid, of in series.items()]


def _series(uid: str, instances: list[Dataset]) -> Dataset:
    made = Dataset()
    made.SeriesInstanceUID = uid
    made.ReferencedInstanceSequence = instances
    return made


def _name_dimensions(made: Dataset, uid: str) -> None:
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
