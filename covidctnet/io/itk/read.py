"""MetaImage and NRRD to a volume: the text header says all, and nothing is assumed.

Headers and voxels may lie in one file or in two; other names of the header than one in its own
folder are not followed.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from typing import BinaryIO, cast

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.canonical import check_geometry, volume_of
from covidctnet.io.itk.data_file import MAX_HEADER_BYTES, folded, is_plain
from covidctnet.io.itk.layout import KEEP_TOGETHER, corrupt
from covidctnet.io.itk.meta import meta_layout
from covidctnet.io.itk.nrrd import nrrd_layout
from covidctnet.io.itk.voxels import inflating, read_voxels
from covidctnet.io.other_content import check_content
from covidctnet.volume import Volume

# A MetaImage header begins with a field, and has fields that no other text has.
_META_START = re.compile(rb"\s*[A-Za-z]{2,30}[ \t]*=")
_META_AXES = re.compile(rb"^[ \t]*NDims[ \t]*=[ \t]*\d", re.MULTILINE)
_META_IMAGE = re.compile(
    rb"^[ \t]*(?:ObjectType[ \t]*=[ \t]*Image\b|DimSize[ \t]*=|ElementType[ \t]*=[ \t]*MET_|"
    rb"ElementSpacing[ \t]*=|TransformMatrix[ \t]*=|BinaryData\w*[ \t]*=|CompressedData[ \t]*=)",
    re.MULTILINE,
)


def looks_like_itk(head: bytes) -> bool:
    """Whether a file that begins with `head` is MetaImage or NRRD."""
    is_meta = _META_START.match(head) and _META_AXES.search(head) and _META_IMAGE.search(head)
    return head.startswith(b"NRRD0") or bool(is_meta)


def read_itk(files: Sequence[File], study: str) -> Volume:
    """Read a MetaImage or NRRD file that holds one volume in HU.

    Args:
        files: The file, or a header and the file next to it that holds its voxels.
        study: Short id.

    Raises:
        StudyError: ``CORRUPT_FILE``, ``NO_GEOMETRY``, ``ABSURD_SIZE``, ``NOT_HU``,
            ``TOO_FEW_SLICES``, ``OVERLAPPING_ACQUISITIONS``, ``NO_RESCALE``.
    """
    try:
        with files[0].open("rb") as raw, inflating(cast(BinaryIO, raw)) as file:
            head = file.read(MAX_HEADER_BYTES)
            if not looks_like_itk(head):
                check_content(head)
            layout, end = (nrrd_layout if head.startswith(b"NRRD") else meta_layout)(head)
            if layout.data is None:
                file.seek(end)
                content, behind = read_voxels(file, layout)
        if layout.data is not None:
            raw_files = [file for file in files[1:] if folded(file.name) == folded(layout.data)]
            if not is_plain(layout.data):
                raise corrupt(
                    "its header names voxels in several files, or in another folder", KEEP_TOGETHER
                )
            if not raw_files:
                raise corrupt("the file that holds its voxels is not next to it", KEEP_TOGETHER)
            with raw_files[0].open("rb") as raw:
                content, behind = read_voxels(cast(BinaryIO, raw), layout)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise corrupt("its compressed data break off") from None
    except OSError as error:
        raise StudyError(
            "UNREADABLE",
            f"expected a file that can be read: {error.strerror}. Check its rights and the disk.",
        ) from None
    array = np.frombuffer(content, layout.dtype).reshape(layout.shape[::-1])
    array = array.astype(layout.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise StudyError(
            "NOT_HU",
            "expected finite HU, the file holds NaN or Inf. Write -1024 for what is padding, or "
            "export it again.",
        )
    flags = check_geometry(layout.affine, array.shape)
    notes = layout.notes
    if behind:
        notes += (f"{behind} bytes behind the voxels, zeros or the end of a line, passed over",)
    return volume_of(array, layout.affine, study=study, reader="itk", notes=notes, flags=flags)
