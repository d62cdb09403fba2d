import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from covidctnet.errors import CohortError, UsageError
from covidctnet.slicewise.table import read_images
from covidctnet.systems.resnet50_slices.classes import CLASSES
from covidctnet.training.images import Division, describe_images, divide_images, store_images
from tests.picture_set import write_pictures

FIRST = Division()


def binary(values):
    return (values > 0).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    return write_pictures(tmp_path / "set", masks=True)


def divided(folder, tmp_path, division=FIRST, **more):
    table = read_images(folder, CLASSES, **more)
    stored = store_images(table, tmp_path / "stored", mask_of=binary)
    return stored, divide_images(stored, table, division)


def test_pictures_and_masks_are_kept_as_they_are(folder, tmp_path):
    stored, _ = divided(folder, tmp_path)
    for one in stored:
        assert np.array_equal(one.pixels(), np.array(Image.open(one.image.file)))
        mask = np.array(Image.open(one.image.mask))
        assert np.array_equal(one.labels(), mask > 0)


def test_every_patient_is_on_one_side_and_every_fold_tests_others(folder, tmp_path):
    tested = []
    for fold in range(5):
        stored, sides = divided(folder, tmp_path, Division(fold=fold))
        people = {side: {one.image.patient for one in images} for side, images in sides.items()}
        assert sum(map(len, people.values())) == 10
        assert set.union(*people.values()) == {one.image.patient for one in stored}
        assert len(people["test"]) == len(people["val"]) == 2
        tested += people["test"]
    assert len(set(tested)) == 10


def test_the_split_of_the_table_is_taken_as_it_is(tmp_path):
    sides = ["train"] * 6 + ["validation", "val", "test", "test"]
    folder = write_pictures(tmp_path / "set", split=lambda patient: sides[patient])
    _, found = divided(folder, tmp_path)
    assert {side: len(images) for side, images in found.items()} == {
        "train": 12,
        "val": 4,
        "test": 4,
    }


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (["train"] * 9 + [""], "expected train, val or test as split, got None"),
        (["train"] * 9 + ["training"], "expected train, val or test as split, got 'training'"),
        (["train"] * 8 + ["test"] * 2, "expected pictures in the split val, got none"),
    ],
)
def test_a_table_with_half_a_split_is_refused(splits, said, tmp_path):
    folder = write_pictures(tmp_path / "set", split=lambda patient: splits[patient])
    with pytest.raises(CohortError, match=said):
        divided(folder, tmp_path)


def test_a_copy_of_a_training_picture_among_the_test_pictures_is_refused(tmp_path):
    sides = ["train"] * 6 + ["val", "val", "test", "test"]
    folder = write_pictures(tmp_path / "set", split=lambda patient: sides[patient])
    (folder / "p8_0.png").write_bytes((folder / "p0_0.png").read_bytes())
    with pytest.raises(CohortError, match="got 1 pairs in two, such as") as caught:
        divided(folder, tmp_path)
    assert "p8" not in str(caught.value)


def test_copies_without_a_split_stay_together(folder, tmp_path):
    (folder / "p8_0.png").write_bytes((folder / "p0_0.png").read_bytes())
    (folder / "masks" / "p8_0.png").write_bytes((folder / "masks" / "p0_0.png").read_bytes())
    for fold in range(3):
        _, sides = divided(folder, tmp_path, Division(folds=3, fold=fold))
        places = {one.image.patient: side for side, images in sides.items() for one in images}
        assert places["p0"] == places["p8"]


def test_a_broken_picture_is_told_by_its_line(folder, tmp_path):
    (folder / "p3_1.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    with pytest.raises(CohortError, match=r"images\.csv line") as caught:
        divided(folder, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_card_names_pictures_by_their_digest_and_no_patient(folder, tmp_path):
    _, sides = divided(folder, tmp_path)
    told = describe_images(sides["train"], "A. Nobody")
    assert told["pictures"] == 12 and told["patients"] == 6
    assert set(told["seen"].split()) == {one.mark for one in sides["train"]}
    assert "p0" not in str(told)
    assert told["attribution"] == "A. Nobody"


def test_unknown_patients_are_no_number_in_the_card(tmp_path):
    folder = write_pictures(tmp_path / "set")
    text = (folder / "images.csv").read_text().replace("p0,", ",")
    (folder / "images.csv").write_text(text)
    _, sides = divided(folder, tmp_path, patients_unknown=True)
    everything = [one for images in sides.values() for one in images]
    assert describe_images(everything, "")["patients"] is None


@pytest.mark.parametrize("bad", [{"folds": 2}, {"fold": 5}, {"fold": -1}])
def test_an_impossible_division_is_refused(bad):
    with pytest.raises(UsageError, match="expected 3 folds or more"):
        Division(**bad)


def test_copies_of_one_picture_with_two_labels_are_refused_by_their_lines(tmp_path):
    folder = write_pictures(tmp_path / "set")
    grey = np.array(Image.open(folder / "p0_0.png"))
    Image.fromarray(grey).save(folder / "copy.jpg", quality=95)
    with (folder / "images.csv").open("a") as file:
        file.write("copy.jpg,p99,Non-Covid\n")
    told = (
        r"1 pairs of copies with two, such as images.csv line 2 \(Covid-19\) and images.csv line 22"
    )
    with pytest.raises(CohortError, match=told) as caught:
        divided(folder, tmp_path)
    assert "p99" not in str(caught.value)


def test_flat_pictures_of_two_labels_are_no_copies(tmp_path):
    folder = write_pictures(tmp_path / "set")
    for name in ("p0_0.png", "p1_0.png"):
        Image.fromarray(np.zeros((48, 40), np.uint8)).save(folder / name)
    stored, sides = divided(folder, tmp_path)
    assert sum(map(len, sides.values())) == len(stored)


def test_only_a_picture_that_says_so_counts_as_one_of_a_phantom(folder, tmp_path):
    table = read_images(folder, CLASSES)
    says = PngInfo()
    says.add_text("Software", "covidctnet phantom")
    first = table[0].file
    Image.open(first).save(first, pnginfo=says)
    stored = store_images(table, tmp_path / "stored")
    assert [one.is_synthetic for one in stored] == [one.image.file == first for one in stored]
