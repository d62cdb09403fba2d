"""Each check has a file that trips it and one that does not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from covidctnet.io.picture import read_stored
from covidctnet.radiograph.quality import check_picture, jpeg_quality
from tests.radiograph.pictures import radiograph


def codes(tmp_path, image, name="a.png", **how):
    how = {"dpi": (254, 254), **how}
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(tmp_path / name, **how)
    found = check_picture(read_stored(tmp_path / name), (tmp_path / name).suffix)
    return {one.code: one.value for one in found}


def test_a_plain_grey_picture_has_no_finding(tmp_path):
    assert codes(tmp_path, radiograph()) == {}
    assert codes(tmp_path, radiograph(), "a.tif") == {}
    assert codes(tmp_path, radiograph(), "a.jpg", quality=95) == {}


def test_content_that_its_name_does_not_promise(tmp_path):
    assert codes(tmp_path, radiograph(), "a.jpg", format="PNG") == {"container": "PNG named .jpg"}


@pytest.mark.parametrize("quality", [10, 50, 75, 89])
def test_the_quality_of_a_jpeg_is_that_which_it_was_saved_with(tmp_path, quality):
    assert codes(tmp_path, radiograph(), "a.jpg", quality=quality)["jpeg_quality"] == quality


def test_every_quality_is_known_by_its_table():
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("L", (16, 16)).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as image:
            table = np.array(image.quantization[0]).reshape(8, 8)
        assert jpeg_quality(table) == quality


@pytest.mark.parametrize("seed", range(4))
def test_a_jpeg_that_was_a_coarser_jpeg_before_is_found_and_a_first_one_is_not(tmp_path, seed):
    picture = radiograph(seed=seed)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=60)
    with Image.open(buffer) as first:
        assert "jpeg_twice" in codes(tmp_path, first.copy(), "a.jpg", quality=95)
    for quality in (60, 80, 95, 100):
        assert "jpeg_twice" not in codes(tmp_path, picture, "a.jpg", quality=quality)


def test_few_grey_values_and_more_bits_than_8(tmp_path):
    assert codes(tmp_path, radiograph() // 8 * 8)["bit_depth"] < 32
    deep = radiograph().astype(np.uint16) * 16 + np.arange(400, dtype=np.uint16) % 16
    assert codes(tmp_path, deep) == {"bit_depth": 16}


def test_colours_that_are_grey_and_colours_that_are_not(tmp_path):
    grey = Image.fromarray(radiograph())
    assert codes(tmp_path, grey.convert("RGB")) == {"colour": 0}
    tinted = ImageOps.colorize(grey, "black", "#fff0e0")
    assert codes(tmp_path, tinted)["colour"] > 10


def test_a_palette_and_transparency(tmp_path):
    grey = Image.fromarray(radiograph())
    assert "palette" in codes(tmp_path, grey.convert("P"))
    assert "alpha" in codes(tmp_path, grey.convert("LA"))


def test_dots_an_inch(tmp_path):
    assert codes(tmp_path, radiograph(), dpi=(96, 96))["dpi"] == 96
    Image.fromarray(radiograph()).save(tmp_path / "b.png")
    found = check_picture(read_stored(tmp_path / "b.png"), ".png")
    assert [(one.code, one.value) for one in found] == [("dpi", "none")]


def test_a_small_picture(tmp_path):
    assert codes(tmp_path, radiograph(224)) == {"size": 224}


def test_a_frame(tmp_path):
    framed = np.pad(radiograph(), ((0, 0), (20, 30)), constant_values=0)
    assert codes(tmp_path, framed) == {"borders": 30}


def test_text_and_arrows(tmp_path):
    image = Image.fromarray(radiograph())
    draw = ImageDraw.Draw(image)
    draw.text((15, 15), "R SUPINE", fill=255, font_size=22)
    draw.line((60, 300, 110, 340), fill=255, width=4)
    assert codes(tmp_path, image).keys() == {"marks"}


def test_a_rotation_in_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    found = codes(tmp_path, radiograph(), "a.jpg", quality=95, exif=exif)
    assert found == {"exif_rotation": 6}


def test_contrast_that_was_stretched_tile_by_tile(tmp_path):
    from skimage import exposure

    stretched = exposure.equalize_adapthist(radiograph(), clip_limit=0.2)
    found = codes(tmp_path, (stretched * 240).astype(np.uint8))
    assert found.keys() == {"equalised"}
