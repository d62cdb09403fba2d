"""What a reconstruction kernel is for, from its maker's name for it."""

from __future__ import annotations

import re

__all__ = ["kernel_kind"]

_STANDARD = {"STANDARD", "SOFT", "DETAIL", "STND", "A", "B", "C", "SA", "SB"}
_LUNG = {"LUNG", "CHEST", "L", "YA", "YB", "YC", "YD"}
_LETTERS = re.compile(r"^([A-Z]{1,2})(\d{2})[A-Z]?$")
_TOSHIBA = re.compile(r"^FC(\d{2})")
# Siemens numbers grow with sharpness; Toshiba's have ranges of their own.
_SIEMENS_SHARP, _SIEMENS_BONE = 50, 75
_TOSHIBA_LUNG = range(50, 60)
_TOSHIBA_SMOOTH = range(20)


def kernel_kind(kernel: str) -> str:
    """``standard``, ``lung``, ``bone`` or ``unknown``.

    Args:
        kernel: ConvolutionKernel as the header spells it, such as ``B30f``, ``LUNG``, ``FC51``.
    """
    name = kernel.upper().split("\\")[0].strip()
    if name in _STANDARD:
        return "standard"
    if name in _LUNG:
        return "lung"
    if name.startswith(("BONE", "EDGE")):
        return "bone"
    if match := _TOSHIBA.match(name):
        number = int(match[1])
        if number in _TOSHIBA_LUNG:
            return "lung"
        return "standard" if number in _TOSHIBA_SMOOTH else "bone"
    if match := _LETTERS.match(name):
        number = int(match[2])
        if number >= _SIEMENS_BONE:
            return "bone"
        return "lung" if number >= _SIEMENS_SHARP else "standard"
    return "unknown"
