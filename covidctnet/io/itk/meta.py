"""The header of a MetaImage."""

from __future__ import annotations

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.itk.data_file import bare_name
from covidctnet.io.itk.layout import (
    AGREE,
    RAW,
    UNIT_TOLERANCE,
    ZIPPED,
    Layout,
    affine_of,
    agreed,
    check_units,
    corrupt,
    floats,
    lost,
    not_a_number,
    shape_of,
    sizes_of,
    whole_number,
)

_META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# Fields that mean the same; a header may hold several, and then they must agree.
_META_MATRIX = ("transformmatrix", "orientation", "rotation")
_META_ORIGIN = ("offset", "position", "origin")
_META_ORDER = ("binarydatabyteordermsb", "elementbyteordermsb")


def meta_layout(head: bytes) -> tuple[Layout, int]:
    """What a MetaImage header says, and where it ends."""
    fields: dict[str, str] = {}
    place = 0
    while True:
        end = head.find(b"\n", place)
        if end < 0 and head[place:].partition(b"=")[0].strip() == b"ElementDataFile":
            end = len(head)  # a header alone may end without a line feed
        if end < 0:
            raise corrupt("its header has no end")
        name_, _, value = head[place:end].decode("utf-8", errors="replace").partition("=")
        key = name_.strip().lower()
        if key in fields and key != "comment":
            raise corrupt(f"its header says {name_.strip()} twice")
        fields[key] = value.strip()
        place = end + 1
        if key == "elementdatafile":
            break
    if fields.get("elementnumberofchannels", "1") != "1" or "elementtype" not in fields:
        raise not_a_number()
    kind = _META_TYPES.get(fields["elementtype"].upper())
    if kind is None:
        raise not_a_number()
    scaling = (
        fields.get("elementtointensityfunctionslope", "1"),
        fields.get("elementtointensityfunctionoffset", "0"),
    )
    if floats(scaling[0]) != (1.0,) or floats(scaling[1]) != (0.0,):
        raise StudyError(
            "NO_RESCALE",
            "expected voxels in HU, the header gives a slope or an offset of its own. "
            "Apply it and write the file again.",
        )
    # A file without ElementSpacing means its ElementSize; with both, the spacing counts.
    if "elementsize" in fields:
        fields.setdefault("elementspacing", fields["elementsize"])
    axes, start = agreed(fields, _META_MATRIX), agreed(fields, _META_ORIGIN)
    if "elementspacing" not in fields or axes is None:
        raise lost("ElementSpacing or TransformMatrix is missing")
    if start is None:
        raise lost("Offset is missing")
    check_units(fields.get("distanceunits", ""))
    sizes = sizes_of(fields.get("dimsize", ""))
    count = len(sizes)
    if fields.get("ndims", str(count)) != str(count):
        raise corrupt(f"it says {fields['ndims'][:9]} axes and gives the size of {count}")
    spacing = floats(fields["elementspacing"])
    if (len(axes), len(spacing), len(start)) != (count**2, count, count):
        raise lost("its directions, spacing or origin are not of as many axes as its voxels")
    if min(spacing) <= 0:
        raise lost("its ElementSpacing is not above 0")
    # The direction of each axis stands in a row.
    rows = np.reshape(axes, (count, count))
    if count > 3 and np.abs(rows[:3, 3:]).max() > AGREE:
        raise lost("its TransformMatrix turns axes of the patient into others")
    lengths = np.linalg.norm(rows[:3, :3], axis=1)
    if np.abs(lengths - 1).max() > UNIT_TOLERANCE:
        raise lost(
            "the directions of its TransformMatrix have lengths of "
            f"{', '.join(f'{n:.3g}' for n in lengths)} where each should have 1"
        )
    directions = rows[:3, :3] / lengths[:, None] * np.array(spacing[:3])[:, None]
    is_detached = fields["elementdatafile"].upper() != "LOCAL"
    skip = whole_number(fields.get("headersize") or "0")
    if skip and not is_detached:
        raise corrupt("it has a second header")
    orders = {_is_true(fields[name]) for name in _META_ORDER if name in fields}
    if len(orders) > 1:
        raise corrupt("its fields about the order of bytes contradict each other")
    is_big = orders == {True}
    if not _is_true(fields.get("binarydata", "True")):
        raise corrupt("its voxels are written as text")
    layout = Layout(
        shape=shape_of(sizes),
        dtype=np.dtype(kind).newbyteorder(">" if is_big else "<"),
        affine=affine_of(directions, start[:3]),
        encoding=ZIPPED if _is_true(fields.get("compresseddata", "")) else RAW,
        data=bare_name(fields["elementdatafile"]) if is_detached else None,
        skip=skip,
    )
    return layout, place


def _is_true(text: str) -> bool:
    """What the library of the format takes for true."""
    return text[:1] in ("T", "t", "1")
