"""What others would write for the same work, each in the way of its own documentation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from covidctnet.preprocess import PreprocessSettings
from covidctnet.volume import Volume

__all__ = [
    "monai_preprocess",
    "noise_field",
    "pydicom_read",
    "scipy_preprocess",
    "simpleitk_and_torch_preprocess",
    "simpleitk_preprocess",
    "simpleitk_read",
    "torchio_preprocess",
]


def simpleitk_read(folder: Path) -> np.ndarray:
    """SimpleITK's series reader, its scan of the folder included."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    array: np.ndarray = SimpleITK.GetArrayFromImage(reader.Execute())
    return array


def pydicom_read(folder: Path, threads: int) -> np.ndarray:
    """pydicom, file by file, rescaled and stacked by position."""
    import pydicom

    def one(path: Path) -> tuple[float, np.ndarray]:
        ds = pydicom.dcmread(path)
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        return float(ds.ImagePositionPatient[2]), hu.astype(np.int16)

    with ThreadPoolExecutor(threads) as pool:
        slices = sorted(pool.map(one, sorted(folder.iterdir())), key=lambda pair: pair[0])
    return np.stack([plane for _, plane in slices])


def scipy_preprocess(volume: Volume, how: PreprocessSettings, order: int) -> np.ndarray:
    """The published way: splines to 1 mm, the window, then every slice resized, antialiased."""
    from scipy import ndimage
    from skimage.transform import resize

    factors = [mm / how.spacing_mm for mm in volume.spacing]
    grid = ndimage.zoom(volume.array, factors, order=order)
    unit = (np.clip(grid, how.low_hu, how.high_hu) - how.low_hu) / (how.high_hu - how.low_hu)
    unit = unit.astype(np.float32)
    return np.stack([resize(plane, (how.size, how.size), anti_aliasing=True) for plane in unit])


def simpleitk_preprocess(volume: Volume, how: PreprocessSettings) -> np.ndarray:
    """SimpleITK, resampled twice, the window between; the second time without antialiasing."""
    import SimpleITK

    image = _windowed_by_simpleitk(volume, how)
    columns, rows, slices = image.GetSize()
    mm = how.spacing_mm
    spacing = [columns * mm / how.size, rows * mm / how.size, mm]
    # Half-pixel centres, as a resizing has them.
    origin = [(step - mm) / 2 for step in spacing]
    image = SimpleITK.Resample(
        image,
        [how.size, how.size, slices],
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        origin,
        spacing,
        image.GetDirection(),
    )
    array: np.ndarray = SimpleITK.GetArrayFromImage(image)
    return array


def simpleitk_and_torch_preprocess(volume: Volume, how: PreprocessSettings) -> np.ndarray:
    """SimpleITK to 1 mm and the window, torch's antialiased resizing: what ours must equal."""
    import SimpleITK
    import torch

    array = SimpleITK.GetArrayFromImage(_windowed_by_simpleitk(volume, how))
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(array)[:, None], size=(how.size, how.size), mode="bilinear", antialias=True
    )
    out: np.ndarray = resized[:, 0].numpy()
    return out


def _windowed_by_simpleitk(volume: Volume, how: PreprocessSettings):  # type: ignore[no-untyped-def]
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume.array)
    image.SetSpacing(volume.spacing[::-1])
    size = [
        int((n - 1) * s / how.spacing_mm + 1e-6) + 1
        for n, s in zip(volume.shape[::-1], volume.spacing[::-1], strict=True)
    ]
    image = SimpleITK.Resample(
        image,
        size,
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        (0.0, 0.0, 0.0),
        (how.spacing_mm,) * 3,
        image.GetDirection(),
        how.low_hu,
        SimpleITK.sitkFloat32,
        True,
    )
    return SimpleITK.IntensityWindowing(image, how.low_hu, how.high_hu, 0.0, 1.0)


def monai_preprocess(volume: Volume, how: PreprocessSettings) -> np.ndarray:
    """MONAI: Spacing, ScaleIntensityRange, Resize."""
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Compose, Resize, ScaleIntensityRange, Spacing

    affine = torch.diag(torch.tensor([*volume.spacing, 1.0], dtype=torch.float64))
    array = torch.from_numpy(volume.array.astype(np.float32))[None]
    chain = Compose(
        [
            Spacing(pixdim=(how.spacing_mm,) * 3, mode="bilinear", padding_mode="border"),
            ScaleIntensityRange(how.low_hu, how.high_hu, 0.0, 1.0, clip=True),
            Resize((_slices(volume, how), how.size, how.size), mode="trilinear"),
        ]
    )
    out: np.ndarray = chain(MetaTensor(array, affine=affine))[0].numpy()
    return out


def torchio_preprocess(volume: Volume, how: PreprocessSettings) -> np.ndarray:
    """TorchIO: Resample, Clamp, RescaleIntensity, Resize."""
    import torch
    import torchio

    affine = np.diag([*volume.spacing, 1.0])
    image = torchio.ScalarImage(
        tensor=torch.from_numpy(volume.array.astype(np.float32))[None], affine=affine
    )
    chain = torchio.Compose(
        [
            torchio.Resample(how.spacing_mm),
            torchio.Clamp(how.low_hu, how.high_hu),
            torchio.RescaleIntensity((0, 1), in_min_max=(how.low_hu, how.high_hu)),
            torchio.Resize((_slices(volume, how), how.size, how.size)),
        ]
    )
    out: np.ndarray = chain(image).data[0].numpy()
    return out


def _slices(volume: Volume, how: PreprocessSettings) -> int:
    return int((volume.shape[0] - 1) * volume.spacing[0] / how.spacing_mm + 1e-6) + 1


def noise_field(rows: int, columns: int, scale: float, octaves: int) -> np.ndarray:
    """The package noise, a point at a time, as there is no other way to ask it."""
    from noise import pnoise2

    return np.array(
        [
            [pnoise2(i / scale, j / scale, octaves=octaves) for j in range(columns)]
            for i in range(rows)
        ]
    )
