"""Volumes and answers as people of this ecosystem expect them: arrays, files, copies, notebooks."""

import base64
import copy
import io
import json
import math
import pickle
import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

import covidctnet
from covidctnet.classes import CHEST_CT
from covidctnet.errors import StorageError, StudyError, UsageError
from covidctnet.evidence import LesionVolume, Panels, Region
from covidctnet.results import Prediction
from covidctnet.volume import PAINTED_INTO, PAINTED_NOTE, SYNTHETIC_NOTE, Source, Volume
from tests.evaluation.simulated import lesion_volume
from tests.report.answers import answer, images
from tests.volumes import a_chest, a_volume

SPACING = (6.0, 3.0, 2.0)
ORIGIN = (-50.0, -60.0, 10.0)


@pytest.fixture(scope="module")
def hu():
    """A chest of ellipsoids with unequal sides; every voxel differs from its mirror image."""
    volume, _ = a_chest((25, 50, 60), 6.0)
    noise = np.random.default_rng(0).integers(-15, 15, volume.shape, dtype=np.int16)
    return volume.array + noise


@pytest.fixture(scope="module")
def scan(hu):
    return Volume.from_array(hu, SPACING, origin=ORIGIN)


def test_an_array_with_a_spacing_has_the_canonical_orientation(hu, scan):
    assert scan.spacing == SPACING
    # One voxel along slices, rows and columns: to the head, to the back, to the patient's left.
    steps = [scan.affine[:3, axis].tolist() for axis in range(3)]
    assert steps == [[0, 0, 6], [0, 3, 0], [2, 0, 0]]
    assert scan.affine[:3, 3].tolist() == list(ORIGIN)
    assert np.array_equal(scan.array, np.maximum(hu, -1024))


def test_an_array_with_an_affine_is_turned_to_the_canonical_orientation(scan):
    # Columns, rows, slices from head to feet, as nibabel may hold it.
    turned = scan.array.transpose(2, 1, 0)[:, :, ::-1]
    affine = np.eye(4)
    affine[:3, :3] = np.diag([2.0, 3.0, -6.0])
    affine[:3, 3] = [*ORIGIN[:2], ORIGIN[2] + 6.0 * 24]
    again = Volume.from_array(turned, affine=affine)
    assert np.array_equal(again.array, scan.array)
    assert np.array_equal(again.affine, scan.affine)
    assert again.source == scan.source


def test_an_array_is_named_after_its_content_and_its_reader(hu, scan):
    assert re.fullmatch("[0-9a-f]{12}", scan.source.study)
    assert scan.source.reader == "array"
    assert scan.source.digest.startswith(scan.source.study)
    assert Volume.from_array(hu + 1, SPACING).source.study != scan.source.study


def test_the_array_that_was_given_is_neither_locked_nor_changed(hu):
    original = hu.astype(np.float64)
    original[0, 0, 0] = -3024
    volume = Volume.from_array(original, SPACING)
    assert original[0, 0, 0] == -3024
    original[0, 0, 0] = 7
    assert volume.array[0, 0, 0] == -1024


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array": np.zeros((20, 20))}, "three axes .* got 2 axes of float64"),
        ({"array": np.zeros((20, 20, 20), bool)}, "got 3 axes of bool"),
        ({"array": [["a"]]}, "got 2 axes of <U1"),
        ({"spacing": None}, "either spacing=.* or affine=.* got neither"),
        ({"affine": np.eye(4)}, "got both"),
        ({"spacing": (1.0, 1.0)}, r"spacing as three finite numbers .* got \(1.0, 1.0\)"),
        ({"spacing": 2.0}, "spacing as three finite numbers .* got 2.0"),
        ({"spacing": (1.0, -1.0, 1.0)}, "from 0.02 to 50 mm, got 1 x -1 x 1"),
        ({"spacing": (0.003, 0.001, 0.001)}, "Give it in mm"),
        ({"spacing": (1.0, math.nan, 1.0)}, "spacing as three finite numbers"),
        ({"origin": "here"}, r"origin as three finite numbers \(x, y, z\) in LPS"),
        ({"spacing": None, "affine": np.eye(3)}, "4 x 4 matrix .* got something else"),
        ({"spacing": None, "affine": np.zeros((4, 4))}, "shorter than 0.02 mm"),
        ({"spacing": None, "affine": np.eye(4) + np.eye(4, k=1)}, "not at right angles"),
    ],
)
def test_an_array_that_cannot_be_a_scan_is_refused_with_what_was_expected(hu, change, message):
    arguments = {"array": hu, "spacing": SPACING, **change}
    with pytest.raises(UsageError, match=f"^expected .*{message}"):
        Volume.from_array(arguments.pop("array"), **arguments)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda hu: (hu + 1024) / 4095, "NOT_HU"),
        (lambda hu: hu + 1024, "NOT_HU"),
        (lambda hu: np.where(hu > 0, np.nan, hu), "NOT_HU"),
        (lambda hu: hu[:5], "TOO_FEW_SLICES"),
        (lambda hu: np.broadcast_to(hu[:1, :1, :1], (5000, 5000, 5000)), "ABSURD_SIZE"),
    ],
    ids=["scaled", "shifted", "nan", "short", "huge"],
)
def test_values_that_are_no_scan_in_hounsfield_units_are_refused_by_code(hu, make, code):
    with pytest.raises(StudyError) as caught:
        Volume.from_array(make(hu), SPACING)
    assert caught.value.code == code


def oblique(scan):
    """The scan turned by ten degrees about the patient's long axis; no entry is a whole number."""
    turn = np.eye(4)
    c, s = np.cos(np.pi / 18), np.sin(np.pi / 18)
    turn[:2, :2] = [[c, -s], [s, c]]
    return replace(scan, affine=turn @ scan.affine)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("turned", [False, True], ids=["straight", "oblique"])
def test_a_saved_scan_is_read_back_to_the_bit(scan, tmp_path, name, turned):
    volume = oblique(scan) if turned else scan
    again = covidctnet.read_volume(volume.save(tmp_path / name))
    assert again.array.dtype == volume.array.dtype
    assert np.array_equal(again.array, volume.array)
    # NIfTI keeps the affine as float32.
    assert np.array_equal(again.affine, volume.affine.astype(np.float32).astype(float))
    assert turned or again.source.digest == scan.source.digest
    # A second time nothing is rounded any more.
    twice = covidctnet.read_volume(again.save(tmp_path / f"again-{name}"))
    assert np.array_equal(twice.affine, again.affine)
    assert twice.source.digest == again.source.digest


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING])
def test_a_scan_saved_at_the_origin_is_read_back_and_flagged(hu, tmp_path, spacing):
    # In a file of another program 1 mm at the origin means that no spacing was given.
    scan = Volume.from_array(hu, spacing)
    again = covidctnet.read_volume(scan.save(tmp_path / "scan.nii"))
    assert again.spacing == spacing
    assert "default_geometry" in again.source.flags
    other = nib.Nifti1Image(hu.T, np.diag([1.0, 1.0, 1.0, 1.0]))
    nib.save(other, tmp_path / "other.nii")
    with pytest.raises(StudyError, match="NO_GEOMETRY"):
        covidctnet.read_volume(tmp_path / "other.nii")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("turned", [False, True], ids=["straight", "oblique"])
def test_nibabel_reads_a_saved_volume_to_the_bit_and_right_handed(scan, tmp_path, dtype, turned):
    volume = oblique(scan) if turned else scan
    if dtype is np.float32:
        volume = replace(volume, array=volume.array.astype(dtype) + dtype(0.25))
    image = nib.load(volume.save(tmp_path / "scan.nii.gz"))
    assert np.linalg.det(image.affine[:3, :3]) > 0
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    assert image.header.get_xyzt_units()[0] == "mm"
    stored = np.asarray(image.dataobj)
    assert stored.dtype == dtype
    assert np.array_equal(stored, volume.array.transpose(2, 1, 0))
    to_lps = np.diag([-1, -1, 1, 1]) @ image.affine
    assert np.allclose(to_lps[:, [2, 1, 0, 3]], volume.affine, rtol=0, atol=2e-5)


@pytest.mark.parametrize("turned", [False, True], ids=["straight", "oblique"])
def test_simpleitk_reads_a_saved_volume_as_the_image_that_to_sitk_makes(scan, tmp_path, turned):
    volume = oblique(scan) if turned else scan
    read = SimpleITK.ReadImage(str(volume.save(tmp_path / "scan.nii")))
    made = volume.to_sitk()
    for image in (read, made):
        assert np.array_equal(SimpleITK.GetArrayFromImage(image), volume.array)
        # A voxel far from the origin lies where our affine says.
        at = image.TransformIndexToPhysicalPoint((50, 40, 20))
        assert np.allclose(at, (volume.affine @ [20, 40, 50, 1])[:3], rtol=0, atol=1e-3)
    assert made.GetSpacing() == pytest.approx(volume.spacing[::-1])
    assert made.GetPixelID() == SimpleITK.sitkInt16


def test_an_image_of_simpleitk_comes_back_through_its_array(scan):
    image = scan.to_sitk()
    again = Volume.from_array(
        SimpleITK.GetArrayFromImage(image), image.GetSpacing()[::-1], origin=image.GetOrigin()
    )
    assert again.source.digest == scan.source.digest


def test_a_volume_with_mirrored_axes_is_saved_right_handed(scan, tmp_path):
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    mirror[2, 3] = scan.shape[2] - 1
    mirrored = replace(scan, array=scan.array[:, :, ::-1], affine=scan.affine @ mirror)
    path = mirrored.save(tmp_path / "scan.nii")
    assert np.linalg.det(nib.load(path).affine[:3, :3]) > 0
    assert covidctnet.read_volume(path).source.digest == scan.source.digest


def test_a_second_save_writes_the_same_bytes(scan, tmp_path):
    first, second = (scan.save(tmp_path / f"{n}.nii.gz").read_bytes() for n in "ab")
    assert first == second


@pytest.mark.parametrize(
    "notes", [(SYNTHETIC_NOTE,), (PAINTED_NOTE, f"{PAINTED_INTO}{'ab' * 6}"), (PAINTED_NOTE,)]
)
def test_a_saved_phantom_or_painted_scan_stays_known_as_such(scan, tmp_path, notes):
    drawn = replace(scan, source=replace(scan.source, notes=notes))
    again = covidctnet.read_volume(drawn.save(tmp_path / "drawn.nii.gz"))
    assert set(notes) <= set(again.source.notes)
    assert again.source.host == drawn.source.host


@pytest.mark.parametrize("name", ["scan.dcm", "scan", "missing/scan.nii"])
def test_a_file_that_cannot_be_saved_is_refused_without_its_folder(scan, tmp_path, name):
    with pytest.raises(UsageError) as caught:
        scan.save(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_part_of_a_saved_file(scan, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("covidctnet.files.os.replace", full)
    with pytest.raises(StorageError):
        scan.save(tmp_path / "scan.nii")
    assert not list(tmp_path.iterdir())


def test_numpy_sees_the_voxels_without_a_copy_and_cannot_write_them(scan):
    view = np.asarray(scan)
    assert np.shares_memory(view, scan.array)
    assert not view.flags.writeable
    assert np.shares_memory(np.array(scan, copy=False), scan.array)


def test_numpy_copies_a_volume_where_that_is_asked_for_or_needed(scan):
    copied = np.array(scan)
    copied[0, 0, 0] = 1
    assert not np.shares_memory(copied, scan.array)
    as_float = np.asarray(scan, dtype=np.float32)
    assert as_float.dtype == np.float32
    assert np.array_equal(as_float, scan.array)
    with pytest.raises(ValueError, match="without a copy"):
        np.array(scan, dtype=np.float32, copy=False)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_a_copied_or_pickled_volume_is_equal_and_as_read_only(scan, again):
    made = again(scan)
    assert made.array is not scan.array
    assert np.array_equal(made.array, scan.array)
    assert np.array_equal(made.affine, scan.affine)
    assert (made.units, made.source, made.steps) == (scan.units, scan.source, scan.steps)
    assert not made.array.flags.writeable
    assert not made.affine.flags.writeable


def full_answer(voxels=()):
    return answer(
        flags=("thick_slices",),
        seconds={"read": 0.5},
        prediction_set=(CHEST_CT.CONTROL, CHEST_CT.COVID19),
        ood_score=1.25,
        evidence=(lesion_volume(0.1), *voxels),
        acquisition=(("slice_mm", 6.0), ("kernel", "lung")),
        notes=(SYNTHETIC_NOTE,),
    )


@pytest.mark.parametrize("again", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copied_or_pickled_answer_is_equal_with_its_pictures(again):
    prediction = full_answer(images())
    made = again(prediction)
    assert made == prediction
    assert np.array_equal(made.find(Panels)["residual"], prediction.find(Panels)["residual"])
    with pytest.raises(TypeError):
        made.probabilities[CHEST_CT.CAP] = 1.0


KEYS = ["study", "label", "status", "probabilities", "prediction_set", "flags", "ood_score"]
KEYS += ["evidence", "acquisition", "seconds", "weights", "notes"]


def test_an_answer_as_a_dict_has_the_same_keys_whatever_is_known():
    assert list(full_answer().to_dict()) == KEYS
    bare = answer().to_dict()
    assert list(bare) == KEYS
    assert (bare["evidence"], bare["ood_score"]) == ([], None)


def test_an_answer_as_a_dict_survives_json():
    prediction = full_answer(images())
    data = json.loads(json.dumps(prediction.to_dict(), allow_nan=False))
    assert data == prediction.to_dict()
    assert data["probabilities"] == {"control": 0.2, "covid19": 0.7, "cap": 0.1}
    assert (data["label"], data["status"]) == ("covid19", "abstained")
    assert data["prediction_set"] == ["control", "covid19"]
    assert data["acquisition"] == {"slice_mm": 6.0, "kernel": "lung"}
    lesions, panels = data["evidence"]
    assert (lesions["type"], lesions["share"]) == ("lesion_volume", pytest.approx(0.1))
    assert len(lesions["regions"]) == 6
    assert panels["names"] == ["input", "denoised", "residual"] and "images" not in panels


def test_numbers_of_numpy_in_an_answer_become_plain_ones():
    traits = (("slice_mm", np.float32(6.0)), ("kvp", np.int64(120)))
    data = answer(acquisition=traits, ood_score=np.float32(0.5)).to_dict()
    assert json.loads(json.dumps(data))["acquisition"] == {"slice_mm": 6.0, "kvp": 120.0}


def test_what_no_number_can_tell_is_none_in_the_dict():
    empty = LesionVolume(0.1, (Region("right", "upper", 0.0, 0.0),))
    data = answer(evidence=(empty,), ood_score=math.inf).to_dict()
    assert data["evidence"][0]["share"] is None
    assert data["ood_score"] is None
    json.dumps(data, allow_nan=False)


def test_the_text_of_a_volume_is_one_line_with_size_spacing_and_study(scan):
    assert repr(scan) == f"<Volume 25 x 50 x 60, 6 x 3 x 2 mm, HU, study {scan.source.study}>"


def test_the_text_of_an_answer_is_one_line_with_the_likeliest_label_first():
    assert repr(full_answer()) == (
        "<Prediction Covid-19 0.700, Control 0.200, CAP 0.100; abstained (thick_slices), "
        "study a75be42d5098>"
    )
    assert repr(answer()).endswith("; classified, study a75be42d5098>")


def picture_in(html):
    kind, data = re.search(r"src='data:image/(\w+);base64,([^']+)'", html).groups()
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.format == kind.upper()
    return np.asarray(image.convert("RGB")).astype(int)


def test_a_notebook_shows_three_planes_of_a_volume_in_true_proportions():
    volume = Volume.from_array(a_chest((25, 50, 60), 6.0)[0].array, (12.0, 6.0, 6.0))
    drawn = picture_in(volume._repr_html_())
    # 300 x 360 mm axial, 300 mm high coronal and sagittal: 220 pixels are 360 mm.
    assert drawn.shape == (round(300 * 220 / 360), 220 + 220 + 183 + 2 * 4, 3)
    # Air is black, lungs dark, soft tissue light, in each of the planes.
    for left, right in ((0, 220), (224, 444), (448, 631)):
        middle = drawn[60:120, left:right, 0]
        assert middle.min() < 70 < 180 < middle.max()


def test_a_notebook_shows_the_head_above_and_the_patients_right_on_the_left():
    array = np.full((20, 30, 40), -1000, np.int16)
    array[15:, 5:25, 2:12] = 40  # near the head, on the patient's right
    drawn = picture_in(a_volume(array=array, spacing=(3.0, 3.0, 3.0))._repr_html_())
    axial_width = 220
    coronal = drawn[:, axial_width + 4 : 2 * axial_width + 4, 0]
    bright = np.argwhere(coronal[:100] > 150)
    rows, columns = bright.mean(axis=0)
    assert (rows, columns) < (40, 80)


@pytest.mark.parametrize("units", ["unit", "residual"])
def test_a_notebook_shows_every_kind_of_volume(units):
    array = np.linspace(0, 1, 20 * 30 * 40, dtype=np.float32).reshape(20, 30, 40)
    source = Source("0123456789ab", notes=(SYNTHETIC_NOTE,))
    volume = Volume(
        array, np.diag([3.0, 3.0, 3.0, 1.0])[[2, 1, 0, 3]], units, source, (), (-1000.0, 400.0)
    )
    html = volume._repr_html_()
    assert picture_in(html).max() > 200
    assert "synthetic patient (phantom)" in html


def test_a_notebook_shows_an_answer_with_its_slices_where_they_were_kept():
    html = full_answer(images())._repr_html_()
    drawn = picture_in(html)
    assert drawn.shape[1] == 3 * 200 + 2 * 2
    for words in ("Covid-19", "0.700", "labels left: Control, Covid-19", "Not a medical device"):
        assert words in html
    assert "synthetic patient (phantom)" in html
    assert "rows: input, denoised, residual;" in html
    assert "Affected: 10.0 % of the lungs" in html


def test_a_notebook_shows_an_answer_without_slices_as_text():
    html = answer(evidence=(lesion_volume(0.1),))._repr_html_()
    assert "<img" not in html
    assert "0.700" in html


def test_what_a_notebook_shows_is_safe_text():
    hostile = "<script>x</script>"
    scan = replace(a_volume(), source=Source(hostile, flags=(hostile,)))
    prediction = Prediction(hostile, dict.fromkeys(CHEST_CT, 1 / 3), flags=(hostile,))
    assert "<script" not in scan._repr_html_() + prediction._repr_html_()
