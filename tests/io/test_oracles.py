"""One real scan by many ways: other readers' geometry, other formats, other orders."""

import gzip
import shutil
import subprocess

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from covidctnet import read_volume
from covidctnet.io.canonical import canonical
from covidctnet.io.nifti import ras_to_lps
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from tests.small import tiny_weights

SCANS = [
    "covid_ct_md/COVID-19/P002",
    "covid_ct_md/CAP/cap002",
    "covid_ct_md/Control/normal001",
    "controls_ct/lidc0028",
    "controls_ct/tcga_de_a4ma",
]


def as_nifti(volume, path):
    """Axes column, row, slice and RAS, as any converter writes them."""
    columns_first = ras_to_lps(volume.affine)[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(np.asarray(volume.array).T, columns_first)
    nibabel.save(image, path)
    return path


def as_mha(volume, path):
    image = SimpleITK.GetImageFromArray(np.asarray(volume.array))
    image.SetSpacing([float(mm) for mm in volume.spacing[::-1]])
    image.SetOrigin([float(mm) for mm in volume.affine[:3, 3]])
    directions = volume.affine[:3, :3] / volume.spacing
    image.SetDirection([float(x) for x in directions[:, ::-1].ravel()])
    SimpleITK.WriteImage(image, path, useCompression=True)
    return path


@pytest.mark.parametrize("scan", SCANS)
def test_geometry_and_voxels_are_those_of_dcm2niix(shared_data, real_scan, tmp_path, scan):
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix is not installed")
    plain, out = tmp_path / "plain", tmp_path / "out"
    plain.mkdir()
    out.mkdir()
    for number, file in enumerate(sorted((shared_data / scan).iterdir())):
        dataset = pydicom.dcmread(file)
        # Not every build of it reads JPEG-LS.
        dataset.decompress(generate_instance_uid=False)
        dataset.save_as(plain / f"{number}.dcm")
    command = [program, "-o", str(out), "-f", "scan", "-b", "n", str(plain)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.glob("*.nii")
    image = nibabel.load(path)
    turned = canonical(np.asarray(image.dataobj), ras_to_lps(image.affine))
    volume = real_scan(scan)
    np.testing.assert_allclose(volume.affine, turned.affine, atol=2e-3)
    np.testing.assert_array_equal(volume.array, np.maximum(turned.array, -1024))


@pytest.mark.parametrize("scan", SCANS)
def test_geometry_is_that_of_highdicom(shared_data, real_scan, scan):
    highdicom = pytest.importorskip("highdicom")
    files = [file for file in (shared_data / scan).iterdir() if file.is_file()]
    datasets = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    spacing, places = highdicom.spatial.get_series_volume_positions(datasets)
    volume = real_scan(scan)
    assert spacing == pytest.approx(volume.spacing[0], abs=1e-4)
    assert sorted(places) == list(range(volume.shape[0]))
    positions = np.array([ds.ImagePositionPatient for ds in datasets], dtype=float)
    for place, position in zip(places, positions, strict=True):
        # highdicom counts against the normal or along it; heights say which.
        index = round((position[2] - volume.affine[2, 3]) / volume.spacing[0])
        assert index in (place, volume.shape[0] - 1 - place)
        there = volume.affine @ [index, 0, 0, 1]
        np.testing.assert_allclose(there[:3], position, atol=1e-3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return CovidCTNet.load(tiny_weights(tmp_path_factory.mktemp("weights") / "tiny"), device="cpu")


def test_one_scan_by_five_ways_gives_the_same_voxels_and_answer(shared_data, tmp_path, model):
    folder = shared_data / "controls_ct" / "tcga_bc_a3kf"
    volume = read_volume(folder)
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    files = sorted(file for file in folder.iterdir() if file.is_file())
    order = np.random.default_rng(5).permutation(len(files))
    for file, number in zip(files, order, strict=True):
        shutil.copy(file, shuffled / f"{number:04d}")
    nifti = as_nifti(volume, tmp_path / "scan.nii")
    packed = tmp_path / "packed.nii.gz"
    packed.write_bytes(gzip.compress(nifti.read_bytes(), compresslevel=1))
    wanted = model(volume).probabilities
    for path in (shuffled, nifti, packed, as_mha(volume, tmp_path / "scan.mha")):
        other = read_volume(path)
        np.testing.assert_array_equal(other.array, volume.array)
        np.testing.assert_allclose(other.affine, volume.affine, atol=1e-4)
        assert model(other).probabilities == pytest.approx(wanted, abs=1e-6)
