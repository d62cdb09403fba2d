"""One grey picture from a file: PNG, JPEG, TIFF, or DICOM of a single CT slice or radiograph.

The content decides what a file is, never its name. Its size is read first, and a picture that is
too small or too large is refused before a pixel is decoded. Decoders are C code, so pictures of
unknown origin are read in a child process: `covidctnet.io.child.PictureChild`.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.dicom import (
    DamagedFileError,
    NotDicomError,
    is_radiograph,
    looks_like_dicom,
    read_radiograph,
    read_slice,
)
from covidctnet.io.jpeg_end import jpeg_damage
from covidctnet.io.picture_size import check_shape

__all__ = [
    "Format",
    "Picture",
    "StoredPicture",
    "grey_bytes",
    "grey_digest",
    "picture_shape",
    "read_mask",
    "read_picture",
    "read_stored",
    "stretched",
]

MAX_FILE_BYTES = 256 * 2**20
_HEAD_BYTES = 1024
# Of numbers whose meaning is unknown, this share at each end becomes black or white.
_TAIL_PERCENT = 0.5

Format = Literal["PNG", "JPEG", "TIFF", "DICOM"]
Units = Literal["grey", "HU"]
_Result = TypeVar("_Result")
_Opening = Callable[[io.BytesIO], Image.Image]
# So much of a picture is inflated at a time.
_PIECE = 2**20

_PNG = b"\x89PNG\r\n\x1a\n"
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (_PNG, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"RIFF", "a WebP picture or another RIFF file"),
    (b"%PDF", "a PDF file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"<", "text"),
)
# Pillow's modes of grey and of colours that have a grey value.
_SHALLOW = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_WITH_ALPHA = ("LA", "PA", "RGBA")
_WHITE_IS_ZERO = 0
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_COMPRESSION, _TIFF_SAMPLES, _TIFF_FORMAT = (
    258,
    262,
    259,
    277,
    339,
)
_UNSIGNED, _SIGNED = 1, 2
_UNCOMPRESSED = 1
# Channels of a pixel by the colour type of a PNG, and where each pass of an interlaced one begins
# and how far it goes on: row, column, step of rows, step of columns.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_PASSES = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
# A broken file makes the decoders fail in any of these ways.
_DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    AssertionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """A grey picture, with what its file says of it.

    Attributes:
        pixels: Shape (row, column), read-only: uint8, uint16, int32 or float32 grey values, or
            int16 or float32 HU.
        units: ``grey``, or ``HU`` of a CT slice.
        format: ``PNG``, ``JPEG``, ``TIFF`` or ``DICOM``, by the content.
        mode: How the file stores colours: ``L``, ``RGB``, ``RGBA``, ``P`` and the like, as Pillow
            names them; the photometric interpretation of DICOM.
        bits: Stored for a channel.
        notes: What the reader did, one sentence each.
        flags: Short machine-readable reservations of a radiograph in DICOM.
        spacing_mm: Between rows and between columns; None where the file does not say it.
    """

    pixels: np.ndarray
    units: Units
    format: Format
    mode: str
    bits: int
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    spacing_mm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or 0 in self.pixels.shape:
            raise ValueError(f"a picture has shape (row, column), got {self.pixels.shape}")
        view = self.pixels.view()
        view.setflags(write=False)
        object.__setattr__(self, "pixels", view)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.pixels.shape
        return rows, columns

    @property
    def is_radiograph(self) -> bool:
        """Whether its file says that it is a radiograph; other formats say nothing."""
        return self.format == "DICOM" and self.units == "grey"

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"<Picture {rows} x {columns}, {self.format} {self.mode}, {self.bits} bits>"


@dataclass(frozen=True, eq=False, repr=False)
class StoredPicture:
    """A picture, and how its file stores it.

    Attributes:
        picture: What `read_picture` makes of it.
        colours: uint8 (row, column, 3) as stored, not turned; None for a picture without colours.
        has_alpha: Whether it stores transparency.
        dpi: Dots an inch that it names, across and down; None where it names none.
        orientation: EXIF orientation; 1 where it names none.
        quantisation: The table of brightness of a JPEG, int (8, 8); None for others.
    """

    picture: Picture
    colours: np.ndarray | None = None
    has_alpha: bool = False
    dpi: tuple[float, float] | None = None
    orientation: int = 1
    quantisation: np.ndarray | None = None


def read_stored(path: File) -> StoredPicture:
    """Read a picture with all that its file says of how it was stored.

    Args:
        path: As of `read_picture`; DICOM says nothing of this.

    Raises:
        StudyError: As `read_picture`.
    """
    content, kind = _content(path)
    picture = read_picture(path)
    if kind == "DICOM":
        return StoredPicture(picture)
    image, _ = _checked(content, kind)
    return _decoded(lambda: _stored(image, picture))


def _stored(image: Image.Image, picture: Picture) -> StoredPicture:
    tables = getattr(image, "quantization", None) or {}
    table = None
    if len(tables.get(0, ())) == 64:
        table = np.array(tables[0]).reshape(8, 8)
    named = image.info.get("dpi")
    dpi = None
    if named and all(np.isfinite(float(value)) and float(value) > 0 for value in named):
        dpi = (float(named[0]), float(named[1]))
    has_alpha = image.mode in _WITH_ALPHA or "transparency" in image.info
    colours = None
    if image.mode not in ("1", "L", *_DEEP):
        colours = np.asarray(image.convert("RGB"))
    return StoredPicture(picture, colours, has_alpha, dpi, _orientation(image) or 1, table)


def read_picture(path: File) -> Picture:
    """Read a file as one grey picture.

    Colours become grey by ITU-R 601 (equal channels stay as they are), transparent parts black, and
    a photograph is turned as its EXIF says; `Picture.notes` says so. Numbers of 16 bits and more
    stay as they are stored.

    Args:
        path: PNG, JPEG, TIFF, or DICOM of one CT slice or one frontal radiograph of a chest.

    Raises:
        StudyError: ``NOT_PICTURE`` for anything else, ``SMALL_PICTURE``, ``ABSURD_SIZE``,
            ``COLOUR_MODEL`` for CMYK and others without a grey value, ``SEVERAL_PICTURES`` for an
            animation or several pages, ``CORRUPT_FILE`` for a damaged file, ``UNREADABLE``, or
            what `covidctnet.io.dicom.read_slice` and `covidctnet.io.dicom.read_radiograph` raise.
    """
    content, kind = _content(path)
    if kind == "DICOM":
        if _says_radiograph(path):
            found = read_radiograph(path)
            return Picture(
                found.pixels,
                "grey",
                "DICOM",
                found.photometric,
                found.bits,
                found.notes,
                found.flags,
                found.spacing_mm,
            )
        slice_read = read_slice(path)
        check_shape(*slice_read.hu.shape)
        return Picture(
            slice_read.hu, "HU", "DICOM", slice_read.photometric, slice_read.bits, slice_read.notes
        )
    image, bits = _checked(content, kind)
    _check_pixels(content, kind)
    notes: list[str] = []
    mode = image.mode
    pixels = _decoded(lambda: _grey(image, bits, notes))
    return Picture(pixels, "grey", kind, mode, bits, tuple(notes))


def _says_radiograph(path: File) -> bool:
    try:
        return is_radiograph(path)
    except (NotDicomError, DamagedFileError, OSError):
        # The reader of slices says what is wrong.
        return False


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers in 8 bits: 0 at and below the low one, 255 at and above the high one; uint8."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def grey_bytes(pixels: np.ndarray) -> np.ndarray:
    """Grey values in 8 bits, uint8 (row, column).

    Args:
        pixels: Bytes: as they are; other numbers, whose meaning is unknown: stretched between the
            percentiles 0.5 and 99.5.
    """
    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    if high <= low:
        low, high = float(pixels.min()), float(pixels.max())
    return stretched(pixels, float(low), float(high))


def grey_digest(grey: np.ndarray) -> str:
    """SHA-256 of a picture's grey values and its shape, hexadecimal.

    Args:
        grey: uint8, shape (row, column).
    """
    rows, columns = grey.shape
    content = np.ascontiguousarray(grey)
    head = f"{content.dtype.str} {rows} x {columns} ".encode()
    return hashlib.sha256(head + content.tobytes()).hexdigest()


def read_mask(path: File) -> np.ndarray:
    """Read a picture whose values are labels: 0 outside, anything else inside.

    Args:
        path: PNG, JPEG or TIFF in grey, or PNG with a palette, whose indices are the labels.

    Returns:
        Shape (row, column), unsigned integers as stored; colours are not mixed to grey.

    Raises:
        StudyError: As `read_picture`; ``COLOUR_MODEL`` if the channels differ.
    """
    content, kind = _content(path)
    if kind == "DICOM":
        raise StudyError(
            "NOT_PICTURE",
            "expected a mask as PNG, JPEG or TIFF, got DICOM. Save the mask as PNG.",
        )
    image, _ = _checked(content, kind)
    _check_pixels(content, kind)
    return _decoded(lambda: _labels(image))


def picture_shape(path: File) -> tuple[int, int]:
    """Rows and columns that a picture's header names; no pixel of PNG, JPEG and TIFF is decoded.

    Raises:
        StudyError: As `read_picture`, as far as the header shows it.
    """
    content, kind = _content(path)
    if kind == "DICOM":
        return read_picture(path).shape
    image, _ = _checked(content, kind)
    columns, rows = image.size
    # Numbers 5 to 8 of the EXIF orientation lie on their side. TIFF has turned its size by itself.
    is_turned = kind != "TIFF" and _orientation(image) in (5, 6, 7, 8)
    return (columns, rows) if is_turned else (rows, columns)


def _content(path: File) -> tuple[bytes, Format]:
    """The bytes of a file, and what they are."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            kind = _kind(head)
            if kind == "DICOM":
                return b"", kind
            if size > MAX_FILE_BYTES:
                raise StudyError(
                    "ABSURD_SIZE",
                    f"expected a picture file of at most {MAX_FILE_BYTES // 2**20} MiB, got "
                    f"{size // 2**20} MiB. Check the file.",
                )
            return head + file.read(MAX_FILE_BYTES), kind
    except OSError as error:
        raise StudyError(
            "UNREADABLE",
            f"expected a picture that can be read: {error.strerror}. "
            "Check its rights and the disk.",
        ) from None


def _kind(head: bytes) -> Format:
    if head[128:132] == b"DICM":  # a preamble may begin like a TIFF
        return "DICOM"
    known = next((name for begin, name in _BEGINNINGS if head.startswith(begin)), None)
    if known in _FORMATS:
        return known  # type: ignore[return-value]
    if known is None and looks_like_dicom(head):
        return "DICOM"
    if known is None:
        is_text = head.isascii() and b"\0" not in head
        known = "an empty file" if not head else "text" if is_text else "an unknown kind of file"
    raise StudyError(
        "NOT_PICTURE",
        f"expected PNG, JPEG, TIFF or DICOM, got {known}. Save the picture as PNG.",
    )


def _checked(content: bytes, kind: str) -> tuple[Image.Image, int]:
    """A picture that may be decoded, and its bits for a channel; nothing is decoded yet."""
    if kind == "PNG":
        _check_png(content)
    open_format, bits_of = _FORMATS[kind]
    # Image.open would refuse a large picture in words of its own.
    image = _decoded(lambda: _opened(open_format, content))
    columns, rows = image.size
    check_shape(rows, columns)
    if _decoded(lambda: getattr(image, "is_animated", False)):
        raise StudyError(
            "SEVERAL_PICTURES",
            f"expected one picture, got {kind} with several (an animation, or pages). "
            "Save the one that is meant alone.",
        )
    bits = _decoded(lambda: bits_of(image, content))
    _check_colours(image)
    return image, bits


def _opened(open_format: _Opening, content: bytes) -> Image.Image:
    try:
        return open_format(io.BytesIO(content))
    except SyntaxError as error:
        if "pixel mode" not in str(error):
            raise
        raise StudyError(
            "COLOUR_MODEL",
            "expected grey or RGB of 8 bits, or grey of 16 or 32 bits, got a TIFF of other "
            "numbers, which are not read. Save the picture as PNG.",
        ) from None


def _check_colours(image: Image.Image) -> None:
    mode = image.mode
    if mode not in _SHALLOW + _DEEP:
        raise StudyError(
            "COLOUR_MODEL",
            f"expected grey or RGB, got {mode}, whose grey values depend on a device. "
            "Save the picture as PNG in grey.",
        )
    tags = getattr(image, "tag_v2", {})
    if mode in _DEEP and tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise StudyError(
            "COLOUR_MODEL",
            "expected numbers that grow with brightness, got a TIFF of more than 8 bits in which "
            "0 is white. Save the picture as PNG.",
        )
    if tags:
        _check_numbers(image, tags)


def _check_numbers(image: Image.Image, tags: Mapping[int, Any]) -> None:
    """Refuse a TIFF whose numbers Pillow takes for others."""
    bits = int(np.max(tags.get(_TIFF_BITS, 1)))
    number = int(np.max(tags.get(_TIFF_FORMAT, _UNSIGNED)))
    what = None
    if bits == 8 and number == _SIGNED:
        what = "signed numbers of 8 bits"
    elif (
        bits > 8
        and (bits, number) != (16, _UNSIGNED)
        and tags.get(_TIFF_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED
        and image.tag_v2.prefix == b"MM"  # type: ignore[attr-defined]
    ):
        what = f"compressed numbers of {bits} bits in big endian"
    if what is not None:
        raise StudyError(
            "COLOUR_MODEL",
            f"expected grey or RGB of 8 bits, or grey of 16 or 32 bits, got a TIFF of {what}, "
            "which are not read. Save the picture as PNG.",
        )


def _check_pixels(content: bytes, kind: str) -> None:
    """Refuse damage that decoders go on through: they fill the rest, or read it as something else.

    No pixel tells of it; the data do: they must be as long as the picture.
    """
    if kind == "PNG":
        _check_png_length(content)
    elif kind == "JPEG" and (damage := _decoded(lambda: jpeg_damage(content, _jpeg_pixels))):
        raise _corrupt(damage)


def _jpeg_pixels(content: bytes) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(JpegImagePlugin.JpegImageFile(io.BytesIO(content)))


def _check_png_length(content: bytes) -> None:
    """Refuse a PNG whose data hold fewer rows than its header says.

    Source: PNG specification (ISO/IEC 15948), 8.2 and 10.
    """
    columns, rows, depth, colour, _, _, is_interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    bits = depth * _PNG_CHANNELS.get(colour, 1)
    expected = 0
    for row, column, down, right in _PNG_PASSES if is_interlaced else ((0, 0, 1, 1),):
        lines, pixels = -(-(rows - row) // down), -(-(columns - column) // right)
        if lines > 0 and pixels > 0:
            expected += lines * (1 + (pixels * bits + 7) // 8)
    inflater, held = zlib.decompressobj(), 0
    place = len(_PNG)
    try:
        while held < expected and place + 8 <= len(content):
            length, kind = (
                int.from_bytes(content[place : place + 4], "big"),
                content[place + 4 : place + 8],
            )
            packed = content[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
            while packed and held < expected:
                held += len(inflater.decompress(packed, _PIECE))
                packed = inflater.unconsumed_tail
            place += 12 + length
        while held < expected and (more := len(inflater.flush())):
            held += more
    except zlib.error:
        raise _corrupt("its data are broken") from None
    if held < expected:
        raise _corrupt(f"its data are {held} bytes, its size needs {expected}")


def _check_png(content: bytes) -> None:
    """Refuse a PNG of which a part is missing or changed: Pillow does not check all of it.

    Source: PNG specification (ISO/IEC 15948), 5.3.
    """
    place = len(_PNG)
    kind = b""
    while kind != b"IEND":
        head = content[place : place + 8]
        if len(head) < 8:
            raise _corrupt("the file ends too early")
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        body = memoryview(content)[place + 4 : place + 8 + length]
        checksum = content[place + 8 + length : place + 12 + length]
        if len(checksum) < 4:
            raise _corrupt("the file ends too early")
        # Parts whose name begins with a small letter are not needed for the pixels.
        if kind[:1].isupper() and zlib.crc32(body) != int.from_bytes(checksum, "big"):
            raise _corrupt("a checksum is wrong")
        place += 12 + length


def _corrupt(why: str) -> StudyError:
    return StudyError(
        "CORRUPT_FILE",
        f"expected a whole picture, got a damaged one ({why}). Copy or export it again.",
    )


def _decoded(decode: Callable[[], _Result]) -> _Result:
    """What a decoder gives; whatever it fails with is one error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return decode()
    except _DECODE_ERRORS as error:
        raise _corrupt(type(error).__name__) from None


def _grey(image: Image.Image, bits: int, notes: list[str]) -> np.ndarray:
    """Decode to one grey value a pixel, and note what was decided."""
    orientation = _orientation(image)
    image.load()  # turns a TIFF by itself
    if orientation not in (1, None):
        if _orientation(image) == orientation:
            image = ImageOps.exif_transpose(image)
        notes.append(f"the picture was turned, as its EXIF orientation {orientation} says")
    if image.mode in _DEEP:
        return _deep(np.asarray(image), _is_unsigned(image))
    if bits > 8:
        notes.append(f"{bits} bits of a channel: the upper 8 were kept")
    if image.mode == "P":
        notes.append("the colours of a palette were taken")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            notes.append("transparent parts were laid on black")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
        if apart := _channels_apart(np.asarray(image)):
            notes.append(f"colours that differ by up to {apart} became grey (ITU-R 601)")
    return np.array(image.convert("L"))


def _is_unsigned(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {_TIFF_FORMAT: _SIGNED})
    return int(np.max(tags.get(_TIFF_FORMAT, _UNSIGNED))) == _UNSIGNED


def _deep(stored: np.ndarray, is_unsigned: bool) -> np.ndarray:
    """Numbers of more than 8 bits in the byte order of this machine."""
    if is_unsigned and stored.dtype.kind == "i" and stored.min() < 0:
        raise StudyError(
            "COLOUR_MODEL",
            f"expected numbers up to {2**31 - 1}, got a TIFF with higher ones. Save the picture "
            "as PNG.",
        )
    if not np.isfinite(stored).all():
        raise _corrupt("it holds numbers that are not finite")
    return np.array(stored, dtype=stored.dtype.newbyteorder("="))


def _labels(image: Image.Image) -> np.ndarray:
    image.load()
    if _orientation(image) not in (1, None):
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise StudyError(
            "COLOUR_MODEL", "expected labels in a mask, got fractions. Save the mask as PNG."
        )
    if image.mode in ("1", "L", "P", *_DEEP):
        labels = np.array(image)
        if labels.dtype.kind == "i" and labels.min() < 0:
            raise StudyError(
                "COLOUR_MODEL",
                "expected labels from 0 in a mask, got negative numbers. Save the mask as PNG.",
            )
        return labels.astype(np.uint8 if labels.max() < 256 else np.uint32)
    colours = np.asarray(image.convert("RGB"))
    if apart := _channels_apart(colours):
        raise StudyError(
            "COLOUR_MODEL",
            f"expected a mask in grey or with a palette, got colours that differ by up to {apart}. "
            "Save each class as a grey value.",
        )
    return np.ascontiguousarray(colours[:, :, 0])


def _channels_apart(colours: np.ndarray) -> int:
    """The largest difference between the channels of a pixel."""
    # Over the last axis, numpy takes ten times as long.
    first, second, third = (colours[:, :, k] for k in range(3))
    highest = np.maximum(np.maximum(first, second), third)
    return int((highest - np.minimum(np.minimum(first, second), third)).max())


def _orientation(image: Image.Image) -> int | None:
    """EXIF orientation; None when there is none, or none that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(0x0112)
    except _DECODE_ERRORS:
        return None
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def _png_bits(image: Image.Image, content: bytes) -> int:
    return content[24]


def _jpeg_bits(image: Image.Image, content: bytes) -> int:
    return int(image.bits)  # type: ignore[attr-defined]


def _tiff_bits(image: Image.Image, content: bytes) -> int:
    return int(np.max(image.tag_v2.get(_TIFF_BITS, 1)))  # type: ignore[attr-defined]


_FORMATS: Mapping[str, tuple[_Opening, Callable[[Image.Image, bytes], int]]] = MappingProxyType(
    {
        "PNG": (PngImagePlugin.PngImageFile, _png_bits),
        "JPEG": (JpegImagePlugin.JpegImageFile, _jpeg_bits),
        "TIFF": (TiffImagePlugin.TiffImageFile, _tiff_bits),
    }
)
