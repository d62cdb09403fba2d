"""The quick reading of headers and the parser agree, or the quick one says nothing."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from covidctnet.io.dicom.elements import HEAD_BYTES, DamagedFileError, NotDicomError, parse
from covidctnet.io.dicom.identity import _IDENTITY_TAG_SET, _IDENTITY_TAGS, identify
from covidctnet.io.dicom.quick import quick_elements
from covidctnet.io.dicom.values import meta_text, raw_at
from tests.io.series import write

ORDINARY = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
MUTATIONS = 1500


def a_header(folder, syntax=ExplicitVRLittleEndian, *, undefined=True):
    """A CT slice with sequences in sequences before what identifies it."""
    path = sorted(write(folder / "scan"))[0]
    data = pydicom.dcmread(path)
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "1", "chest"
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "1.2.3"
    reference.PurposeOfReferenceCodeSequence = Sequence([code, code])
    data.ReferencedStudySequence = Sequence([reference, Dataset()])
    data.ProcedureCodeSequence = Sequence([code])
    data.SpecificCharacterSet = "ISO_IR 100"
    data.PatientSex = ""
    for item in (data["ReferencedStudySequence"], reference["PurposeOfReferenceCodeSequence"]):
        item.is_undefined_length = undefined
    reference.is_undefined_length_sequence_item = undefined
    data.file_meta.TransferSyntaxUID = syntax
    content = io.BytesIO()
    if syntax == JPEG2000Lossless:
        data.PixelData = pydicom.encaps.encapsulate([b"\0" * 20])
        data["PixelData"].VR = "OB"
    pydicom.dcmwrite(
        content,
        data,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=False,
    )
    return content.getvalue()


def both(content):
    """What the quick reading and the parser say; None for nothing."""
    quick = quick_elements(content[:HEAD_BYTES], _IDENTITY_TAG_SET)
    try:
        data, _ = parse(io.BytesIO(content), _IDENTITY_TAGS, find_pixels=False)
    except (DamagedFileError, NotDicomError):
        data = None
    return quick, data


def assert_same(quick, data):
    assert data is not None
    for tag in _IDENTITY_TAGS:
        assert raw_at(quick, tag) == raw_at(data, tag)
    for keyword in ("MediaStorageSOPClassUID", "TransferSyntaxUID"):
        assert meta_text(quick, keyword) == meta_text(data, keyword)


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [*ORDINARY, JPEG2000Lossless])
def test_an_ordinary_header_is_read_as_the_parser_reads_it(tmp_path, syntax, undefined):
    quick, data = both(a_header(tmp_path, syntax, undefined=undefined))
    assert quick is not None
    assert_same(quick, data)


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_other_syntaxes_are_left_to_the_parser(tmp_path, syntax):
    quick, data = both(a_header(tmp_path, syntax))
    assert quick is None
    assert data is not None


def test_a_character_set_that_may_change_the_reading_is_left_to_the_parser(tmp_path):
    content = a_header(tmp_path)
    assert both(content)[0] is not None
    assert both(content.replace(b"ISO_IR 100", b"ISO_IR 126"))[0] is None


@pytest.mark.parametrize("syntax", ORDINARY)
def test_mutated_headers_are_read_as_the_parser_reads_them_or_left_to_it(tmp_path, syntax):
    rng = np.random.default_rng(0)
    content = a_header(tmp_path, syntax)
    end = content.index(b"\x20\x00\x52\x00")
    read = 0
    for _ in range(MUTATIONS):
        mutated = bytearray(content)
        for place in rng.integers(128, end, rng.integers(1, 4)):
            mutated[place] = rng.choice([0, 1, 255, 0x41, int(rng.integers(256))])
        if rng.random() < 0.2:
            del mutated[int(rng.integers(140, end)) :][: int(rng.integers(1, 9))]
        quick, data = both(bytes(mutated))
        if quick is not None:
            read += 1
            assert_same(quick, data)
    # Most changes are within values, and harm no structure.
    assert read > MUTATIONS / 4


def test_a_header_that_is_cut_short_is_left_to_the_parser(tmp_path):
    content = a_header(tmp_path)
    for length in range(132, content.index(b"\x20\x00\x52\x00"), 7):
        assert both(content[:length])[0] is None


def test_files_are_identified_alike_by_both(tmp_path, monkeypatch):
    files = sorted(write(tmp_path / "scan"))
    quick = [identify(path) for path in files]
    monkeypatch.setattr("covidctnet.io.dicom.identity.quick_elements", lambda head, tags: None)
    assert quick == [identify(path) for path in files]
