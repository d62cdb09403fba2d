"""Radiographs in DICOM: what a reader sees, and what is refused."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from covidctnet.errors import StudyError
from covidctnet.io.child import PictureChild
from covidctnet.io.picture import read_picture
from tests.io import series
from tests.radiograph.pictures import DX, a_dicom, radiograph, write_dicom


def stored(size=64, bits=12):
    """All grey values from 0 on in a smooth order, with noise."""
    values = np.linspace(0, 2**bits - 1, size * size).reshape(size, size)
    return np.clip(values + np.random.default_rng(0).normal(0, 2, values.shape), 0, 2**bits - 1)


def refusal(path):
    with pytest.raises(StudyError) as caught:
        read_picture(path)
    return caught.value.code, caught.value.message


def table(first, entries, bits=16):
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = [int(value) for value in entries]
    item["LUTData"].VR = "US"
    return Sequence([item])


WINDOWS = {
    "linear": {"WindowCenter": 1800, "WindowWidth": 2000},
    "exact": {"WindowCenter": 1800, "WindowWidth": 2000, "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": 1800, "WindowWidth": 2000, "VOILUTFunction": "SIGMOID"},
    "several": {"WindowCenter": [1800, 500], "WindowWidth": [2000, 100]},
    "rescaled": {
        "WindowCenter": 900,
        "WindowWidth": 2500,
        "RescaleSlope": 2,
        "RescaleIntercept": -1000,
    },
    "table": {"VOILUTSequence": table(400, np.linspace(0, 65535, 3000) ** 1.0)},
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_and_tables_give_what_pydicom_gives(tmp_path, name):
    path = write_dicom(tmp_path / "a.dcm", stored(), **WINDOWS[name])
    picture = read_picture(path)
    ds = dcmread(path)
    expected = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds).astype(float)
    top = {"table": 65535, "rescaled": None}.get(name, 4095)
    if top is None:
        low, width = 899.5 - 2499 / 2, 2499
        expected = np.clip((ds.pixel_array * 2.0 - 1000 - low) / width, 0, 1)
        top = 1
    assert picture.pixels.dtype == np.uint8
    np.testing.assert_allclose(picture.pixels, expected / top * 255, atol=0.51)
    assert any("of the header" in note for note in picture.notes)


def test_monochrome1_is_inverted_with_and_without_a_window(tmp_path):
    for more in ({}, {"WindowCenter": 1800, "WindowWidth": 2000}):
        plain = read_picture(write_dicom(tmp_path / "2.dcm", stored(), **more)).pixels
        more = {**more, "PhotometricInterpretation": "MONOCHROME1"}
        turned = read_picture(write_dicom(tmp_path / "1.dcm", stored(), **more))
        top = float(plain.min()) + float(plain.max()) if plain.dtype != np.uint8 else 255
        np.testing.assert_allclose(turned.pixels, top - plain.astype(float), atol=1)
        assert "MONOCHROME1: black and white were exchanged" in turned.notes


def test_eight_bits_without_a_window_are_the_stored_values(tmp_path):
    pixels = radiograph(64)
    for size in (64, 63):
        path = write_dicom(tmp_path / "a.dcm", pixels[:size, :size], bits=8)
        found = read_picture(path)
        assert np.array_equal(found.pixels, pixels[:size, :size]) and found.bits == 8


def test_spacing_view_and_loss_are_kept(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", stored(), PixelSpacing=[0.15, 0.14])
    found = read_picture(path)
    assert found.spacing_mm == (0.15, 0.14) and found.flags == () and found.is_radiograph
    more = {"ViewPosition": None, "LossyImageCompression": "01", "ImagerPixelSpacing": None}
    found = read_picture(write_dicom(tmp_path / "b.dcm", stored(), **more))
    assert found.spacing_mm is None and found.flags == ("view_unknown", "lossy")
    with PictureChild() as child:
        again = child(tmp_path / "b.dcm")
    assert (again.flags, again.notes, again.mode) == (found.flags, found.notes, found.mode)
    assert np.array_equal(again.pixels, found.pixels)


def test_padding_is_black_whatever_the_photometry(tmp_path):
    pixels = stored()
    pixels[:10] = 4000
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        more = {"PixelPaddingValue": 4000, "PhotometricInterpretation": photometric}
        found = read_picture(write_dicom(tmp_path / "a.dcm", pixels, **more)).pixels
        assert (found[:10] == found.min()).all()


def test_implicit_and_big_endian_files_hold_the_same_picture(tmp_path):
    more = WINDOWS["table"]
    expected = read_picture(write_dicom(tmp_path / "a.dcm", stored(), **more)).pixels
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        ds = a_dicom(stored(), **more)
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = stored().astype(">u2").tobytes()
        series.save(ds, tmp_path / "b.dcm", syntax)
        assert np.array_equal(read_picture(tmp_path / "b.dcm").pixels, expected)


@pytest.mark.parametrize(
    "more",
    [
        {"ViewPosition": "LL"},
        {"ViewPosition": "LATERAL"},
        {"ViewPosition": "RLD"},
        {"ViewPosition": None, "SeriesDescription": "Thorax lateral"},
        {"ViewPosition": None, "ProtocolName": "CHEST LAT"},
    ],
)
def test_a_lateral_view_is_refused_by_its_header(tmp_path, more):
    code, message = refusal(write_dicom(tmp_path / "a.dcm", stored(), **more))
    assert code == "LATERAL_VIEW" and "Give the frontal view" in message


def test_a_view_code_says_lateral_too(tmp_path):
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "399173006", "left lateral"
    more = {"ViewPosition": None, "ViewCodeSequence": Sequence([item])}
    assert refusal(write_dicom(tmp_path / "a.dcm", stored(), **more))[0] == "LATERAL_VIEW"


@pytest.mark.parametrize(
    "more",
    [
        {"SeriesDescription": "Chest PA and lateral"},
        {"ViewPosition": "AP", "SeriesDescription": "lateral"},
        {"ViewPosition": None, "SeriesDescription": "Plate of a platform, chest"},
        {"BodyPartExamined": "PORT CHEST"},
        {"BodyPartExamined": None},
    ],
)
def test_a_frontal_view_is_read_whatever_a_description_names_besides(tmp_path, more):
    assert read_picture(write_dicom(tmp_path / "a.dcm", stored(), **more)).is_radiograph


def test_a_hand_is_refused_by_its_header(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", stored(), BodyPartExamined="HAND")
    code, message = refusal(path)
    assert code == "NOT_CHEST" and "another part of the body" in message


def test_raw_values_colours_frames_and_absurd_sizes_are_refused(tmp_path):
    path = tmp_path / "a.dcm"
    more = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}
    code, message = refusal(write_dicom(path, stored(), **more))
    assert code == "NOT_RADIOGRAPH" and "raw values for processing" in message
    more = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}
    assert refusal(write_dicom(path, stored(), **more))[0] == "COLOUR_MODEL"
    assert refusal(write_dicom(path, stored(), NumberOfFrames=2))[0] == "SEVERAL_PICTURES"
    assert refusal(write_dicom(path, stored(), Rows=20000))[0] == "ABSURD_SIZE"
    assert refusal(write_dicom(path, stored(20)))[0] == "SMALL_PICTURE"


def test_damaged_radiographs_are_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", stored())
    path.write_bytes(path.read_bytes()[:-600])
    assert refusal(path)[0] == "CORRUPT_SLICE"
    short = table(0, np.arange(40))
    short[0].LUTDescriptor = [4000, 0, 16]
    path = write_dicom(tmp_path / "b.dcm", stored(), VOILUTSequence=short)
    code, message = refusal(path)
    assert code == "CORRUPT_SLICE" and "too short" in message


def test_dx_and_a_secondary_capture_of_a_radiograph_are_read(tmp_path):
    assert read_picture(write_dicom(tmp_path / "a.dcm", stored(), SOPClassUID=DX)).is_radiograph
    more = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}
    assert read_picture(write_dicom(tmp_path / "b.dcm", stored(), **more)).is_radiograph
    path = write_dicom(tmp_path / "c.dcm", stored(), Modality="OT", **more)
    assert refusal(path)[0] == "NOT_CT"
