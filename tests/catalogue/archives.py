"""Hard zip archives."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tests.catalogue.cases import Case, Expected, Refusal, Step, Truth, of, truth
from tests.catalogue.files import itk, nifti
from tests.catalogue.steps import put, setting
from tests.io import series

RIGHT = truth()
STAMP = (2020, 1, 1, 0, 0, 0)
Entry = tuple[str, bytes]
Entries = Callable[[], Iterable[Entry]]
CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


def packed(
    *steps: Step,
    method: int = zipfile.ZIP_DEFLATED,
    prefix: str = "",
    more: Iterable[Entry] = (),
    links: Iterable[Entry] = (),
    folders: bool = False,
    edit: Callable[[bytes], bytes] | None = None,
) -> Step:
    """A step that packs what other steps write.

    Args:
        steps: Write the files.
        method: Of compression.
        prefix: In front of every name.
        more: Further entries.
        links: Names of symbolic links, and where they lead.
        folders: Whether folders have entries of their own.
        edit: Of the archive's bytes.
    """

    def step(folder: Path) -> None:
        aside = folder.with_name(f"{folder.name}-unpacked")
        aside.mkdir()
        for one in steps:
            one(aside)
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w", method) as archive:
            for path in sorted(aside.rglob("*")):
                name = prefix + str(path.relative_to(aside))
                if path.is_file():
                    archive.writestr(_info(name, method), path.read_bytes())
                elif folders:
                    archive.writestr(_info(f"{name}/", zipfile.ZIP_STORED), b"")
            for name, content in more:
                archive.writestr(_info(name, method), content)
            for name, target in links:
                info = _info(name, zipfile.ZIP_STORED)
                info.create_system = 3
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, target)
        content = held.getvalue()
        (folder / "scan.zip").write_bytes(edit(content) if edit else content)

    return step


def _info(name: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, STAMP)
    # The library turns names round to the system's; the archive is to hold them as they are.
    info.filename = name
    info.compress_type = method
    return info


def _within(name: str) -> bytes:
    """A zip of one text."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(_info(name, zipfile.ZIP_STORED), b"text")
    return held.getvalue()


def _zipped_series(folder: Path) -> None:
    packed(put())(folder)
    (folder / "scan.zip").rename(folder / "inner.zip")


def _series_in_archive_in_archive(folder: Path) -> Expected:
    packed(_zipped_series)(folder)
    return Refusal("BAD_ARCHIVE")


def _encrypted(content: bytes) -> bytes:
    """Set the flag of encryption on every entry."""
    out = bytearray(content)
    for mark, place in ((LOCAL, 6), (CENTRAL, 8)):
        start = content.find(mark)
        while start >= 0:
            out[start + place] |= 1
            start = content.find(mark, start + 1)
    return bytes(out)


def _directory(place: int, value: bytes) -> Callable[[bytes], bytes]:
    """Overwrite a field of the first entry in the central directory."""

    def edit(content: bytes) -> bytes:
        start = content.index(CENTRAL) + place
        return content[:start] + value + content[start + len(value) :]

    return edit


def _end(place: int, value: bytes) -> Callable[[bytes], bytes]:
    """Overwrite a field of the end record."""

    def edit(content: bytes) -> bytes:
        start = content.rindex(END) + place
        return content[:start] + value + content[start + len(value) :]

    return edit


def _flipped(content: bytes) -> bytes:
    """Change a byte of the first file's content; the archive stores it uncompressed."""
    place = content.index(b"DICM") + 700
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def _bomb(megabytes: int, name: str = "bomb.dcm") -> bytes:
    """A zip of zeros, packed as blocks that repeat."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    stream = block * megabytes + packer.flush(zlib.Z_FINISH)
    crc, million = 0, bytes(2**20)
    for _ in range(megabytes):
        crc = zlib.crc32(million, crc)
    sizes = struct.pack("<III", crc, len(stream), megabytes * 2**20)
    title = name.encode()
    local = LOCAL + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + sizes
    local += struct.pack("<HH", len(title), 0) + title
    central = CENTRAL + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33) + sizes
    central += struct.pack("<HHHHHII", len(title), 0, 0, 0, 0, 0, 0) + title
    end = END + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local) + len(stream), 0)
    return local + stream + central + end


def _written(content: Callable[[], bytes]) -> Step:
    def step(folder: Path) -> None:
        (folder / "scan.zip").write_bytes(content())

    return step


def _good(name: str, what: str, *steps: Step, expected: Truth = RIGHT) -> Case:
    return Case(f"zip-{name}", "archive", what, of(expected, *steps))


def _bad(name: str, what: str, code: str, *steps: Step) -> Case:
    return Case(f"zip-{name}", "archive", what, of(Refusal(code), *steps))


def _hostile(name: str, what: str, *steps: Step) -> Case:
    return Case(f"zip-{name}", "hostile archive", what, of(Refusal("BAD_ARCHIVE"), *steps))


TEXT = b"Slices from feet to head."
CASES: tuple[Case, ...] = (
    _good("deflated", "a series, deflated", packed(put())),
    _good("stored", "a series, stored", packed(put(), method=zipfile.ZIP_STORED)),
    _good("folder", "a series in a folder", packed(put("DICOM/SERIES1"), folders=True)),
    _good(
        "folders",
        "a series over nested folders of one file name",
        packed(put("a/b/c", name="{}/slice.dcm")),
    ),
    _good("names-non-ascii", "names with letters beyond ASCII", packed(put("Zoë/山田"))),
    _good(
        "localizer",
        "a series and its localizer",
        packed(
            put("scan"),
            put(
                "scout",
                series.a_scan()[:1],
                series_name="scout",
                change=setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
            ),
        ),
    ),
    _good("nifti", "a NIfTI file", packed(nifti())),
    _good("nifti-compressed", "a compressed NIfTI file", packed(nifti("scan.nii.gz"))),
    _good("mha", "an MHA file", packed(itk("scan.mha"))),
    _good("nrrd", "a compressed NRRD file", packed(itk("scan.nrrd", compress=True))),
    _good(
        "junk",
        "a series beside texts and resource forks",
        packed(
            put("scan"),
            more=[
                ("readme.txt", TEXT),
                ("__MACOSX/scan/._0007.dcm", b"\0\5\x16\7" + bytes(90)),
                ("scan/.DS_Store", bytes(90)),
            ],
        ),
    ),
    _good(
        "comment",
        "a comment behind the archive",
        packed(put(), edit=lambda c: _end(20, struct.pack("<H", 9))(c) + b"a comment"),
    ),
    _good(
        "in-front",
        "other bytes in front of the archive",
        packed(put(), edit=lambda content: b"#!/bin/sh\n" + content),
    ),
    _good(
        "with-archive",
        "a series beside another archive, which is passed over",
        packed(put(), more=[("inner.zip", _within("a.txt"))]),
    ),
    _bad("gap", "a series without one slice", "SLICE_GAP", packed(put(skip=(5,)))),
    _bad(
        "damaged-slice",
        "a series with an empty slice",
        "CORRUPT_SLICE",
        packed(put(skip=(5,)), more=[("0035.dcm", b"")]),
    ),
    _bad(
        "no-rescale",
        "a series without rescale",
        "NO_RESCALE",
        packed(put(change=setting(RescaleSlope=None, RescaleIntercept=None))),
    ),
    _bad("empty", "an archive of nothing", "NOT_CT", packed()),
    _bad("junk-alone", "texts and nothing else", "NOT_CT", packed(more=[("readme.txt", TEXT)])),
    Case(
        "zip-in-zip",
        "archive",
        "a series in an archive in an archive: not opened",
        _series_in_archive_in_archive,
    ),
    _hostile("path-absolute", "an absolute path", packed(put(), more=[("/tmp/a.dcm", TEXT)])),
    _hostile("path-drive", "a path with a drive", packed(put(), more=[("C:\\a.dcm", TEXT)])),
    _hostile("path-upwards", "a path that leaves", packed(put(), more=[("../a.dcm", TEXT)])),
    _hostile(
        "path-upwards-within",
        "a path upwards amid folders",
        packed(put(), more=[("a/../../b", TEXT)]),
    ),
    _hostile(
        "path-upwards-backslash",
        "a path that leaves, with backslashes",
        packed(put(), more=[("..\\a.dcm", TEXT)]),
    ),
    _hostile("path-of-all", "all slices under ..", packed(put(), prefix="../")),
    _hostile("link", "a link to a file", packed(put(), links=[("link.dcm", b"/etc/hostname")])),
    _hostile("link-folder", "a link to a folder", packed(put(), links=[("link", b"../..")])),
    _hostile("encrypted", "encrypted entries", packed(put(), edit=_encrypted)),
    _hostile("bomb", "96 MiB of zeros", _written(lambda: _bomb(96))),
    _hostile(
        "bomb-of-nifti", "a NIfTI file of 96 MiB of zeros", _written(lambda: _bomb(96, "a.nii"))
    ),
    _hostile(
        "size-untrue",
        "an entry that inflates to more than it declares",
        packed(put(), edit=_directory(24, struct.pack("<I", 900))),
    ),
    _hostile(
        "size-absurd",
        "an entry that declares 4 GB",
        packed(put(), edit=_directory(24, struct.pack("<I", 0xFFFFFFF0))),
    ),
    _hostile(
        "checksum-wrong",
        "an entry of another checksum in the directory",
        packed(put(), edit=_directory(16, b"abcd")),
    ),
    _hostile(
        "content-flipped",
        "a flipped byte in a stored file",
        packed(put(), method=zipfile.ZIP_STORED, edit=_flipped),
    ),
    _hostile(
        "directory-broken",
        "a directory that does not begin where the archive says",
        packed(put(), edit=lambda content: content.replace(CENTRAL, b"PK\0\0", 1)),
    ),
    _hostile(
        "directory-cut",
        "the end of the archive is missing",
        packed(put(), edit=lambda content: content[:-60]),
    ),
    _hostile("half", "half of an archive", packed(put(), edit=lambda c: c[: len(c) // 2])),
    _hostile("cut-empty", "an empty file", _written(lambda: b"")),
    _hostile("noise", "noise", _written(lambda: np.random.default_rng(1).bytes(5000))),
    _hostile(
        "offset-beyond",
        "an entry that begins behind the archive",
        packed(put(), edit=_directory(42, struct.pack("<I", 0x7FFFFFF0))),
    ),
    _hostile(
        "offset-of-another",
        "an entry that begins where no file does",
        packed(put(), edit=_directory(42, struct.pack("<I", 11))),
    ),
    _hostile(
        "method-unknown",
        "a method of compression that nobody knows",
        packed(put(), edit=_directory(10, struct.pack("<H", 77))),
    ),
)
