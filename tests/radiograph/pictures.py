"""Made radiographs, as picture files and as DICOM."""

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from tests.io import series

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"


def radiograph(size=400, seed=0, *, ill=False):
    """A soft picture with fine grain, as a detector gives: a bright middle, two darker fields."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    body = 190 * np.exp(-(((x - 0.5) / 0.45) ** 4)) + 20
    for middle in (0.3, 0.7):
        body -= 110 * np.exp(-(((x - middle) / 0.14) ** 2) - ((y - 0.45) / 0.28) ** 2)
    if ill:
        body += 60 * np.exp(-(((x - 0.3) / 0.08) ** 2) - ((y - 0.6) / 0.1) ** 2)
    body += 12 * np.sin(40 * y) * np.exp(-(((x - 0.5) / 0.4) ** 2))
    return np.clip(body + rng.normal(0, 3, body.shape), 0, 240).astype(np.uint8)


def a_dicom(stored, *, bits=12, name="study", **more):
    """A data set of CR with stored values, its attributes changed by `more`; None takes one out."""
    ds = Dataset()
    ds.SOPClassUID = CR
    ds.SOPInstanceUID = series.uid(f"{name}/1")
    ds.StudyInstanceUID = series.uid(name)
    ds.SeriesInstanceUID = series.uid(f"{name}/series")
    ds.Modality = "CR"
    ds.PatientID = name
    ds.PatientName = "Doe^Jane"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated = 8 if bits <= 8 else 16
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    ds.ImagerPixelSpacing = [0.2, 0.2]
    ds.PixelData = stored.astype("u1" if bits <= 8 else "<u2").tobytes()
    for keyword, value in more.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def write_dicom(path, stored, **how):
    """The same as a file; returns its path."""
    series.save(a_dicom(stored, **how), path)
    return path


def write_png(path, pixels, **how):
    """A picture file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **{"dpi": (254, 254), **how})
    return path


def write_radiographs(root, *, patients=10, pictures=2, size=120, classes=("Pneumonia", "Normal")):
    """Radiographs of two classes of patients in turn, with ``images.csv``; returns the folder."""
    rows = ["file,patient,label"]
    for patient in range(patients):
        label = classes[patient % 2]
        for number in range(pictures):
            name = f"p{patient}_{number}.png"
            seed = 100 * patient + number
            write_png(root / name, radiograph(size, seed, ill=patient % 2 == 0))
            rows.append(f"{name},p{patient},{label}")
    (root / "images.csv").write_text("\n".join(rows) + "\n")
    return root
