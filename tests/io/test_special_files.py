"""Links, pipes and devices: what the caller names, and what is met on the way."""

import io
import os
import socket
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from covidctnet import find_studies, read_volume
from covidctnet.cli import main
from covidctnet.errors import StudyError, UsageError
from covidctnet.io.nifti import ras_to_lps
from tests.io import series

SCAN = series.a_scan()
META = """ObjectType = Image
NDims = 3
BinaryData = True
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -50 -60 10
ElementSpacing = 0.7 0.8 2.5
DimSize = 16 20 12
ElementType = MET_SHORT
ElementDataFile = {}
"""


@pytest.fixture(autouse=True)
def nothing_special_is_opened(monkeypatch):
    """Opening a pipe would wait for ever, reading a device never end: fail at once instead."""
    real = io.open

    def guarded(file, *args, **options):
        path = Path(os.fsdecode(file)) if isinstance(file, (str, bytes, os.PathLike)) else None
        assert path is None or not path.exists() or path.is_file(), "a pipe or device was opened"
        return real(file, *args, **options)

    monkeypatch.setattr("io.open", guarded)
    monkeypatch.setattr("builtins.open", guarded)


def write_nifti(path):
    affine = ras_to_lps(series.an_affine())[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(SCAN.T, affine), path)
    return path


def write_detached(folder, header="scan.mhd", voxels="scan.raw"):
    folder.mkdir(exist_ok=True)
    (folder / header).write_text(META.format(voxels))
    (folder / voxels).write_bytes(SCAN.tobytes())


def is_right(volume):
    return np.array_equal(volume.array, SCAN) and np.allclose(volume.affine, series.an_affine())


def make_special(kind, folder):
    """A pipe, device or socket, given directly or by a link."""
    path = folder / "scan.nii"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        return "/dev/zero"
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "link to a pipe":
        os.mkfifo(folder / "pipe")
        path.symlink_to(folder / "pipe")
    return path


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "link to a pipe"])
def test_a_pipe_or_device_given_directly_is_passed_over_and_named(tmp_path, kind, capsys):
    path = make_special(kind, tmp_path)
    found = find_studies(path)
    assert (len(found), found.reasons) == (0, {"pipes and devices": 1})
    with pytest.raises(StudyError, match=r"1 pipes and devices.*Give a folder") as caught:
        read_volume(path)
    assert caught.value.code == "NOT_CT"
    assert main(["inspect", str(path)]) == 4
    assert "1 pipes and devices" in capsys.readouterr().out


def test_pipes_sockets_and_links_met_on_the_way_are_counted_and_not_opened(tmp_path, monkeypatch):
    write_nifti(tmp_path / "scan.nii")
    os.mkfifo(tmp_path / "pipe.dcm")
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.dcm")
        (tmp_path / "zero.mha").symlink_to("/dev/zero")
        (tmp_path / "again.nii").symlink_to(tmp_path / "scan.nii")
        found = find_studies(tmp_path)
    assert len(found) == 1
    assert found.reasons == {"pipes and devices": 2, "links": 2}
    assert is_right(read_volume(tmp_path))


def test_a_header_that_names_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "scan.raw")
    (tmp_path / "scan.mhd").write_text(META.format("scan.raw"))
    for path in (tmp_path, tmp_path / "scan.mhd"):
        with pytest.raises(StudyError, match="is not next to it"):
            read_volume(path)


def test_a_link_without_suffix_given_directly_is_read_by_its_content(tmp_path):
    # As a data hub keeps downloads: content under a digest, names as links.
    (tmp_path / "blobs").mkdir()
    (tmp_path / "names").mkdir()
    write_nifti(tmp_path / "scan.nii.gz").rename(tmp_path / "blobs" / "0a1b2c")
    (tmp_path / "names" / "scan").symlink_to("../blobs/0a1b2c")
    assert is_right(read_volume(tmp_path / "names" / "scan"))
    assert is_right(read_volume(tmp_path / "blobs" / "0a1b2c"))
    with pytest.raises(StudyError, match=r"1 links.*only when they are given directly"):
        read_volume(tmp_path / "names")


def test_a_linked_header_given_directly_finds_the_linked_voxels_beside_it(tmp_path):
    write_detached(tmp_path / "blobs", "1", "2")
    (tmp_path / "blobs" / "1").write_text(META.format("scan.raw"))
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "scan.mhd").symlink_to("../blobs/1")
    (tmp_path / "names" / "scan.raw").symlink_to("../blobs/2")
    assert is_right(read_volume(tmp_path / "names" / "scan.mhd"))


def test_a_header_given_directly_follows_no_link_beside_it(tmp_path):
    write_detached(tmp_path / "real")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "scan.mhd").write_text(META.format("scan.raw"))
    (tmp_path / "here" / "scan.raw").symlink_to(tmp_path / "real" / "scan.raw")
    with pytest.raises(StudyError, match="is not next to it"):
        read_volume(tmp_path / "here" / "scan.mhd")


def test_a_link_to_an_archive_or_a_folder_given_directly_is_opened(tmp_path):
    series.write(tmp_path / "scan")
    with zipfile.ZipFile(tmp_path / "blob", "w") as archive:
        for file in (tmp_path / "scan").iterdir():
            archive.write(file, file.name)
    (tmp_path / "packed").symlink_to("blob")
    (tmp_path / "folder").symlink_to("scan")
    assert is_right(read_volume(tmp_path / "packed"))
    assert is_right(read_volume(tmp_path / "folder"))


@pytest.mark.parametrize("target", ["nowhere", "link"], ids=["dangling", "to itself"])
def test_a_link_that_leads_nowhere_is_wrong_usage(tmp_path, target):
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(UsageError, match=r"does not exist\. Check the spelling"):
        find_studies(tmp_path / "link")
