"""Pictures to grey values, or a refusal that names its cause: nothing in between."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from covidctnet.errors import StudyError
from covidctnet.io.child import PictureChild
from covidctnet.io.picture import picture_shape, read_mask, read_picture
from covidctnet.io.picture_size import MAX_SIDE
from tests.io import series
from tests.radiograph.pictures import radiograph, write_dicom

ROWS, COLUMNS = 40, 56


def a_grey(dtype=np.uint8, high=255):
    """No symmetry, every value of the range somewhere."""
    values = np.linspace(0, high, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    return np.roll(values, (3, 5), (0, 1)).astype(dtype)


def save(path, image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def coloured(*channels):
    return Image.merge("RGBA"[: len(channels)], [Image.fromarray(c) for c in channels])


def png_of(parts):
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in parts:
        out += struct.pack(">I", len(body)) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body))
    return out


@pytest.mark.parametrize(
    ("name", "form"), [("a.png", "PNG"), ("a.tif", "TIFF"), ("a.png.jpg", "PNG")]
)
def test_grey_values_come_back_whatever_the_name(tmp_path, name, form):
    path = save(tmp_path / name, a_grey(), format=form)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.pixels, a_grey())
    assert (picture.format, picture.mode, picture.bits) == (form, "L", 8)
    assert picture.shape == picture_shape(path) == (ROWS, COLUMNS)
    assert picture.units == "grey" and picture.notes == ()


def test_a_jpeg_is_read_to_its_own_loss(tmp_path):
    picture = read_picture(save(tmp_path / "a.jpg", a_grey(), quality=95))
    assert np.abs(picture.pixels.astype(int) - a_grey()).max() < 40
    assert (picture.format, picture.mode, picture.bits) == ("JPEG", "L", 8)


def test_a_picture_cannot_be_changed(tmp_path):
    with pytest.raises(ValueError, match="read-only"):
        read_picture(save(tmp_path / "a.png", a_grey())).pixels[0, 0] = 1


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_stay_sixteen_bits(tmp_path, form):
    stored = a_grey(np.uint16, 65535)
    picture = read_picture(save(tmp_path / "a", stored, format=form))
    np.testing.assert_array_equal(picture.pixels, stored)
    assert picture.bits == 16 and picture.pixels.dtype == np.uint16


def test_sixteen_bits_in_the_other_byte_order_are_the_same_numbers(tmp_path):
    stored = a_grey(np.uint16, 65535)
    image = Image.frombytes("I;16B", (COLUMNS, ROWS), stored.astype(">u2").tobytes())
    picture = read_picture(save(tmp_path / "a.tif", image))
    np.testing.assert_array_equal(picture.pixels, stored)
    assert picture.pixels.dtype == np.uint16


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_of_colours_of_sixteen_bits_the_upper_eight_are_kept(tmp_path, kind, channels):
    stored = a_grey(np.uint16, 65535)
    samples = np.repeat(stored[:, :, None], channels, axis=2)
    if channels != 3:
        samples[:, :, -1] = 65535
    rows = np.hstack(
        [np.zeros((ROWS, 1), np.uint8), samples.astype(">u2").reshape(ROWS, -1).view("u1")]
    )
    head = struct.pack(">IIBBBBB", COLUMNS, ROWS, 16, kind, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(png_of(parts))
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, stored >> 8)
    assert picture.bits == 16 and picture.notes == ("16 bits of a channel: the upper 8 were kept",)


def test_equal_channels_are_grey_as_they_are(tmp_path):
    picture = read_picture(save(tmp_path / "a.png", coloured(*[a_grey()] * 3)))
    np.testing.assert_array_equal(picture.pixels, a_grey())
    assert picture.mode == "RGB" and picture.notes == ()


def test_colours_become_their_luma_and_a_note(tmp_path):
    zero = np.zeros_like(a_grey())
    picture = read_picture(save(tmp_path / "a.png", coloured(a_grey(), zero, zero)))
    assert np.abs(picture.pixels - 0.299 * a_grey()).max() <= 0.5
    assert "up to 255" in picture.notes[0]


def test_what_is_transparent_is_black_and_half_of_it_half(tmp_path):
    alpha = np.full_like(a_grey(), 255)
    alpha[:10], alpha[10:20] = 0, 128
    picture = read_picture(save(tmp_path / "a.png", coloured(*[a_grey()] * 3, alpha)))
    assert picture.pixels[:10].max() == 0
    assert np.abs(picture.pixels[10:20] - a_grey()[10:20] * (128 / 255)).max() <= 1
    np.testing.assert_array_equal(picture.pixels[20:], a_grey()[20:])
    assert (picture.mode, picture.notes) == ("RGBA", ("transparent parts were laid on black",))


def test_an_alpha_channel_that_hides_nothing_changes_nothing(tmp_path):
    alpha = np.full_like(a_grey(), 255)
    picture = read_picture(save(tmp_path / "a.png", coloured(*[a_grey()] * 3, alpha)))
    np.testing.assert_array_equal(picture.pixels, a_grey())
    assert picture.notes == ()


def test_a_palette_gives_its_colours_in_a_picture_and_its_indices_in_a_mask(tmp_path):
    labels = np.zeros((ROWS, COLUMNS), np.uint8)
    labels[5:20], labels[20:30] = 1, 2
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 90, 90, 90, 200, 200, 200])
    path = save(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_picture(path).pixels, np.array([0, 90, 200])[labels])
    np.testing.assert_array_equal(read_mask(path), labels)


def test_one_bit_a_pixel_is_black_and_white(tmp_path):
    image = Image.fromarray(a_grey()).convert("1")
    picture = read_picture(save(tmp_path / "a.png", image))
    np.testing.assert_array_equal(picture.pixels, np.array(image) * 255)
    assert picture.bits == 1
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), np.array(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_a_picture_is_turned_as_its_exif_says(tmp_path, form, orientation):
    # Blocks of 8 pixels, so that JPEG keeps them.
    upright = np.kron([[0, 60, 120], [180, 240, 30]], np.ones((24, 24))).astype(np.uint8)
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: a[::-1, ::-1],
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a"
    save(path, np.ascontiguousarray(undo(upright)), format=form, exif=exif)
    picture = read_picture(path)
    assert picture.shape == picture_shape(path) == upright.shape
    assert np.abs(picture.pixels.astype(int) - upright).max() <= 3


def refusal(path, read=read_picture):
    with pytest.raises(StudyError) as caught:
        read(path)
    message = caught.value.message
    assert "\n" not in message and str(path) not in message and message.endswith(".")
    return caught.value.code, message


@pytest.mark.parametrize(
    ("image", "options", "code", "said"),
    [
        (np.zeros((20, 20), np.uint8), {}, "SMALL_PICTURE", "at least 32 x 32 pixels, got 20 x 20"),
        (Image.new("CMYK", (64, 64)), {"format": "JPEG"}, "COLOUR_MODEL", "grey or RGB, got CMYK"),
        (Image.new("CMYK", (64, 64)), {"format": "TIFF"}, "COLOUR_MODEL", "grey or RGB, got CMYK"),
        (Image.new("LAB", (64, 64)), {"format": "TIFF"}, "COLOUR_MODEL", "grey or RGB, got LAB"),
        (a_grey(), {"format": "GIF"}, "NOT_PICTURE", "got a GIF picture. Save"),
        (a_grey(), {"format": "BMP"}, "NOT_PICTURE", "got a BMP picture. Save"),
        (a_grey(), {"format": "WEBP"}, "NOT_PICTURE", "got a WebP picture"),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused_by_name(tmp_path, image, options, code, said):
    path = save(tmp_path / "a.png", image, **options)
    found, message = refusal(path)
    assert found == code and said in message


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_an_animation_and_pages_are_refused(tmp_path, form):
    more = [Image.fromarray(255 - a_grey())]
    path = save(tmp_path / "a", a_grey(), format=form, save_all=True, append_images=more)
    code, message = refusal(path)
    assert code == "SEVERAL_PICTURES" and f"got {form} with several" in message


def test_fractions_are_kept_and_must_be_finite(tmp_path):
    stored = a_grey(np.float32, 1)
    picture = read_picture(save(tmp_path / "a.tif", stored))
    np.testing.assert_array_equal(picture.pixels, stored)
    stored[3, 3] = np.nan
    assert refusal(save(tmp_path / "b.tif", stored))[0] == "CORRUPT_FILE"


def test_an_enormous_picture_is_refused_before_it_is_decoded(tmp_path):
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    # Its pixels are missing: a decoder would complain of that.
    parts = [(b"IHDR", head), (b"IDAT", b""), (b"IEND", b"")]
    path = tmp_path / "a.png"
    path.write_bytes(png_of(parts))
    start = time.process_time()
    code, message = refusal(path)
    assert code == "ABSURD_SIZE" and "got 30000 x 30000" in message
    assert refusal(path, picture_shape)[0] == "ABSURD_SIZE"
    assert time.process_time() - start < 1


def test_the_largest_picture_that_is_read_is_read(tmp_path):
    path = save(tmp_path / "a.png", Image.new("L", (MAX_SIDE, 40)))
    assert read_picture(path).shape == (40, MAX_SIDE)
    path = save(tmp_path / "b.png", Image.new("L", (MAX_SIDE + 1, 40)))
    assert refusal(path)[0] == "ABSURD_SIZE"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_picture_that_breaks_off_is_refused(tmp_path, form, share):
    path = tmp_path / "a"
    rng = np.random.default_rng(0)
    save(path, rng.integers(0, 256, (64, 64), np.uint8), format=form)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert refusal(path)[0] == "CORRUPT_FILE"


def test_a_png_of_which_one_bit_changed_is_refused(tmp_path):
    path = save(tmp_path / "a.png", a_grey(), compress_level=0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    code, message = refusal(path)
    assert code == "CORRUPT_FILE" and "a checksum is wrong" in message


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"no picture at all, just words", "text"),
        (b"<!DOCTYPE html>", "text"),
        (b"\x00\xff" * 400, "an unknown kind of file"),
        (b"%PDF-1.7", "a PDF file"),
    ],
)
def test_another_file_by_the_name_of_a_picture_is_refused(tmp_path, content, what):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    code, message = refusal(path)
    assert code == "NOT_PICTURE" and f"got {what}. Save" in message


def test_a_file_that_is_not_there_is_unreadable(tmp_path):
    code, message = refusal(tmp_path / "nothing.png")
    assert code == "UNREADABLE" and "No such file" in message


def test_text_that_inflates_beyond_measure_is_refused(tmp_path):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", "x" * 4_000_000, zip=True)
    path = save(tmp_path / "a.png", a_grey(), pnginfo=notes)
    assert refusal(path)[0] == "CORRUPT_FILE"


def test_a_broken_exif_does_not_cost_the_picture(tmp_path):
    path = save(tmp_path / "a.jpg", a_grey(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 20)
    assert read_picture(path).shape == picture_shape(path) == (ROWS, COLUMNS)


def test_a_dicom_slice_is_read_in_hu(tmp_path):
    shape = (12, 40, 56)
    files = series.write(tmp_path, series.a_scan(shape))
    picture = read_picture(files[4])
    assert (picture.units, picture.format, picture.mode) == ("HU", "DICOM", "MONOCHROME2")
    assert any((picture.pixels == hu).all() for hu in series.a_scan(shape))
    assert picture_shape(files[4]) == shape[1:]


def test_a_radiograph_in_dicom_is_read_as_grey(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", radiograph(64).astype(np.uint16) * 16)
    picture = read_picture(path)
    assert (picture.units, picture.format, picture.mode) == ("grey", "DICOM", "MONOCHROME2")
    assert picture.is_radiograph and picture_shape(path) == (64, 64)


def test_a_slice_without_rescaling_or_whole_pixels_is_refused(tmp_path):
    def bare(ds, index):
        del ds.RescaleSlope

    files = series.write(tmp_path / "bare", series.a_scan((12, 40, 56)), change=bare)
    assert refusal(files[0])[0] == "NO_RESCALE"
    files = series.write(tmp_path / "cut", series.a_scan((12, 40, 56)))
    files[0].write_bytes(files[0].read_bytes()[:-500])
    assert refusal(files[0])[0] == "CORRUPT_SLICE"


def test_a_mask_is_never_mixed_from_colours(tmp_path):
    zero = np.zeros_like(a_grey())
    path = save(tmp_path / "a.png", coloured(a_grey(), zero, zero))
    assert refusal(path, read_mask)[0] == "COLOUR_MODEL"
    equal = save(tmp_path / "b.png", coloured(*[a_grey()] * 3))
    np.testing.assert_array_equal(read_mask(equal), a_grey())
    assert refusal(save(tmp_path / "c.tif", a_grey(np.float32, 1)), read_mask)[0] == "COLOUR_MODEL"
    assert refusal(save(tmp_path / "d.tif", -a_grey(np.int32)), read_mask)[0] == "COLOUR_MODEL"


def test_a_child_process_reads_as_this_one_does(tmp_path):
    good = save(tmp_path / "a.png", coloured(a_grey(), a_grey(), 255 - a_grey()))
    bad = tmp_path / "b.png"
    bad.write_bytes(good.read_bytes()[:-30])
    with PictureChild() as read:
        there, here = read(good), read_picture(good)
        np.testing.assert_array_equal(there.pixels, here.pixels)
        assert repr(there) == repr(here) and there.notes == here.notes
        assert refusal(bad, read) == refusal(bad)
        np.testing.assert_array_equal(read.mask(save(tmp_path / "m.png", a_grey())), a_grey())


def test_every_picture_that_is_cut_or_changed_anywhere_is_read_or_refused_by_name():
    rng = np.random.default_rng(3)
    picture = Image.fromarray(rng.integers(0, 256, (48, 48), np.uint8))
    for form in ("PNG", "JPEG", "TIFF"):
        file = io.BytesIO()
        picture.save(file, format=form)
        content = file.getvalue()
        for _ in range(60):
            changed = bytearray(content)
            for place in rng.integers(0, min(len(content), 700), 3):
                changed[place] = rng.integers(256)
            _read_or_refused(bytes(changed[: rng.integers(1, len(content))]))
            _read_or_refused(bytes(changed))


def _read_or_refused(content):
    class Memory(type(Path())):
        def stat(self, **_):
            return type("State", (), {"st_size": len(content)})

        def open(self, *_):
            return io.BytesIO(content)

    try:
        picture = read_picture(Memory("a.png"))
    except StudyError as error:
        assert error.code.isupper()
    else:
        assert picture.pixels.ndim == 2


def test_every_real_picture_is_read(shared_data):
    folders = ("ucsd_covid_ct", "ucsd_covid_ct_whole", "sars_cov2_ct_sample", "infnet_medseg2d")
    count = 0
    for folder in folders:
        files = [f for f in (shared_data / folder).rglob("*") if f.suffix in (".png", ".jpg")]
        # Every fifth is enough here.
        for file in sorted(files)[::5]:
            assert read_picture(file).shape == picture_shape(file)
            count += 1
    assert count > 150


def a_textured(rows=160, columns=200):
    """Every block of 8 x 8 pixels needs codes of its own."""
    y, x = np.mgrid[:rows, :columns]
    noise = np.random.default_rng(4).normal(0, 12, (rows, columns))
    return np.clip(120 + 60 * np.sin(y / 9) * np.cos(x / 13) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_damaged_jpeg_is_refused_and_a_whole_one_is_read(tmp_path, mode, progressive):
    image = Image.fromarray(a_textured()).convert(mode)
    path = save(tmp_path / "a.jpg", image, quality=90, progressive=progressive)
    assert read_picture(path).shape == (160, 200)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (
        whole[:middle] + bytes(2000) + whole[middle + 2000 :],
        whole[:middle] + b"\xff\xd9",
    ):
        path.write_bytes(damaged)
        with pytest.raises(StudyError, match="CORRUPT_FILE"):
            read_picture(path)
        with pytest.raises(StudyError, match="CORRUPT_FILE"):
            read_mask(path)


def an_interlaced(grey):
    """The rows of a PNG in seven passes."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    passes.append((1, 0, 2, 1))
    lines = [
        b"\0" + line.tobytes() for r, c, down, right in passes for line in grey[r::down, c::right]
    ]
    return b"".join(lines)


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_with_too_few_rows_is_refused_and_a_whole_one_is_read(tmp_path, interlaced):
    grey = a_textured(45, 61)
    rows = an_interlaced(grey) if interlaced else b"".join(b"\0" + row.tobytes() for row in grey)
    header = struct.pack(">IIBBBBB", 61, 45, 8, 0, 0, 0, interlaced)
    path = tmp_path / "a.png"
    for data in (rows, rows[:-1]):
        packed = zlib.compress(data)
        parts = [
            (b"IHDR", header),
            (b"IDAT", packed[:900]),
            (b"IDAT", packed[900:]),
            (b"IEND", b""),
        ]
        path.write_bytes(png_of(parts))
        if data is rows:
            np.testing.assert_array_equal(read_picture(path).pixels, grey)
            continue
        with pytest.raises(StudyError, match=rf"its size needs {len(rows)}"):
            read_picture(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "i4", "f4"])
def test_numbers_of_a_tiff_are_right_or_refused(tmp_path, kind, order, compression):
    numbers = a_grey(kind, 120)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, numbers, byteorder=order, compression=compression)
    if order == ">" and compression and kind not in ("u1", "u2"):
        with pytest.raises(StudyError, match=r"COLOUR_MODEL.*big endian.*Save the picture as PNG"):
            read_picture(path)
        return
    np.testing.assert_array_equal(read_picture(path).pixels, numbers)


@pytest.mark.parametrize(
    "numbers", [a_grey(np.int8, 120), a_grey("f8"), a_grey("f2"), a_grey("u4", 2**32 - 1)]
)
def test_a_tiff_of_numbers_that_are_not_read_is_whole_and_refused(tmp_path, numbers):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, numbers)
    with pytest.raises(StudyError, match=r"COLOUR_MODEL.*Save the picture as PNG"):
        read_picture(path)


def test_a_tiff_that_was_turned_says_so(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, a_grey(), extratags=[(0x0112, 3, 1, 6, True)])
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.pixels, np.rot90(a_grey(), -1))
    assert picture.notes == ("the picture was turned, as its EXIF orientation 6 says",)


def test_a_picture_of_too_many_pixels_is_refused_before_decoding(tmp_path):
    path = save(tmp_path / "a.png", Image.new("1", (6000, 6000)))
    with pytest.raises(StudyError, match=r"ABSURD_SIZE.*6000 x 6000"):
        read_picture(path)
