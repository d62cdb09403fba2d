"""One grey picture from a file: PNG, JPEG, TIFF, or DICOM of a single CT slice or radiograph.

The content decides what a file is, never its name. Its size is read first, and a picture that is
too small or too large is refused before a pixel is decoded. Decoders are C code, so pictures of
unknown origin are read in a child process: `covidctnet.io.child.PictureChild`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.dicom import (
    PHANTOM_MANUFACTURER,
    DamagedFileError,
    NotDicomError,
    is_radiograph,
    read_radiograph,
    read_slice,
)
from covidctnet.io.picture.colours import (
    ALPHA_MODES,
    DEEP_MODES,
    grey_of,
    labels_of,
    orientation_of,
)
from covidctnet.io.picture.damage import check_pixels, decoded
from covidctnet.io.picture.formats import content_of, open_checked
from covidctnet.io.picture.values import Picture, StoredPicture
from covidctnet.io.picture_size import check_shape
from covidctnet.volume import SYNTHETIC_NOTE


def read_stored(path: File) -> StoredPicture:
    """Read a picture with all that its file says of how it was stored.

    Args:
        path: As of `read_picture`; DICOM says nothing of this.

    Raises:
        StudyError: As `read_picture`.
    """
    content, kind = content_of(path)
    picture = read_picture(path)
    if kind == "DICOM":
        return StoredPicture(picture)
    image, _ = open_checked(content, kind)
    return decoded(lambda: _stored(image, picture))


def _stored(image: Image.Image, picture: Picture) -> StoredPicture:
    tables = getattr(image, "quantization", None) or {}
    table = None
    if len(tables.get(0, ())) == 64:
        table = np.array(tables[0]).reshape(8, 8)
    named = image.info.get("dpi")
    dpi = None
    if named and all(np.isfinite(float(value)) and float(value) > 0 for value in named):
        dpi = (float(named[0]), float(named[1]))
    has_alpha = image.mode in ALPHA_MODES or "transparency" in image.info
    colours = None
    if image.mode not in ("1", "L", *DEEP_MODES):
        colours = np.asarray(image.convert("RGB"))
    return StoredPicture(picture, colours, has_alpha, dpi, orientation_of(image) or 1, table)


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
    content, kind = content_of(path)
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
    image, bits = open_checked(content, kind)
    check_pixels(content, kind)
    is_phantom = image.info.get("Software") == PHANTOM_MANUFACTURER
    notes = [SYNTHETIC_NOTE] if is_phantom else []
    mode = image.mode
    pixels = decoded(lambda: grey_of(image, bits, notes))
    return Picture(pixels, "grey", kind, mode, bits, tuple(notes))


def _says_radiograph(path: File) -> bool:
    try:
        return is_radiograph(path)
    except (NotDicomError, DamagedFileError, OSError):
        # The reader of slices says what is wrong.
        return False


def read_mask(path: File) -> np.ndarray:
    """Read a picture whose values are labels: 0 outside, anything else inside.

    Args:
        path: PNG, JPEG or TIFF in grey, or PNG with a palette, whose indices are the labels.

    Returns:
        Shape (row, column), unsigned integers as stored; colours are not mixed to grey.

    Raises:
        StudyError: As `read_picture`; ``COLOUR_MODEL`` if the channels differ.
    """
    content, kind = content_of(path)
    if kind == "DICOM":
        raise StudyError(
            "NOT_PICTURE",
            "expected a mask as PNG, JPEG or TIFF, got DICOM. Save the mask as PNG.",
        )
    image, _ = open_checked(content, kind)
    check_pixels(content, kind)
    return decoded(lambda: labels_of(image))


def picture_shape(path: File) -> tuple[int, int]:
    """Rows and columns that a picture's header names; no pixel of PNG, JPEG and TIFF is decoded.

    Raises:
        StudyError: As `read_picture`, as far as the header shows it.
    """
    content, kind = content_of(path)
    if kind == "DICOM":
        return read_picture(path).shape
    image, _ = open_checked(content, kind)
    columns, rows = image.size
    # Numbers 5 to 8 of the EXIF orientation lie on their side. TIFF has turned its size by itself.
    is_turned = kind != "TIFF" and orientation_of(image) in (5, 6, 7, 8)
    return (columns, rows) if is_turned else (rows, columns)
