"""DICOM folders whose copy or download broke off: what stands in place of the last slices."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.steps import file, put
from tests.io import series
from tests.io.series import Change

SCAN = series.a_scan()
# Numbers in the names of all slices, see `series.write`, and of those that are changed.
ALL = [index * 7 for index in range(len(SCAN))]
LAST = ALL[8:]
PAGE = b"<!DOCTYPE html><html><body>403 Forbidden: the session has expired</body></html>\n"
XML = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
JSON = b'{"error": "token expired", "status": 401}\n'
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def _instead(content: bytes, name: str) -> Step:
    """The last slices hold something else."""

    def step(folder: Path) -> None:
        for number in LAST:
            (folder / name.format(number)).write_bytes(content)

    return step


def _renamed(name: str, become: str, change: Callable[[bytes], bytes] = bytes) -> Step:
    """The last slices under other names, changed."""

    def step(folder: Path) -> None:
        for number in LAST:
            path = folder / name.format(number)
            content = path.read_bytes()
            path.unlink()
            (folder / become.format(number)).write_bytes(change(content))

    return step


def _linked(name: str) -> Step:
    """The last slices are links to files in another folder."""

    def step(folder: Path) -> None:
        elsewhere = folder.parent / "elsewhere"
        elsewhere.mkdir()
        for number in LAST:
            path = folder / name.format(number)
            path.rename(elsewhere / path.name)
            path.symlink_to(elsewhere / path.name)

    return step


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


DCM, PLAIN = "IM{:04d}.dcm", "IM{:04d}"
CORRUPT = Refusal("CORRUPT_SLICE")
BROKEN_OFF: tuple[tuple[str, str, str, Step], ...] = (
    ("html", "pages of HTML", DCM, _instead(PAGE, DCM)),
    ("html-plain", "pages of HTML, no suffix", PLAIN, _instead(PAGE, PLAIN)),
    ("xml", "XML", DCM, _instead(XML, DCM)),
    ("json", "JSON, no suffix", PLAIN, _instead(JSON, PLAIN)),
    ("pointer", "pointers of Git LFS, no suffix", PLAIN, _instead(POINTER, PLAIN)),
    ("gzip", "other content in gzip", DCM, _instead(gzip.compress(PAGE), DCM)),
    ("bz2", "slices compressed by bzip2", DCM, _renamed(DCM, DCM + ".bz2", bz2.compress)),
    ("xz", "slices compressed by xz", PLAIN, _renamed(PLAIN, PLAIN + ".xz", lzma.compress)),
    ("part", "half files ending in .part", DCM, _renamed(DCM, DCM + ".part", _half)),
    ("empty", "empty files of a browser", DCM, _renamed(DCM, DCM + ".crdownload", lambda _: b"")),
    ("hidden", "half files as rsync names them", DCM, _renamed(DCM, "." + DCM + ".Xq3aYb", _half)),
)


def _pixels(edit: Callable[[np.ndarray], np.ndarray], which: Sequence[int] = (5,)) -> Change:
    """Other stored numbers in some slices; the header stays."""

    def change(ds: Dataset, index: int) -> None:
        if index in which:
            stored = np.frombuffer(ds.PixelData, "<u2")
            ds.PixelData = edit(stored.astype(np.int64)).astype("<u2").tobytes()

    return change


def _in_turn(ds: Dataset, index: int) -> None:
    """Every second slice in another series."""
    ds.SliceThickness = 2.5
    if index % 2:
        ds.SeriesInstanceUID = series.uid("turn")
        ds.SeriesNumber = 9


BODY = series.a_body()
CHANGED: tuple[tuple[str, str, str, Change], ...] = (
    ("denser", "CORRUPT_SLICE", "stored numbers 200 higher", _pixels(lambda stored: stored + 200)),
    (
        "unshifted",
        "CORRUPT_SLICE",
        "stored numbers without the intercept",
        _pixels(lambda stored: stored + 1024),
    ),
    ("swapped", "NOT_HU", "bytes in the other order", _pixels(lambda s: s % 256 * 256 + s // 256)),
    (
        "half",
        "CORRUPT_SLICE",
        "half of the scan 200 higher",
        _pixels(lambda stored: stored + 200, range(16, 32)),
    ),
)
CASES = (
    *(
        Case(
            f"dicom-pixels-{name}",
            "rescale per slice",
            f"native pixels under the header of the others: {what}",
            of(Refusal(code), put(scan=BODY, change=change)),
        )
        for name, code, what, change in CHANGED
    ),
    Case(
        "dicom-series-in-turn",
        "overlapping acquisitions",
        "slices of one scan in turn under two series UIDs",
        of(Refusal("AMBIGUOUS_SERIES"), put(scan=series.a_scan((21, 20, 16)), change=_in_turn)),
    ),
    Case(
        "dicom-unfinished-folder",
        "damaged files",
        "a scan over four folders, the files of the last one empty",
        of(
            CORRUPT,
            *(
                put(f"part{part}", skip=[k for k in range(12) if k // 3 != part])
                for part in range(4)
            ),
            *(file(f"part3/{number:04d}.dcm", b"") for number in ALL[9:]),
        ),
    ),
    *(
        Case(
            f"dicom-unfinished-{name}",
            "damaged files",
            f"the last slices: {what}",
            of(CORRUPT, put(name=names), step),
        )
        for name, what, names, step in BROKEN_OFF
    ),
    Case(
        "dicom-unfinished-links",
        "damaged files",
        "the last slices: links",
        of(Refusal("UNREADABLE"), put(name=DCM), _linked(DCM)),
    ),
    Case(
        "dicom-unfinished-whole",
        "damaged files",
        "whole slices, the last of them ending in .part",
        of(truth(), put(name=DCM), _renamed(DCM, DCM + ".part")),
    ),
    Case(
        "dicom-named-alike",
        "junk beside",
        "a picture, a note and a checksum of every slice",
        of(
            truth(),
            put(name=PLAIN),
            *(
                file(PLAIN.format(number) + end, content)
                for number in ALL
                for end, content in (
                    (".jpg", b"\xff\xd8\xff\xe0" + bytes(200)),
                    (".txt", b"seen"),
                    (".gz", gzip.compress(JSON)),
                )
            ),
        ),
    ),
)
