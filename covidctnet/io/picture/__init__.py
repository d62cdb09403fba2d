"""Pictures from files: PNG, JPEG, TIFF, and DICOM of one slice or radiograph."""

from covidctnet.io.picture.grey import grey_bytes, grey_digest, stretched
from covidctnet.io.picture.read import picture_shape, read_mask, read_picture, read_stored
from covidctnet.io.picture.values import Format, Picture, StoredPicture

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
