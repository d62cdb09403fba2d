"""DICOM SR: an answer as a measurement report (TID 1500), Comprehensive 3D SR."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from covidctnet.dicom_out import codes as ours
from covidctnet.dicom_out.headers import Headers
from covidctnet.dicom_out.objects import MANUFACTURER, Maker, finish, listed, source_dataset
from covidctnet.dicom_out.segments import Segment
from covidctnet.evidence import LesionVolume, Mask, Region
from covidctnet.results import Prediction

__all__ = ["report_of"]

Group = MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations
Unit = CodedConcept


class _Report:
    """Makes the groups of one report.

    Args:
        prediction: The answer, its evidence with all voxels.
        headers: Of the source.
        maker: Who answers.
        segmentation: Of the answer, if it has one.
        numbers: Segment numbers by place, see `covidctnet.dicom_out.seg.segmentation_of`.
    """

    def __init__(
        self,
        prediction: Prediction,
        headers: Headers,
        maker: Maker,
        segmentation: Dataset | None,
        numbers: Mapping[int, int],
    ) -> None:
        self._prediction, self._headers, self._maker = prediction, headers, maker
        self._segmentation, self._numbers = segmentation, numbers
        self._algorithm = AlgorithmIdentification(
            name=maker.algorithm,
            version=maker.version,
            parameters=[f"{name} {value}" for name, value in maker.parameters.items()],
            family=codes.DCM.ArtificialIntelligence,
            manufacturer=MANUFACTURER,
        )

    def groups(self, segments: Sequence[Segment], images: Sequence[int]) -> Iterator[Group]:
        """Every group of the report.

        Args:
            segments: See `covidctnet.dicom_out.segments.segments_of`.
            images: Places of the source's images that show most.
        """
        yield self._answer(images)
        lesions = self._prediction.find(LesionVolume)
        for place, segment in enumerate(segments):
            if segment.kind == "region":
                yield self._segment(
                    segment.label,
                    place,
                    ours.REGION,
                    [self._number(ours.SCORE, segment.score or 0.0, ours.NO_UNIT)],
                )
            elif segment.kind == "lesions":
                yield self._segment("lesions", place, ours.LESION, self._lesion_numbers(lesions))
            elif lesions is not None:
                yield self._segment(
                    "lungs",
                    place,
                    ours.LUNG,
                    [self._number(ours.LUNG_VOLUME, lesions.lung_ml, ours.MILLILITRE)],
                )
            else:
                yield self._segment("lungs", place, ours.LUNG, [])
        if lesions is not None:
            yield from self._regions(lesions)

    def _answer(self, images: Sequence[int]) -> Group:
        prediction = self._prediction
        evaluations = [
            QualitativeEvaluation(ours.USE, ours.NOTICE),
            QualitativeEvaluation(ours.MOST_PROBABLE, ours.class_code(prediction.label)),
            QualitativeEvaluation(
                ours.STATUS, ours.private(prediction.status, prediction.status.capitalize())
            ),
        ]
        evaluations += [
            QualitativeEvaluation(ours.LEFT_OPEN, ours.class_code(label))
            for label in prediction.prediction_set
        ]
        evaluations += [
            QualitativeEvaluation(
                ours.RESERVATION, ours.private(flag, flag.replace("_", " ").capitalize())
            )
            for flag in prediction.flags
        ]
        measurements = [
            self._number(ours.probability_of(label), p, ours.NO_UNIT)
            for label, p in prediction.probabilities.items()
        ]
        if prediction.ood_score is not None:
            measurements.append(self._number(ours.OOD, prediction.ood_score, ours.NO_UNIT))
        headers = self._headers
        shown = listed([source_dataset(headers, headers.images[place]) for place in images])
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking("answer"),
            algorithm_id=self._algorithm,
            measurements=measurements,
            qualitative_evaluations=evaluations,
            source_images=[
                SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID) for one in shown
            ]
            or None,
        )

    def _segment(
        self,
        name: str,
        place: int,
        finding: CodedConcept,
        measurements: Sequence[Measurement],
    ) -> Group:
        common: dict[str, Any] = {
            "tracking_identifier": self._tracking(name),
            "finding_type": finding,
            "algorithm_id": self._algorithm,
            "finding_sites": [FindingSite(ours.LUNG)],
            "measurements": measurements,
        }
        number = self._numbers.get(place)
        if self._segmentation is None or number is None:
            return MeasurementsAndQualitativeEvaluations(**common)
        return VolumetricROIMeasurementsAndQualitativeEvaluations(
            **common,
            referenced_segment=ReferencedSegment(
                self._segmentation.SOPClassUID,
                self._segmentation.SOPInstanceUID,
                number,
                **self._source(),
            ),
        )

    def _source(self) -> dict[str, Any]:
        """The series of the source; of a scan that lies in several ones, its images."""
        images = self._headers.images
        series = {image.series_uid for image in images}
        if len(series) == 1:
            return {"source_series": SourceSeriesForSegmentation(series.pop())}
        named = {image.sop_uid: image.sop_class for image in images}
        return {
            "source_images": [
                SourceImageForSegmentation(sop_class, uid) for uid, sop_class in named.items()
            ]
        }

    def _lesion_numbers(self, lesions: LesionVolume | None) -> list[Measurement]:
        if lesions is not None:
            return self._volumes(lesions.lesion_ml, lesions.share)
        mask = self._prediction.find(Mask)
        volume = float(mask.found.sum()) * mask.voxel_ml if mask is not None else 0.0
        return [self._number(ours.VOLUME, volume, ours.MILLILITRE)]

    def _volumes(self, lesion_ml: float, share: float) -> list[Measurement]:
        made = [self._number(ours.VOLUME, lesion_ml, ours.MILLILITRE)]
        if share == share:  # there are lungs
            made.append(self._number(ours.LESION_SHARE, 100 * share, ours.PERCENT))
        return made

    def _regions(self, lesions: LesionVolume) -> Iterator[Group]:
        """Both lungs, then their thirds."""
        for lung, side in ours.LATERALITY.items():
            parts = [region for region in lesions.regions if region.lung == lung]
            lesion_ml, lung_ml = (
                sum(part.lesion_ml for part in parts),
                sum(part.lung_ml for part in parts),
            )
            site = FindingSite(ours.LUNG, laterality=side)
            yield self._part(f"{lung} lung", site, Region(lung, "", lung_ml, lesion_ml))
            for part in parts:
                site = FindingSite(ours.ZONES[part.third], laterality=side)
                yield self._part(f"{lung} lung, {part.third} third", site, part)

    def _part(self, name: str, site: FindingSite, part: Region) -> Group:
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(name),
            finding_type=ours.LESION,
            algorithm_id=self._algorithm,
            finding_sites=[site],
            measurements=[
                *self._volumes(part.lesion_ml, part.share),
                self._number(ours.LUNG_VOLUME, part.lung_ml, ours.MILLILITRE),
            ],
        )

    def _tracking(self, name: str) -> TrackingIdentifier:
        return TrackingIdentifier(self._maker.uid("tracking", name), f"covidctnet {name}")

    def _number(self, name: CodedConcept, value: float, unit: Unit) -> Measurement:
        return Measurement(name=name, value=round(float(value), 6), unit=unit)


def report_of(
    prediction: Prediction,
    headers: Headers,
    maker: Maker,
    *,
    segments: Sequence[Segment],
    segmentation: tuple[Dataset, Mapping[int, int]] | None,
    images: Sequence[int],
) -> Dataset:
    """The report of an answer.

    Args:
        prediction: The answer, its evidence with all voxels.
        headers: Of the source.
        maker: Who answers.
        segments: See `covidctnet.dicom_out.segments.segments_of`.
        segmentation: See `covidctnet.dicom_out.seg.segmentation_of`.
        images: Places of the source's images that show most.
    """
    seg, numbers = segmentation or (None, {})
    groups = list(_Report(prediction, headers, maker, seg, numbers).groups(segments, images))
    observer = DeviceObserverIdentifyingAttributes(
        uid=maker.uid("observer"),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=maker.algorithm,
        serial_number=maker.digest or "none",
    )
    is_ct = bool(headers.images[0].position)
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, observer)
        ),
        procedure_reported=ours.CT_OF_CHEST if is_ct else ours.RADIOGRAPH_OF_CHEST,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    evidence = listed([source_dataset(headers, image) for image in headers.images])
    digest = hashlib.sha256(content[0].to_json().encode()).hexdigest()
    made = Comprehensive3DSR(
        evidence=evidence if seg is None else [*evidence, seg],
        content=content[0],
        series_instance_uid=maker.uid("report series"),
        sop_instance_uid=maker.uid("report", digest),
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                ours.SCHEME, name=ours.SCHEME_NAME, responsible_organization=MANUFACTURER
            )
        ],
        **maker.equipment(2),
    )
    made.SeriesDescription = "covidctnet report, research use only"
    return finish(made, headers)
