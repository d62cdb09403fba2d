"""How much of a file is looked at first must not matter."""

import struct

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covidctnet.io.dicom.elements import DamagedFileError, NotDicomError
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.identity import identify
from tests.io.series import write

ENOUGH, FROM_THE_FILE = 16 * 2**10, 160


def outcome(read, path):
    try:
        return read(path)
    except (DamagedFileError, NotDicomError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("read", [identify, read_frames])
@pytest.mark.parametrize("more", [b"", b"\x4d" * 5000], ids=["short", "long"])
def test_a_file_cut_anywhere_says_the_same_however_much_is_looked_at_first(
    tmp_path, monkeypatch, read, more
):
    def comment(ds, index):
        # Behind the UIDs, so that the header is as long as it.
        ds.ImageComments = more.decode()

    folder = tmp_path / "series"
    write(folder, change=comment)
    content = min(folder.iterdir()).read_bytes()
    path = tmp_path / "cut.dcm"
    said = []
    for end in [*range(132, len(content), 37), len(content)]:
        path.write_bytes(content[:end])
        every = []
        for size in (FROM_THE_FILE, end // 2, end - 1, end, end + 1, ENOUGH):
            monkeypatch.setattr("covidctnet.io.dicom.elements.HEAD_BYTES", max(size, FROM_THE_FILE))
            every.append(outcome(read, path))
        assert every == every[:1] * len(every), f"cut at {end}"
        said.append(every[0])
    assert isinstance(said[0], tuple)
    assert isinstance(said[0][0], type), "a file cut short must not look whole"
    assert said[-1] != said[0]


def fragments(ds, index):
    """A private element of undefined length that is no sequence."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 900) + b"\x4d" * 900
    ds.add_new(0x00290010, "LO", "someone")
    ds.add_new(0x00291010, "OB", item)
    ds[0x00291010].is_undefined_length = True


def nested(ds, index):
    """Sequences of undefined length within sequences."""
    inner, middle = Dataset(), Dataset()
    inner.ImageComments = "M" * 900
    middle.ReferencedImageSequence = [inner]
    middle["ReferencedImageSequence"].is_undefined_length = True
    ds.SourceImageSequence = [middle, middle]
    ds["SourceImageSequence"].is_undefined_length = True


@pytest.mark.parametrize("read", [identify, read_frames])
@pytest.mark.parametrize(
    ("change", "syntax"),
    [
        (fragments, ExplicitVRLittleEndian),
        (nested, ExplicitVRLittleEndian),
        (nested, ImplicitVRLittleEndian),
        (nested, ExplicitVRBigEndian),
    ],
)
def test_an_element_without_length_may_lie_across_what_is_looked_at_first(
    tmp_path, monkeypatch, read, change, syntax
):
    write(tmp_path, change=change, syntax=syntax)
    path = min(tmp_path.iterdir())
    whole = outcome(read, path)
    assert not (isinstance(whole, tuple) and isinstance(whole[0], type)), whole
    sizes = range(FROM_THE_FILE, path.stat().st_size + 8, 11)
    for size in sizes:
        monkeypatch.setattr("covidctnet.io.dicom.elements.HEAD_BYTES", size)
        assert outcome(read, path) == whole, size
    assert len(sizes) > 100
