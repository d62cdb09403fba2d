import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from covidctnet import read_study, read_volume
from covidctnet.errors import StudyError
from covidctnet.io import archive, find_studies
from covidctnet.io.child import ReadingChild, packed, unpacked
from tests.io.series import a_scan, an_affine, write


def zipped(folder, path, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.write(file, file.relative_to(folder).as_posix())
    return path


@pytest.fixture
def series(tmp_path):
    write(tmp_path / "series")
    return tmp_path / "series"


def one_entry(path, name, content=b"x" * 1000, *, kind=stat.S_IFREG, method=zipfile.ZIP_DEFLATED):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    info.compress_type = method
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(info, content)
    return path


def code_of(path):
    with pytest.raises(StudyError) as caught:
        read_volume(path)
    assert path.name not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_is_read_as_its_folder(series, tmp_path, method):
    volume = read_volume(zipped(series, tmp_path / "a.zip", method))
    assert volume.source == read_volume(series).source
    assert (volume.array == a_scan()).all()


def test_archives_and_folders_in_one_tree_are_all_found(tmp_path):
    write(tmp_path / "inbox" / "folder", study="one", patient="1")
    write(tmp_path / "two" / "deep" / "er", study="two", patient="2")
    write(tmp_path / "two" / "b", study="three", patient="3")
    zipped(tmp_path / "two", tmp_path / "inbox" / "pair.ZIP")
    found = find_studies(tmp_path / "inbox")
    assert len(found) == 3
    assert {str(study.path.relative_to(tmp_path)) for study in found} == {
        "inbox/folder",
        "inbox/pair.ZIP/b",
        "inbox/pair.ZIP/deep/er",
    }


def test_a_study_half_in_an_archive_is_one_study(series, tmp_path):
    half = tmp_path / "half"
    half.mkdir()
    for file in sorted(series.iterdir())[::2]:
        file.rename(half / file.name)
    zipped(half, tmp_path / "series" / "half.zip")
    assert (read_volume(tmp_path / "series").array == a_scan()).all()


def test_nifti_mha_and_nrrd_are_read_from_an_archive(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    flipped = np.diag([-1, -1, 1, 1]) @ an_affine()[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(a_scan().T, flipped), folder / "a.nii.gz")
    image = SimpleITK.GetImageFromArray(a_scan())
    image.SetSpacing((0.7, 0.8, 2.5))
    SimpleITK.WriteImage(image, folder / "b.mha")
    SimpleITK.WriteImage(image, folder / "c.nrrd")
    found = find_studies(zipped(folder, tmp_path / "files.zip"))
    assert [study.format for study in found] == ["nifti", "itk", "itk"]
    with ReadingChild() as read:
        for study in found:
            assert (read(study).array == a_scan()).all()


def test_a_study_of_an_archive_travels_to_another_process(series, tmp_path):
    study = find_studies(zipped(series, tmp_path / "a.zip"))[0]
    assert unpacked(packed(study)) == study


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/etc/secret.dcm", stat.S_IFREG),
        ("../secret.dcm", stat.S_IFREG),
        ("a/../../secret.dcm", stat.S_IFREG),
        ("..\\secret.dcm", stat.S_IFREG),
        ("C:/secret.dcm", stat.S_IFREG),
        ("link.dcm", stat.S_IFLNK),
        ("pipe.dcm", stat.S_IFIFO),
    ],
)
def test_an_entry_that_leads_elsewhere_refuses_the_archive(tmp_path, name, kind):
    assert code_of(one_entry(tmp_path / "a.zip", name, kind=kind)) == "BAD_ARCHIVE"


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "RATIO_FREE_BYTES", 2**20)
    monkeypatch.setattr(archive.zlib, "decompressobj", None)
    path = one_entry(tmp_path / "a.zip", "a.dcm", bytes(2**21))
    assert code_of(path) == "BAD_ARCHIVE"


def test_an_entry_gives_no_more_than_it_declares(tmp_path):
    path = one_entry(tmp_path / "a.zip", "a.dcm", bytes(2**20))
    content = path.read_bytes()
    path.write_bytes(content.replace((2**20).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    (member,) = archive.members(path)
    with pytest.raises(archive.BadArchiveError, match="not what"):
        member.open()


def test_entries_that_share_bytes_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("a.dcm", b"a" * 100)
        out.writestr("b.dcm", b"b" * 100)
        out.filelist[1].header_offset = out.filelist[0].header_offset
    assert code_of(path) == "BAD_ARCHIVE"


def test_two_entries_of_one_name_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as out:
        out.writestr("a.dcm", b"a" * 100)
        out.writestr("a.dcm", b"b" * 100)
    assert code_of(path) == "BAD_ARCHIVE"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path, method):
    assert code_of(one_entry(tmp_path / "a.zip", "a.dcm", method=method)) == "BAD_ARCHIVE"


def test_an_encrypted_archive_is_refused(tmp_path):
    path = one_entry(tmp_path / "a.zip", "a.dcm")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert code_of(path) == "BAD_ARCHIVE"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_called_an_archive_and_is_none_is_refused(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    assert code_of(path) == "BAD_ARCHIVE"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_an_archive_cut_short_is_refused(series, tmp_path, share):
    path = zipped(series, tmp_path / "a.zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert code_of(path) == "BAD_ARCHIVE"


def test_a_flipped_byte_never_gives_a_volume(series, tmp_path):
    path = zipped(series, tmp_path / "a.zip", zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"\x7f\x10") + 300] ^= 1
    path.write_bytes(content)
    assert code_of(path) == "BAD_ARCHIVE"


def test_an_archive_in_an_archive_is_a_study_that_is_refused(series, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    zipped(series, outer / "inner.zip")
    path = zipped(outer, tmp_path / "a.zip")
    (study,) = find_studies(path)
    assert study.format == "archive"
    assert code_of(path) == "BAD_ARCHIVE"


def test_slices_beside_an_archive_that_is_not_opened_say_so(series, tmp_path):
    outer = tmp_path / "outer"
    shutil.copytree(series, outer)
    zipped(series, outer / "inner.zip")
    found = find_studies(zipped(outer, tmp_path / "a.zip"))
    assert sorted(study.format for study in found) == ["archive", "dicom"]
    (scan,) = (study for study in found if study.format == "dicom")
    assert any("an archive that is not opened" in note for note in read_study(scan).source.notes)


def tarred(folder, path, mode):
    with tarfile.open(path, mode) as out:
        out.add(folder, "series")
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.tar", "w"),
        ("a.tgz", "w:gz"),
        ("a.tar.bz2", "w:bz2"),
        ("a.tar.xz", "w:xz"),
        ("a", "w:gz"),
    ],
)
def test_a_tar_archive_is_found_and_refused_by_what_it_is(series, tmp_path, name, mode):
    inbox = tmp_path / "inbox"
    shutil.copytree(series, inbox / "one")
    path = tarred(series, inbox / name, mode)
    assert sorted(study.format for study in find_studies(inbox)) == ["archive", "dicom"]
    with pytest.raises(StudyError, match=r"BAD_ARCHIVE.*\(tar.*not opened. Unpack it"):
        read_volume(path)


@pytest.mark.parametrize("head", [b"7z\xbc\xaf\x27\x1c\0\4", b"Rar!\x1a\x07\x01\0"])
def test_archives_of_other_programs_are_refused_by_what_they_are(tmp_path, head):
    path = tmp_path / "a"
    path.write_bytes(head + bytes(100))
    with pytest.raises(StudyError, match=r"BAD_ARCHIVE.*an archive \((7z|RAR)\)"):
        read_volume(path)


def test_a_zip_archive_without_suffix_is_read_wherever_it_lies(series, tmp_path):
    inbox = tmp_path / "inbox"
    write(inbox / "one", study="one", patient="1")
    zipped(series, inbox / "download")
    assert len(find_studies(inbox)) == 2
    (inbox / "download").unlink()
    with zipfile.ZipFile(inbox / "report.docx", "w") as out:
        out.writestr("word/document.xml", "<w/>")
    found = find_studies(inbox)
    assert (len(found), found.reasons) == (1, {"not a scan": 1})
    found = find_studies(zipped(inbox, tmp_path / "all.zip"))
    assert (len(found), found.reasons) == (1, {"not a scan": 1})


def test_nothing_is_written_beside_the_archive(series, tmp_path):
    path = zipped(series, tmp_path / "a.zip")
    before = sorted(tmp_path.rglob("*"))
    read_volume(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_behaves_as_the_file_it_was(series, tmp_path):
    (first, *_) = archive.members(zipped(series, tmp_path / "a.zip"))
    original = min(series.iterdir())
    assert (first.name, first.suffix) == (original.name, original.suffix)
    assert first.parent == Path(tmp_path / "a.zip")
    assert first.stat().st_size == original.stat().st_size
    assert isinstance(first.open(), io.BytesIO)
    assert first.open().read() == original.read_bytes()


@pytest.mark.parametrize(
    ("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")]
)
def test_an_archive_compressed_otherwise_is_refused_with_what_to_do(tmp_path, method, name):
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.dcm", bytes(1000))
    with pytest.raises(StudyError, match=f"by {name}.*pack it again with Deflate") as caught:
        read_volume(path)
    assert caught.value.code == "BAD_ARCHIVE"


def test_the_last_part_of_a_split_archive_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in "abcd":
            archive.writestr(name, bytes(1000))
    content = path.read_bytes()
    path.write_bytes(content[len(content) // 2 :])
    with pytest.raises(StudyError, match=r"archive that was split\. Unpack all parts") as caught:
        read_volume(path)
    assert caught.value.code == "BAD_ARCHIVE"
