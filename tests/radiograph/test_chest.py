"""What is refused or flagged as no frontal radiograph of a chest."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from covidctnet.errors import StudyError
from covidctnet.evidence import Finding
from covidctnet.radiograph.chest import check_frontal, look_at
from covidctnet.slicewise.window import hu_to_8_bit
from tests.radiograph.pictures import radiograph


def refusal(grey):
    with pytest.raises(StudyError) as caught:
        check_frontal(grey, study="s")
    return caught.value.code


def hand():
    image = Image.new("L", (300, 400), 5)
    draw = ImageDraw.Draw(image)
    draw.ellipse((90, 200, 230, 370), fill=140)
    for number, (left, top) in enumerate([(80, 90), (120, 50), (160, 45), (200, 75)]):
        draw.line((left, top, 110 + 30 * number, 260), fill=170, width=26)
    draw.line((270, 200, 200, 300), fill=160, width=28)
    return np.asarray(image)


def words():
    image = Image.new("L", (400, 300), 255)
    draw = ImageDraw.Draw(image)
    for line in range(12):
        draw.text((20, 15 + 22 * line), "The lungs are clear. No effusion.", fill=0, font_size=16)
    return np.asarray(image)


def lateral():
    """One large dark field before a bright spine, and the heart below."""
    y, x = np.mgrid[:300, :240] / np.array([300.0, 240.0])[:, None, None]
    grey = 150 + 60 * np.exp(-(((x - 0.85) / 0.08) ** 2))
    grey = grey - 110 * np.exp(-(((x - 0.5) / 0.22) ** 2) - ((y - 0.4) / 0.25) ** 2)
    return np.clip(grey + np.random.default_rng(0).normal(0, 3, grey.shape), 0, 240).astype("u1")


def ct_slice():
    """A body that is white in a lung window, with two lungs full of vessels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:300j, -1:1:300j]
    hu = np.where((x / 0.9) ** 2 + (y / 0.8) ** 2 < 1, 200.0, -1000.0)
    for side in (-0.42, 0.42):
        lung = ((x - side) / 0.3) ** 2 + (y / 0.55) ** 2 < 1
        vessels = ndimage.gaussian_filter(rng.normal(0, 1, x.shape), 2) > 0.2
        hu[lung] = np.where(vessels, 200.0, -850.0)[lung]
    return hu_to_8_bit(hu)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ill", [False, True])
def test_a_frontal_chest_passes_at_any_size_without_a_flag(seed, ill):
    for size in (120, 400):
        assert check_frontal(radiograph(size, seed, ill=ill)) == ()


@pytest.mark.parametrize("make", [hand, words, lateral])
def test_a_hand_text_and_a_lateral_view_are_refused(make):
    assert refusal(make()) in ("NOT_CHEST", "NOT_RADIOGRAPH")


def test_a_lateral_view_has_no_lung_field_on_both_sides():
    assert refusal(lateral()) == "NOT_CHEST"


def test_flat_noisy_inverted_and_turned_pictures_are_refused():
    assert refusal(np.full((200, 200), 90, np.uint8)) == "NOT_CHEST"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert refusal(noise) in ("NOT_CHEST", "NOT_RADIOGRAPH")
    assert refusal(255 - radiograph()) == "NOT_CHEST"
    assert refusal(np.rot90(radiograph())) == "NOT_CHEST"


def test_a_ct_slice_in_a_lung_window_is_refused():
    assert refusal(ct_slice()) == "NOT_RADIOGRAPH"


def test_colours_of_a_photograph_are_flagged_and_those_of_a_scan_are_not():
    strong, weak = Finding("colour", 90), Finding("colour", 12)
    assert check_frontal(radiograph(), [strong]) == ("coloured",)
    assert check_frontal(radiograph(), [weak, Finding("dpi", "none")]) == ()


def test_a_doubtful_picture_is_flagged():
    # Over a third of one lung lies an opacity brighter than the heart.
    grey = radiograph().astype(float)
    grey[205:260, 60:170] = 230
    view = look_at(grey.astype(np.uint8))
    assert view.is_doubtful and not view.is_no_chest
    assert check_frontal(grey.astype(np.uint8)) == ("unusual_view",)


def test_real_radiographs_pass_and_real_ct_slices_are_found(shared_data):
    import csv

    def read(folder, limit):
        with (shared_data / folder / "images.csv").open() as file:
            files = [row["file"] for row in csv.DictReader(file)][::7][:limit]
        return [np.asarray(Image.open(shared_data / folder / f).convert("L")) for f in files]

    chests = [look_at(grey) for grey in read("cxr_kermany_224", 90)]
    assert sum(v.is_ct for v in chests) == 0
    assert sum(v.is_no_chest for v in chests) <= 2
    slices = [look_at(grey) for grey in read("sars_cov2_ct_sample", 30)]
    assert sum(v.is_ct or v.is_no_chest or v.is_doubtful for v in slices) >= 24
