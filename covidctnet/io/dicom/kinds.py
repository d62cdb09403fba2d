"""What an image of a study is, when it is no slice of HU."""

from __future__ import annotations

import re

from pydicom import config
from pydicom.uid import UID

from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.objects import CT_IMAGE, ENHANCED_CT, MAX_SIDE
from covidctnet.io.dicom.pictures import PICTURES

__all__ = ["ELSEWHERE", "NOT_HU", "unfit"]

# What RescaleType may say of values that are no HU. Words for HU are spelt in many ways, so any
# other word is let pass, and the values decide.
OTHER_UNITS = re.compile(
    r"OD|OPTICAL.*|MG\W*/?\W*ML.*|MGML|MG\W*/?\W*C[CM].*|Z_?EFF.*|EDW?|ELECTRON.*|HU_MOD|PCT|PERCENT.*|%|BQ.*|"
    r"CNTS|COUNTS|SUV.*|RELATIVE.*|KEV|KV|GRAY|GREY.*|GRAYSCALE|LOG.*|MM|MM2.*|ADC.*|T1.*|T2.*"
)
# Images that may lie anywhere without being a slice that the scan lacks.
ELSEWHERE = PICTURES
# What images in other values are called begins so.
NOT_HU = "not HU"


def unfit(frame: Frame) -> str:
    """What a frame is when it cannot be a slice of HU, or nothing."""
    if frame.sop_class != CT_IMAGE and frame.sop_class not in ENHANCED_CT:
        name = UID(frame.sop_class, config.IGNORE).name if frame.sop_class else "no image"
        return name if not name[:1].isdigit() else "unknown object"
    if frame.picture:
        return frame.picture
    pixels = frame.pixels
    is_grey = not pixels.photometric or pixels.photometric.startswith("MONOCHROME")
    if not is_grey or (pixels.tag and pixels.samples != 1):
        return f"{NOT_HU} but colours"
    if pixels.tag and (pixels.bits_allocated <= 8 or pixels.bits_stored <= 8):
        return f"{NOT_HU} but grey values of 8 bits or fewer"
    if not pixels.tag:
        return "CT image without pixels"
    if frame.sop_class == CT_IMAGE and pixels.frames > 1:
        return "several frames in one CT image"
    if max(pixels.rows, pixels.columns) > MAX_SIDE:
        return "image larger than any slice"
    if OTHER_UNITS.fullmatch(frame.rescale_type.upper().strip()):
        return f"{NOT_HU} but the unit of its RescaleType"
    return ""
