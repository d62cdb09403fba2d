"""Elements in which two images of one place differ: phases, acquisitions, kernels."""

from __future__ import annotations

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from covidctnet.io.dicom.values import comparable, text

__all__ = ["FRAME_MARKS", "MARKS", "mark"]

# What may differ between two images of one place, the surest first. The number of the series does
# where an anonymiser gave all series one UID.
_CARDIAC_PHASE = (
    "NominalPercentageOfCardiacPhase",
    "NominalCardiacTriggerDelayTime",
    "ActualCardiacTriggerDelayTime",
)
_RESPIRATORY_PHASE = (
    "NominalPercentageOfRespiratoryPhase",
    "StartingRespiratoryPhase",
    "StartingRespiratoryAmplitude",
    "EndingRespiratoryPhase",
    "EndingRespiratoryAmplitude",
    "NominalRespiratoryTriggerDelayTime",
    "ActualRespiratoryTriggerDelayTime",
)
MARKS = (
    "SeriesNumber",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    *_CARDIAC_PHASE,
    *_RESPIRATORY_PHASE,
    "CardiacCyclePosition",
    "RespiratoryCyclePosition",
    "TriggerTime",
    "TemporalPositionTimeOffset",
    "FrameReferenceTime",
    "IrradiationEventUID",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "KVP",
    "ConvolutionKernel",
    "ImageType",
    "SliceThickness",
    "EchoNumbers",
    # Where the phase of a breath is said in words alone ("Gated 20%").
    "SeriesDescription",
    "ImageComments",
)
# The same for the frames of an enhanced CT, in the sequence that says it.
FRAME_MARKS = (
    (
        "FrameContentSequence",
        (
            "FrameAcquisitionNumber",
            "TemporalPositionIndex",
            "FrameAcquisitionDateTime",
            "StackID",
            "CardiacCyclePosition",
            "RespiratoryCyclePosition",
        ),
    ),
    ("CardiacSynchronizationSequence", _CARDIAC_PHASE),
    ("RespiratorySynchronizationSequence", _RESPIRATORY_PHASE),
    ("TemporalPositionSequence", ("TemporalPositionTimeOffset",)),
    ("IrradiationEventIdentificationSequence", ("IrradiationEventUID",)),
    ("CTXRayDetailsSequence", ("KVP",)),
)
_BINARY = ("FD", "FL", "SL", "SS", "UL", "US")


def mark(data: Dataset, keyword: str) -> str:
    """A value to compare: the bytes of a binary number are no text, and 20 and 30 would be one."""
    is_text = dictionary_VR(keyword) not in _BINARY
    return text(data, keyword) if is_text else comparable(data, keyword)
