"""Drawn slices, and folders of them."""

import numpy as np
from PIL import Image
from scipy import ndimage

from covidctnet.classes import Classes

CLASSES = Classes(("NonCOVID", "COVID"), normal="NonCOVID")


def a_slice(seed, shape=(96, 128)):
    """Grey blobs in a body, uint8; another seed is another patient."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 5)
    rows, columns = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    body = rows**2 + columns**2 < 0.8
    return np.where(body, np.clip(120 + 900 * field, 0, 255), 0).astype(np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def archive(root, rows, header="file,patient,label"):
    """A folder with images.csv, and a picture for every name that ends like one and is not there.

    Cells that name a picture get one; the first cell's number is its seed.
    """
    for row in rows:
        for cell in row.split(","):
            if cell.endswith(".png") and ".." not in cell and "missing" not in cell:
                digits = "".join(c for c in cell if c.isdigit())
                save(root / cell, a_slice(int(digits or 0)))
    (root / "images.csv").write_text("\n".join([header, *rows]) + "\n")
    return root
