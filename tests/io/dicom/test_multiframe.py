"""Multi-frame CT files: whose they are, what they cost to read, and their streams."""

import zipfile

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEGLSLossless

from covidctnet import StudyError, find_studies, read_study, read_volume
from covidctnet.io.archive import Member
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.pictures import PICTURES, picture_kind
from tests.catalogue import encode
from tests.catalogue.enhanced import fragmented_frames
from tests.catalogue.steps import enhanced
from tests.io import series

SCAN = series.a_scan()


def told(**values):
    def change(ds):
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


@pytest.mark.parametrize("patient", ["ANON", ""], ids=["one id", "no id"])
@pytest.mark.parametrize("flat", [False, True], ids=["folders", "one folder"])
def test_no_patient_in_a_multi_frame_file_of_its_own_vanishes(tmp_path, patient, flat):
    for k in range(3):
        enhanced(
            range(12 - k),
            scan=SCAN + np.int16(k),
            name=f"{k}.dcm" if flat else f"{k}/scan.dcm",
            instance=f"patient {k}",
            change=told(
                PatientID=patient,
                PatientName=patient,
                SeriesNumber=2,
                SeriesInstanceUID=series.uid(f"series {k}"),
                FrameOfReferenceUID=series.uid(f"frame {k}"),
            ),
        )(tmp_path)
    found = sorted((read_study(s).array for s in find_studies(tmp_path)), key=len, reverse=True)
    assert [len(array) for array in found] == [12, 11, 10]
    for k, array in enumerate(found):
        np.testing.assert_array_equal(array, SCAN[: 12 - k] + np.int16(k))


def test_reconstructions_in_multi_frame_files_stay_one_study(tmp_path):
    for k, kernel in enumerate(("B30f", "B60f")):
        enhanced(
            name=f"{k}.dcm",
            instance=kernel,
            change=told(SeriesNumber=2 + k, SeriesInstanceUID=series.uid(kernel)),
        )(tmp_path)
    assert len(find_studies(tmp_path)) == 1


def twice(item, number):
    """Two frames at every place, of two phases."""
    place = series.an_affine() @ [number // 2, 0, 0, 1]
    item.PlanePositionSequence[0].ImagePositionPatient = [float(x) for x in place[:3]]
    item.FrameContentSequence[0].TemporalPositionIndex = 1 + number % 2


@pytest.mark.parametrize("bits", [16, 12])
def test_a_multi_frame_file_in_an_archive_is_not_opened_for_every_frame(
    tmp_path, monkeypatch, bits
):
    scan = np.repeat(SCAN, 2, axis=0)
    scan[1::2] += np.int16(5)
    enhanced(
        range(24),
        scan=scan,
        per_frame=False,
        frame=twice,
        change=told(BitsStored=bits, HighBit=bits - 1),
        name="scan.dcm",
    )(tmp_path)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "scan.dcm", "scan.dcm")
    opened = []
    original = Member.open

    def counted(self, mode="rb"):
        opened.append(self.name)
        return original(self, mode)

    monkeypatch.setattr(Member, "open", counted)
    with pytest.raises(StudyError, match="AMBIGUOUS_SERIES"):
        read_volume(tmp_path / "scan.zip")
    # To find the studies, to read the header, to tell copies, to ask the pixels of each phase.
    assert 0 < len(opened) <= 12


def test_frames_whose_file_is_damaged_are_not_opened_again_and_again(tmp_path, monkeypatch):
    enhanced(range(24), scan=np.repeat(SCAN, 2, axis=0), per_frame=False, frame=twice)(tmp_path)
    whole = tmp_path / "enhanced.dcm"
    frames = read_frames(whole)
    whole.write_bytes(whole.read_bytes()[:-400])
    with pytest.raises(StudyError, match="CORRUPT_SLICE"):
        read_volume(tmp_path)
    assert len(frames) == 24


@pytest.mark.parametrize(
    ("types", "is_picture"),
    [
        (("DERIVED", "SECONDARY", "REFORMATTED", "MINIMUM"), True),
        (("DERIVED", "SECONDARY", "CT_SOM5 MIP"), True),
        (("DERIVED", "SECONDARY", "MIP_THIN"), True),
        (("DERIVED", "SECONDARY", "MINIP"), True),
        (("DERIVED", "SECONDARY", "MPR", "CT_SOM7 SPI"), False),
        (("DERIVED", "SECONDARY", "AXIAL", "RESAMPLED"), False),
        (("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"), False),
        (("ORIGINAL", "PRIMARY", "AXIAL", "3D"), False),
        (("ORIGINAL", "PRIMARY", "AXIAL", "MIP"), True),
    ],
)
def test_projections_are_known_by_words_and_averages_are_not_taken_for_one(types, is_picture):
    assert picture_kind(types) == (PICTURES[1] if is_picture else "")


def test_the_description_of_a_derived_series_tells_and_that_of_an_original_does_not():
    derived, original = ("DERIVED", "SECONDARY", "AXIAL"), ("ORIGINAL", "PRIMARY", "AXIAL")
    assert picture_kind(derived, description="Lung MIP 10") == PICTURES[1]
    assert picture_kind(original, description="Lung MIP 10") == ""
    assert picture_kind(derived, description="Lung ax 2.0") == ""


def test_every_frame_of_a_table_in_another_order_is_read_where_it_says(tmp_path):
    order = [5, 0, 1, 2, 3, 4, 11, 10, 9, 8, 7, 6]
    change = fragmented_frames(encode.jpeg_ls, order=order)
    enhanced(change=change, syntax=JPEGLSLossless)(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path).array, SCAN)


def test_an_extended_table_in_another_order_is_followed(tmp_path):
    order = list(range(11, -1, -1))
    change = fragmented_frames(encode.jpeg_ls, order=order, is_extended=True)
    enhanced(change=change, syntax=JPEGLSLossless)(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path).array, SCAN)


def test_fragments_without_a_table_that_no_marker_divides_are_refused(tmp_path):
    change = fragmented_frames(encode.rle, pieces=2, has_table=False)
    enhanced(change=change, syntax="1.2.840.10008.1.2.5")(tmp_path)
    with pytest.raises(StudyError, match="CORRUPT_SLICE"):
        read_volume(tmp_path)


def test_a_derivation_of_one_frame_refuses_only_that_frame(tmp_path):
    def derived(item, number):
        if number == 5:
            kind = told_item(FrameType=["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"])
            item.CTImageFrameTypeSequence = Items([kind])

    enhanced(frame=derived)(tmp_path)
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


def told_item(**values):
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
