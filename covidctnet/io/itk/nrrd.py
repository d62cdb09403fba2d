"""The header of an NRRD."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from covidctnet.io.itk.data_file import MAX_HEADER_BYTES, bare_name
from covidctnet.io.itk.layout import (
    AGREE,
    BZIPPED,
    RAW,
    ZIPPED,
    Layout,
    affine_of,
    check_units,
    corrupt,
    floats,
    lost,
    not_a_number,
    several,
    shape_of,
    sizes_of,
    units_of,
    whole_number,
)

_NRRD_TYPES = {
    **dict.fromkeys(["signed char", "int8", "int8_t"], "i1"),
    **dict.fromkeys(["uchar", "unsigned char", "uint8", "uint8_t"], "u1"),
    **dict.fromkeys(
        ["short", "short int", "signed short", "signed short int", "int16", "int16_t"], "i2"
    ),
    **dict.fromkeys(["ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"], "u2"),
    **dict.fromkeys(["int", "signed int", "int32", "int32_t"], "i4"),
    **dict.fromkeys(["uint", "unsigned int", "uint32", "uint32_t"], "u4"),
    **dict.fromkeys(
        ["longlong", "long long", "long long int", "signed long long", "signed long long int"],
        "i8",
    ),
    **dict.fromkeys(
        ["int64", "int64_t"],
        "i8",
    ),
    **dict.fromkeys(
        ["ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"], "u8"
    ),
    "float": "f4",
    "double": "f8",
}
# What turns the axes of a space into those of LPS.
_NRRD_SPACES = {
    **dict.fromkeys(["left-posterior-superior", "lps"], (1.0, 1.0, 1.0)),
    **dict.fromkeys(["right-anterior-superior", "ras"], (-1.0, -1.0, 1.0)),
    **dict.fromkeys(["left-anterior-superior", "las"], (1.0, -1.0, 1.0)),
}
# The same with a fourth axis that counts time.
_NRRD_TIMED = {f"{name}-time" if "-" in name else f"{name}t": name for name in _NRRD_SPACES}


def nrrd_layout(head: bytes) -> tuple[Layout, int]:
    """What an NRRD header says, and where it ends."""
    blank = re.search(rb"\r?\n\r?\n", head)
    is_alone = blank is None and len(head) < MAX_HEADER_BYTES
    if blank is None and not (is_alone and re.search(rb"^data ?file:", head, re.MULTILINE)):
        raise corrupt("its header has no end")
    fields: dict[str, str] = {}
    text = head[: blank.start() if blank else len(head)].decode("utf-8", errors="replace")
    for line in text.splitlines()[1:]:
        name, colon, value = line.partition(": ")
        if line.startswith("#") or not colon or ":=" in name:
            continue
        key = name.strip().lower().replace(" ", "")
        if key in fields:
            raise corrupt(f"its header says {name.strip()!r} twice")
        fields[key] = value.strip()
    if not {"spacedirections", "spaceorigin"} <= fields.keys():
        raise lost("space directions or space origin is missing")
    notes: tuple[str, ...] = ()
    space = fields.get("space", "").lower()
    is_timed = space in _NRRD_TIMED
    if not space and fields.get("spacedimension") == "4":
        # ITK names the space of three axes; of four it writes the same axes without the name.
        space, is_timed = "lpst", True
        notes = ("the header names no space: four axes are taken as ITK writes them, in LPS",)
    flips = _NRRD_SPACES.get(_NRRD_TIMED.get(space, space))
    if not space:
        raise lost("space is missing")
    if flips is None:
        raise lost("the space is not the patient's")
    for unit in units_of(fields.get("spaceunits", ""))[: 3 if is_timed else None]:
        check_units(unit)
    encoding = {
        "raw": RAW,
        "gzip": ZIPPED,
        "gz": ZIPPED,
        "bzip2": BZIPPED,
        "bz2": BZIPPED,
    }.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise corrupt(f"encoding {fields.get('encoding', '')[:20]!r} is not read")
    kind = _NRRD_TYPES.get(fields.get("type", "").lower())
    if kind is None:
        raise not_a_number()
    if np.dtype(kind).itemsize > 1 and fields.get("endian", "").lower() not in ("little", "big"):
        raise corrupt("it does not say its byte order")
    sizes = sizes_of(fields.get("sizes", ""))
    if fields.get("dimension", str(len(sizes))) != str(len(sizes)):
        raise corrupt(f"it says {fields['dimension'][:9]} axes and gives {len(sizes)} sizes")
    vectors = re.findall(r"none|\([^)]*\)", fields["spacedirections"])
    start = floats(fields["spaceorigin"].strip("()").replace(",", " "))
    if is_timed:
        vectors, start = _without_time(vectors, start)
    if len(vectors) != len(sizes) or len(start) != 3:
        raise lost("its directions or origin are not of as many axes as its voxels")
    # An axis without direction counts frames, or numbers of a voxel.
    if sizes[0] > 1 and vectors[0] == "none":
        raise not_a_number()
    if any(size > 1 and vector == "none" for size, vector in zip(sizes, vectors, strict=True)):
        raise several(sizes)
    spatial = [k for k, vector in enumerate(vectors) if vector != "none"]
    axis_units = units_of(fields.get("units", ""))
    for k in spatial:
        if k < len(axis_units):
            check_units(axis_units[k])
    directions = [floats(vectors[k].strip("()").replace(",", " ")) for k in spatial]
    if len(spatial) != 3 or any(len(direction) != 3 for direction in directions):
        raise lost("expected three directions of three numbers")
    if "spacings" in fields:
        lengths = [float(np.linalg.norm(direction)) for direction in directions]
        spacings = fields["spacings"].split()
        spacing = np.array(floats(" ".join(spacings[k] for k in spatial if k < len(spacings))))
        # NaN is how the format says that a spacing is not known.
        is_known = ~np.isnan(spacing)
        if len(spacing) != 3 or not np.allclose(
            spacing[is_known], np.array(lengths)[is_known], rtol=AGREE
        ):
            raise lost("its spacings and space directions contradict each other")
    layout = Layout(
        shape=shape_of([sizes[k] for k in spatial]),
        dtype=np.dtype(kind).newbyteorder(
            ">" if fields.get("endian", "").lower() == "big" else "<"
        ),
        affine=affine_of(np.array(directions) * flips, np.array(start) * flips),
        encoding=encoding,
        data=bare_name(fields["datafile"]) if "datafile" in fields else None,
        lines=whole_number(fields.get("lineskip", "0")),
        skip=whole_number(fields.get("byteskip", "0")),
        notes=notes,
    )
    return layout, blank.end() if blank else len(head)


def _without_time(
    vectors: Sequence[str], start: tuple[float, ...]
) -> tuple[list[str], tuple[float, ...]]:
    """Directions and origin in a space of four axes, as in one without time."""
    out: list[str] = []
    for vector in vectors:
        direction = (0.0,) * 4 if vector == "none" else floats(vector[1:-1].replace(",", " "))
        if len(direction) != 4 or len(start) != 4:
            raise lost("its directions or origin are not of as many axes as its space")
        if not any(direction[:3]):
            out.append("none")
        elif direction[3]:
            raise lost("its directions turn axes of the patient into time")
        else:
            out.append(f"({','.join(map(repr, direction[:3]))})")
    return out, start[:3]
