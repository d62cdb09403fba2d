"""NIfTI: the same scan however it is stored, and every doubtful header refused."""

import gzip
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidctnet.errors import StudyError
from covidctnet.io import read_volume
from covidctnet.io.canonical import canonical
from covidctnet.io.nifti import ras_to_lps
from tests.io import series

XYZ = [2, 1, 0, 3]


def an_image(scan=None, affine=None, dtype=None):
    """The scan as NIfTI: column, row, slice, RAS."""
    scan = series.a_scan() if scan is None else scan
    affine = series.an_affine() if affine is None else affine
    image = nib.Nifti1Image(scan.T, ras_to_lps(affine)[:, XYZ], dtype=dtype or scan.dtype)
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def patched(path, **fields):
    """Rewrite header fields of a file in place."""
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(bytes(content))
    return path


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "scan.nii"
    an_image().to_filename(path)
    return path


def refused(path, code):
    with pytest.raises(StudyError, match=code) as caught:
        read_volume(path)
    assert caught.value.study


def test_a_file_becomes_its_scan(path):
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, series.a_scan())
    np.testing.assert_allclose(volume.affine, series.an_affine(), atol=1e-4)
    assert volume.array.dtype == np.int16
    assert volume.source.reader == "nifti"


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_type_and_compression_do_not_matter(tmp_path, path, dtype, name):
    an_image(series.a_scan().astype(dtype)).to_filename(
        tmp_path / "other" if False else tmp_path / name
    )
    other = read_volume(tmp_path / name)
    assert other.source.digest == read_volume(path).source.digest


def test_nifti_2_and_big_endian_are_read(tmp_path, path):
    two = nib.Nifti2Image(series.a_scan().T, ras_to_lps(series.an_affine())[:, XYZ])
    two.set_qform(two.affine, code=1)
    two.to_filename(tmp_path / "two.nii")
    assert read_volume(tmp_path / "two.nii").source.digest == read_volume(path).source.digest
    image = an_image()
    header = image.header.as_byteswapped(">")
    nib.Nifti1Image(series.a_scan().T.astype(">i2"), image.affine, header).to_filename(
        tmp_path / "big.nii"
    )
    assert read_volume(tmp_path / "big.nii").source.digest == read_volume(path).source.digest


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product([1, -1], repeat=3)))
def test_all_48_ways_to_store_a_scan_give_the_same_volume(tmp_path, axes, flips):
    """An independent route: nibabel itself turns the image."""
    image = an_image()
    turned = image.as_reoriented(np.array(list(zip(axes, flips, strict=True))))
    turned.set_qform(turned.affine, code=1)
    turned.set_sform(turned.affine, code=1)
    turned.to_filename(tmp_path / "turned.nii")
    volume = read_volume(tmp_path / "turned.nii")
    np.testing.assert_array_equal(volume.array, series.a_scan())
    np.testing.assert_allclose(volume.affine, series.an_affine(), atol=1e-4)


@given(st.lists(st.floats(-500, 500), min_size=16, max_size=16))
def test_ras_to_lps_twice_is_identity(numbers):
    affine = np.array(numbers).reshape(4, 4)
    np.testing.assert_array_equal(ras_to_lps(ras_to_lps(affine)), affine)


@given(
    st.permutations(range(3)), st.lists(st.booleans(), min_size=3, max_size=3), st.floats(-0.3, 0.3)
)
def test_turning_keeps_every_voxel_in_its_place(axes, flips, angle):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ (np.eye(3)[:, axes] * np.where(flips, -1, 1) * [2.5, 0.8, 0.7])
    turned = canonical(array, affine)
    assert sorted(turned.axes) == [0, 1, 2]
    back = np.linalg.inv(turned.affine)
    for index in np.ndindex(array.shape):
        place = tuple(np.rint(back @ affine @ [*index, 1])[:3].astype(int))
        assert turned.array[place] == array[index]


def test_a_scaling_is_applied(tmp_path):
    image = an_image()
    image.header.set_slope_inter(2, -100)
    image.to_filename(tmp_path / "s.nii")
    with (tmp_path / "s.nii").open("rb") as file:
        assert nib.Nifti1Header(file.read(348)).get_slope_inter() == (2, -100)
    content = (tmp_path / "s.nii").read_bytes()
    raw = ((series.a_scan() + 100) // 2).astype("<i2")
    (tmp_path / "s.nii").write_bytes(content[:352] + raw.tobytes())
    np.testing.assert_array_equal(read_volume(tmp_path / "s.nii").array, raw.astype(int) * 2 - 100)


@pytest.mark.parametrize("slope", [0, np.nan])
def test_slope_0_or_nan_means_no_scaling(path, slope):
    np.testing.assert_array_equal(
        read_volume(patched(path, scl_slope=slope, scl_inter=np.nan)).array, series.a_scan()
    )


@pytest.mark.parametrize("fields", [{"scl_slope": np.inf}, {"scl_slope": 1, "scl_inter": np.nan}])
def test_other_odd_scalings_are_refused(path, fields):
    refused(patched(path, **fields), "NO_RESCALE")


@pytest.mark.parametrize(
    "fields",
    [
        {"qform_code": 0, "sform_code": 0},
        {"qoffset_x": 12},
        {"quatern_b": 0.3},
        {"srow_x": [1, 0, 0, 0], "srow_y": [0, 1, 0, 0], "srow_z": [0, 0, 1, 0]},
        {"pixdim": [1, 0.7, 0.8, 5.0, 1, 1, 1, 1], "qform_code": 0},
        {"qform_code": 0, "srow_x": [-0.7, 0.3, 0, 0]},
        {"qform_code": 0, "srow_x": [np.nan, 0, 0, 0]},
        {"qform_code": 0, "srow_x": [0, 0, 0, 0]},
        {"xyzt_units": 1},
    ],
)
def test_doubtful_geometry_is_refused(path, fields):
    refused(patched(path, **fields), "NO_GEOMETRY")


def test_one_form_alone_is_enough(path):
    assert read_volume(patched(path, qform_code=0)).source.notes == ("geometry from the sform",)
    assert read_volume(patched(path, qform_code=1, sform_code=0)).source.notes == (
        "geometry from the qform",
    )


def test_one_frame_of_four_dimensions_is_squeezed_and_more_are_refused(tmp_path):
    image = an_image()
    nib.Nifti1Image(series.a_scan().T[..., None], image.affine, image.header).to_filename(
        tmp_path / "one.nii"
    )
    np.testing.assert_array_equal(read_volume(tmp_path / "one.nii").array, series.a_scan())
    nib.Nifti1Image(np.stack([series.a_scan().T] * 2, -1), image.affine, image.header).to_filename(
        tmp_path / "two.nii"
    )
    refused(tmp_path / "two.nii", "OVERLAPPING_ACQUISITIONS")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, value):
    scan = series.a_scan().astype(np.float32)
    scan[3, 3, 3] = value
    an_image(scan).to_filename(tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "NOT_HU")


def test_colour_and_complex_are_refused(tmp_path, path):
    an_image(series.a_scan().astype(np.complex64)).to_filename(tmp_path / "c.nii")
    refused(tmp_path / "c.nii", "NOT_HU")
    refused(patched(path, datatype=128, bitpix=24), "NOT_HU")


@pytest.mark.parametrize("scale", [(1 / 1400, 0.7), (0.1, 110), (1, 1024)])
def test_numbers_that_are_no_hu_are_refused(tmp_path, scale):
    scan = np.clip(series.a_scan(), -1000, 400).astype(np.float32) * scale[0] + scale[1]
    an_image(scan).to_filename(tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "NOT_HU")


@pytest.mark.parametrize("keep", [0, 100, 348, 352, 2000, -1])
def test_a_file_cut_short_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "CORRUPT_FILE")


def test_a_compressed_file_cut_short_or_damaged_is_refused(path, tmp_path):
    content = gzip.compress(path.read_bytes())
    for k, broken in enumerate(
        [content[: len(content) // 2], content[:-8], content[:-4] + b"abcd"]
    ):
        target = tmp_path / f"{k}.nii.gz"
        target.write_bytes(broken)
        refused(target, "CORRUPT_FILE")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"vox_offset": 10}, "CORRUPT_FILE"),
        ({"vox_offset": np.nan}, "CORRUPT_FILE"),
        ({"dim": [3, 16, 0, 12, 1, 1, 1, 1]}, "CORRUPT_FILE"),
        ({"dim": [3, 16, -20, 12, 1, 1, 1, 1]}, "CORRUPT_FILE"),
        ({"dim": [9, 16, 20, 12, 1, 1, 1, 1]}, "CORRUPT_FILE"),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "ABSURD_SIZE"),
        ({"dim": [3, 16, 20, 5, 1, 1, 1, 1]}, "TOO_FEW_SLICES"),
        ({"dim": [2, 16, 20, 1, 1, 1, 1, 1]}, "TOO_FEW_SLICES"),
        ({"datatype": 77}, "CORRUPT_FILE"),
        ({"magic": b"xx"}, "CORRUPT_FILE"),
    ],
)
def test_broken_headers_are_refused(path, fields, code):
    refused(patched(path, **fields), code)


def test_dicom_nifti_and_mha_of_one_scan_are_one_volume(tmp_path, path):
    import SimpleITK

    series.write(tmp_path / "dicom")
    dicom = read_volume(tmp_path / "dicom")
    image = SimpleITK.GetImageFromArray(series.a_scan())
    image.SetSpacing(series.SPACING[::-1])
    image.SetOrigin(series.ORIGIN)
    for name in ("a.mha", "a.nrrd"):
        SimpleITK.WriteImage(image, str(tmp_path / name))
        assert read_volume(tmp_path / name).source.digest == dicom.source.digest
    assert read_volume(path).source.digest == dicom.source.digest


def test_the_voxels_of_a_pair_given_alone_say_what_to_do(tmp_path):
    (tmp_path / "scan.img").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(StudyError, match=r"NOT_CT.*Write a NIfTI pair .* as one \.nii file"):
        read_volume(tmp_path / "scan.img")
