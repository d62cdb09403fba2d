"""Which radiographs lie under a path, and what a CT system and a radiograph system refuse."""

import numpy as np
import pytest

import covidctnet
from covidctnet.errors import StudyError
from covidctnet.io import find_studies
from covidctnet.radiograph.child import RadiographChild
from covidctnet.radiograph.find import find_radiographs
from covidctnet.radiograph.read import read_radiograph
from covidctnet.slicewise.leak import fingerprint
from tests.io import series
from tests.radiograph.pictures import radiograph, write_dicom, write_png


def deep(seed=0):
    return radiograph(seed=seed).astype(np.uint16) * 16


def test_every_picture_is_a_study_and_a_ct_is_one_that_is_refused(tmp_path):
    write_dicom(tmp_path / "visit" / "pa.dcm", deep(), name="one")
    write_dicom(tmp_path / "visit" / "ap", deep(1), name="two")
    write_png(tmp_path / "visit" / "a.png", radiograph(seed=2))
    write_png(tmp_path / "visit" / "copy.png", radiograph(seed=2))
    series.write(tmp_path / "visit" / "ct")
    (tmp_path / "visit" / "list.csv").write_text("file")
    (tmp_path / "visit" / ".hidden.png").write_text("x")
    found = find_radiographs(tmp_path)
    kinds = [(study.format, len(study.files)) for study in found]
    assert sorted(kinds) == [("dicom", 12), ("picture", 1), ("picture", 1), ("picture", 1)]
    assert found.reasons == {"copies": 1, "not a radiograph": 2}
    (ct,) = [study for study in found if study.format == "dicom"]
    with pytest.raises(StudyError, match="got 12 DICOM files of a CT") as caught:
        read_radiograph(ct)
    assert (caught.value.code, caught.value.study) == ("NOT_RADIOGRAPH", ct.id)


def test_a_radiograph_is_read_with_its_findings_and_known_again_by_its_grey_values(tmp_path):
    write_png(tmp_path / "a.jpg", radiograph(), quality=50)
    (study,) = find_radiographs(tmp_path)
    found = read_radiograph(study)
    assert [one.code for one in found.findings] == ["jpeg_quality"]
    assert found.source.digest == fingerprint(found.pixels).digest
    assert not found.pixels.flags.writeable
    with RadiographChild() as child:
        again = child(study)
    assert np.array_equal(again.pixels, found.pixels)
    assert (again.source, again.findings) == (found.source, found.findings)


def test_a_radiograph_in_dicom_keeps_its_spacing_and_its_id(tmp_path):
    write_dicom(tmp_path / "a.dcm", deep())
    (study,) = find_radiographs(tmp_path)
    found = read_radiograph(study)
    assert found.spacing_mm == (0.2, 0.2) and found.source.study == study.id
    write_dicom(tmp_path / "moved" / "b", deep())
    (again,) = find_radiographs(tmp_path / "moved")
    assert again.id == study.id


def test_what_is_named_as_a_picture_and_is_none_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("words")
    (tmp_path / "b.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    codes = []
    for study in find_radiographs(tmp_path):
        with pytest.raises(StudyError) as caught:
            read_radiograph(study)
        codes.append(caught.value.code)
    assert codes == ["NOT_PICTURE", "CORRUPT_SLICE"]


def test_a_radiograph_given_to_a_ct_system_is_refused_by_name(tmp_path):
    write_dicom(tmp_path / "d" / "a.dcm", deep())
    path = write_png(tmp_path / "p" / "a.png", radiograph())
    with pytest.raises(StudyError, match=r"NOT_CT.*got 1 x Computed Radiography"):
        covidctnet.read_volume(tmp_path / "d")
    with pytest.raises(StudyError, match=r"NOT_CT.*got a picture that may be a radiograph"):
        covidctnet.read_volume(path)
    # In a folder, pictures lie next to scans and are passed over.
    assert find_studies(tmp_path / "p").reasons == {"not a scan": 1}
