import pickle

import numpy as np
import pytest
from PIL import Image

from covidctnet.errors import CohortError, UsageError
from covidctnet.slicewise.table import (
    Images,
    ImagesError,
    LabelledImage,
    PatientImages,
    read_images,
)
from tests.slicewise.pictures import CLASSES, a_slice, archive, save

ALL = "file,patient,label,source,split,scan,z_mm,mask,stage"


def mistakes(root, **options):
    with pytest.raises(ImagesError) as caught:
        read_images(root, CLASSES, **options)
    assert str(caught.value).startswith(f"the pictures have {len(caught.value.mistakes)} mistake")
    return caught.value.mistakes


def test_every_column_of_the_table_is_read(tmp_path):
    row = "a/1.png,Doe,covid,paper,train,s1,-12.5,masks/1.png,pretrain"
    archive(tmp_path, [row, "a/2.png,Roe,noncovid,,,,,,"], ALL)
    first, second = images = read_images(tmp_path, CLASSES)
    root = tmp_path.resolve()
    assert first == LabelledImage(
        root / "a/1.png",
        CLASSES.COVID,
        "images.csv line 2",
        patient="Doe",
        source="paper",
        split="train",
        scan="s1",
        z_mm=-12.5,
        mask=root / "masks/1.png",
        stage="pretrain",
    )
    assert second == LabelledImage(
        root / "a/2.png", CLASSES.NONCOVID, "images.csv line 3", patient="Roe"
    )
    assert isinstance(images, PatientImages) and images.patients == ("Doe", "Roe")
    assert images.labels.tolist() == [1, 0] and images.positive.tolist() == [True, False]


def test_columns_without_a_meaning_are_named(tmp_path):
    archive(tmp_path, ["1.png,p,COVID,x"], "file,patient,label,sources")
    assert read_images(tmp_path, CLASSES).passed_over == ("column 'sources'",)


def test_folders_by_class_patient_and_scan_are_read(tmp_path):
    for number, name in enumerate(
        ["COVID/p1/b.png", "COVID/p1/a.jpg", "COVID/p2/s1/a.png", "non-covid/p3/a.tif"]
    ):
        save(tmp_path / name, a_slice(number))
    (tmp_path / "COVID/p1/notes.txt").write_text("x")
    (tmp_path / "COVID/p1/.hidden.png").write_text("x")
    images = read_images(tmp_path, CLASSES)
    found = [(i.label.title, i.patient, i.scan, i.file.name) for i in images]
    assert found == [
        ("COVID", "p1", None, "a.jpg"),
        ("COVID", "p1", None, "b.png"),
        ("COVID", "p2", "s1", "a.png"),
        ("NonCOVID", "p3", None, "a.tif"),
    ]
    assert images[0].where == "picture 1 of 3 in COVID/"
    assert images.passed_over == ("1 files that are no pictures",)


def test_without_patients_there_are_pictures_and_no_patients(tmp_path):
    archive(tmp_path, ["1.png,unknown,COVID", "2.png,,NonCOVID", "3.png,Doe,NonCOVID"])
    found = mistakes(tmp_path)
    assert len(found) == 2 and found[0].startswith(
        "images.csv line 2: expected a patient, got none"
    )
    images = read_images(tmp_path, CLASSES, patients_unknown=True)
    assert type(images) is Images and not hasattr(images, "patients")
    assert [image.patient for image in images] == [None, None, "Doe"]
    with pytest.raises(UsageError, match="got 2 of 3 without"):
        PatientImages(images.images, CLASSES)


def test_pictures_that_lie_in_no_patients_folder_have_none(tmp_path):
    save(tmp_path / "COVID/a.png", a_slice(0))
    save(tmp_path / "NonCOVID/a.png", a_slice(1))
    assert len(mistakes(tmp_path)) == 2
    assert len(read_images(tmp_path, CLASSES, patients_unknown=True)) == 2


def test_every_mistake_is_listed_with_its_line(tmp_path):
    rows = [
        "1.png,a,COVID,,train,,,,",
        "1.png,b,NonCOVID,,,,,,",
        "1.png,a,COVID,,train,,,,",
        "2.png,a,NonCOVID,,,,,,",
        "3.png,a,COVID,,test,,,,",
        "missing4.png,c,COVID,,,,,,",
        "../5.png,c,COVID,,,,,,",
        "6.png,c,measles,,,,,,",
        "7.png,c,COVID,,,,high,,",
        ",c,COVID,,,,,,",
        "8.png,d,COVID,,,s,2.0,,",
        "9.png,d,COVID,,,s,2.0,,",
        "10.png,d,COVID,,,s,3.0,missing/10.png,",
        "11.png,d,COVID,,,,,,,,surplus",
    ]
    save(tmp_path / "5.png", a_slice(5))
    root = archive(tmp_path / "root", rows, ALL)
    said = dict(m.removeprefix("images.csv line ").split(": ", 1) for m in mistakes(root))
    assert {line: text.split(". ")[0] for line, text in said.items()} == {
        "3": "expected one label for a picture, it is NonCOVID here and COVID in images.csv line 2",
        "4": "expected each picture once, it is in images.csv line 2 too",
        "5": "expected one class for a patient, the patient is NonCOVID here and COVID in "
        "images.csv line 2",
        "6": "expected a patient in one split, the patient is in test here and in train in "
        "images.csv line 2",
        "7": "expected a picture, its file is missing",
        "8": "expected a picture within the folder, got a path that leaves it",
        "9": "unknown label 'measles'; known labels are NonCOVID, COVID.",
        "10": "expected a number of mm in z_mm, got none",
        "11": "expected file and label, file is empty",
        "13": "expected slices of a scan at positions of their own, got that of images.csv line 12",
        "14": "expected a mask, its file is missing",
        "15": "expected a cell for each column, got more",
    }


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    outside = save(tmp_path / "1.png", a_slice(0))
    root = archive(tmp_path / "root", ["2.png,a,COVID"])
    (root / "1.png").symlink_to(outside)
    (root / "images.csv").write_text("file,patient,label\n1.png,a,COVID\n")
    (found,) = mistakes(root)
    assert "a path that leaves it" in found


def test_an_absolute_path_is_refused(tmp_path):
    outside = save(tmp_path / "x.png", a_slice(0))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/images.csv").write_text(f"file,patient,label\n{outside},a,COVID\n")
    (found,) = mistakes(tmp_path / "root")
    assert "a path that leaves it" in found and str(outside) not in found


def test_no_patient_is_named_in_a_mistake(tmp_path):
    archive(tmp_path, ["1.png,Canary,COVID", "2.png,Canary,NonCOVID"])
    assert "Canary" not in " ".join(mistakes(tmp_path))


def test_a_mask_of_another_size_or_without_a_picture_is_listed(tmp_path):
    rows = ["1.png,a,COVID,m/1.png", "2.png,a,COVID,m/2.png", "3.png,a,COVID,"]
    archive(tmp_path, rows, "file,patient,label,mask")
    save(tmp_path / "m/2.png", a_slice(2)[:-6])
    save(tmp_path / "m/3.png", a_slice(3))
    of_size, lonely = mistakes(tmp_path)
    assert of_size.startswith("images.csv line 3: expected a mask of 96 x 128 pixels")
    assert "got 90 x 128" in of_size
    assert lonely.startswith("m/: expected a picture for each mask, got 1 masks that no line names")


def test_one_mask_of_two_pictures_is_listed(tmp_path):
    rows = ["1.png,a,COVID,m/1.png", "2.png,a,COVID,m/1.png"]
    archive(tmp_path, rows, "file,patient,label,mask")
    (found,) = mistakes(tmp_path)
    assert "expected a mask of its own, got that of images.csv line 2" in found


def test_a_picture_with_a_mask_that_cannot_be_read_is_listed(tmp_path):
    archive(tmp_path, ["1.png,a,COVID,m/1.png"], "file,patient,label,mask")
    (tmp_path / "1.png").write_text("no picture")
    (found,) = mistakes(tmp_path)
    assert found.startswith("images.csv line 2: expected PNG") and "got text" in found


def test_a_turned_picture_has_the_size_that_it_is_read_with(tmp_path):
    archive(tmp_path, ["1.png,a,COVID,m/1.png"], "file,patient,label,mask")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(a_slice(0))).save(tmp_path / "1.png", exif=exif)
    assert len(read_images(tmp_path, CLASSES)) == 1


def test_one_patient_in_two_classes_of_folders_is_listed(tmp_path):
    save(tmp_path / "COVID/p1/a.png", a_slice(0))
    save(tmp_path / "NonCOVID/p1/a.png", a_slice(1))
    (found,) = mistakes(tmp_path)
    assert "expected one class for a patient" in found and "picture 1 of 1 in NonCOVID/" in found


def test_pictures_in_folders_of_no_class_or_too_deep_are_listed(tmp_path):
    save(tmp_path / "COVID/p1/a.png", a_slice(0))
    save(tmp_path / "Cvoid/p1/a.png", a_slice(1))
    save(tmp_path / "COVID/p1/s/t/a.png", a_slice(2))
    deep, other = mistakes(tmp_path)
    assert "CLASS/PATIENT/SCAN/ at most, got 4 folders" in deep
    assert "got 1 in folders of other names" in other


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file;patient;label\n", "lacks the columns file, label; expected commas"),
        ("file,file,label\n", "has the columns file twice"),
        ("file,patient,label\n", "expected a row for every picture in images.csv, got none"),
        ("file,patient,label\n\xff", "expected a row|in UTF-8"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, said):
    (tmp_path / "images.csv").write_text(text, encoding="latin-1")
    with pytest.raises(CohortError, match=said):
        read_images(tmp_path, CLASSES)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(CohortError, match=r"expected images.csv or NonCOVID/, COVID/"):
        read_images(tmp_path, CLASSES)
    (tmp_path / "COVID").mkdir()
    with pytest.raises(CohortError, match=r"expected pictures .* got none"):
        read_images(tmp_path, CLASSES)
    with pytest.raises(UsageError, match=r"'nowhere' is none"):
        read_images(tmp_path / "nowhere", CLASSES)


def test_many_mistakes_are_counted_and_twenty_listed(tmp_path):
    archive(tmp_path, [f"missing{i}.png,p,COVID" for i in range(30)])
    with pytest.raises(ImagesError, match=r"have 30 mistakes\..* And 10 more\.$") as caught:
        read_images(tmp_path, CLASSES)
    assert len(caught.value.mistakes) == 30
    assert pickle.loads(pickle.dumps(caught.value)).mistakes == caught.value.mistakes


def test_pictures_of_one_patient_one_source_and_copies_are_one_group(tmp_path):
    rows = [
        "1.png,a,COVID,x",
        "2.png,a,COVID,",
        "3.png,b,COVID,x",
        "4.png,c,COVID,",
        "5.png,d,COVID,",
    ]
    images = read_images(archive(tmp_path, rows, "file,patient,label,source"), CLASSES)
    assert images.groups().tolist() == [0, 0, 0, 1, 2]
    assert images.groups(by_source=False).tolist() == [0, 0, 1, 2, 3]
    assert images.groups([(0, 4)]).tolist() == [0, 0, 0, 1, 0]


def test_the_real_tables_are_read(shared_data):
    whole = read_images(shared_data / "ucsd_covid_ct_whole", CLASSES, patients_unknown=True)
    assert len(whole) == 543 and whole.positive.sum() == 251
    assert len({image.source for image in whole}) == 241
    other = read_images(shared_data / "sars_cov2_ct_sample", CLASSES, patients_unknown=True)
    assert len(other) == 200 and all(image.patient is None for image in other)
