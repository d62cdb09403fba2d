"""MHA and NRRD: whole, with geometry, in one file, or refused."""

import numpy as np
import pytest
import SimpleITK

from covidctnet.errors import StudyError
from covidctnet.io import find_studies, read_volume
from covidctnet.io.itk import data_file_of
from tests.io import series


@pytest.fixture(params=[".mha", ".nrrd"])
def path(request, tmp_path):
    image = SimpleITK.GetImageFromArray(series.a_scan())
    image.SetSpacing(series.SPACING[::-1])
    image.SetOrigin(series.ORIGIN)
    path = tmp_path / f"scan{request.param}"
    SimpleITK.WriteImage(image, str(path), useCompression=False)
    return path


def refused(path, code):
    with pytest.raises(StudyError, match=code) as caught:
        read_volume(path)
    assert caught.value.study


def edited(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_becomes_its_scan(path, compress):
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(path), useCompression=compress)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, series.a_scan())
    np.testing.assert_allclose(volume.affine, series.an_affine(), atol=1e-6)
    assert volume.source.reader == "itk"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("keep", [10, 300, -1, -500])
def test_a_file_cut_short_is_refused(path, compress, keep):
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(path), useCompression=compress)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "CORRUPT_FILE|NO_GEOMETRY")


def test_voxels_in_another_file_are_refused(tmp_path, path):
    if path.suffix == ".mha":
        edited(path, b"ElementDataFile = LOCAL", b"ElementDataFile = ../a.raw")
    else:
        edited(path, b"encoding: ", b"data file: ../a.raw\nencoding: ")
    refused(path, "CORRUPT_FILE")


def test_missing_geometry_is_refused(path):
    gone = b"ElementSpacing" if path.suffix == ".mha" else b"space directions"
    edited(path, gone, b"#" + gone[1:])
    refused(path, "NO_GEOMETRY")


def test_absurd_and_too_small_sizes_are_refused(path):
    sizes = b"DimSize = 16 20 12" if path.suffix == ".mha" else b"sizes: 16 20 12"
    edited(path, sizes, sizes.replace(b"16", b"9999"))
    refused(path, "ABSURD_SIZE")
    edited(path, sizes.replace(b"16", b"9999"), sizes.replace(b"12", b"5"))
    refused(path, "TOO_FEW_SLICES")


def test_colour_and_unknown_types_are_refused(path):
    old, new = (b"MET_SHORT", b"MET_OTHER") if path.suffix == ".mha" else (b"short", b"block")
    edited(path, old, new)
    refused(path, "NOT_HU")


def test_a_bomb_is_refused(path):
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(path), useCompression=True)
    import zlib

    content = path.read_bytes()
    marker = b"ElementDataFile = LOCAL\n" if path.suffix == ".mha" else b"\n\n"
    head = content[: content.index(marker) + len(marker)]
    path.write_bytes(head + zlib.compress(bytes(50_000_000)))
    refused(path, "CORRUPT_FILE")


def test_an_oblique_file_keeps_its_obliquity_in_the_affine(path):
    image = SimpleITK.ReadImage(str(path))
    turn = SimpleITK.Euler3DTransform((0, 0, 0), 0.0, 0.0, 0.2)
    image.SetDirection(turn.GetMatrix())
    SimpleITK.WriteImage(image, str(path))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, series.a_scan())
    for index in [(0, 0, 0), (3, 4, 5)]:
        expected = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], expected, atol=1e-6)


def test_only_dicom_has_series(path):
    assert find_studies(path)[0].format == "itk"
    with pytest.raises(StudyError, match="UNKNOWN_SERIES"):
        read_volume(path, series="a")


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_the_file_of_voxels_is_found_behind_as_many_empty_lines_as_a_header_may_hold(
    tmp_path, ending
):
    # Before, sixty thousand empty lines took ten seconds: the square of their number.
    path = tmp_path / "scan.mhd"
    named = b"  ElementDataFile = scan.raw \t" + ending
    path.write_bytes(b"NDims = 3" + ending + b"\n" * 60_000 + named)
    assert data_file_of(path) == "scan.raw"
    path.write_bytes(b"NDims = 3" + ending + b"\n" * 60_000)
    assert data_file_of(path) is None


def test_bytes_behind_the_voxels_are_noted(path):
    path.write_bytes(path.read_bytes() + b"\n")
    assert "1 bytes behind the voxels" in read_volume(path).source.notes[0]
