"""What other programs, and the tables of the standard, say of DICOM results."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import SimpleITK
from highdicom._standard_utils import (
    get_iod_module_map,
    get_module_attribute_map,
    get_sop_class_iod_map,
)
from pydicom.dataset import Dataset

from covidctnet.evidence import Box, SliceEvidence

# A voxel this near to the middle between two of a grid may have the label of either.
TIE = 1e-3
# Tables whose elements depend on the kind of an item, which the tables do not say.
OF_KINDS = frozenset({"segmentation-multi-frame-functional-groups", "sr-document-content"})


def program(name: str) -> str | None:
    """A program on the path, next to this Python, or of an installed package."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found:
        return found
    for package in ("dicom3tools", "dcmqi"):
        try:
            files = metadata.files(package) or ()
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name == name and file.parent.name == "bin":
                return str(file.locate())
    return None


def dciodvfy_errors(path: Path) -> list[str]:
    """Lines of errors that dciodvfy tells of a file."""
    tool = program("dciodvfy")
    assert tool is not None
    done = subprocess.run([tool, path], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any("SCImage" in x or "Segmentation" in x or "Comprehensive3DSR" in x for x in lines)
    return [line for line in lines if line.startswith("Error")]


def table_errors(dataset: Dataset) -> list[str]:
    """Elements of type 1 and 2 that mandatory modules ask for and that are missing (PS3.3)."""
    iod = get_sop_class_iod_map()[dataset.SOPClassUID]
    errors = []
    for module in get_iod_module_map()[iod]:
        if module["usage"] != "M" or module["key"] in OF_KINDS:
            continue
        for entry in get_module_attribute_map()[module["key"]]:
            for item in _items(dataset, entry["path"]):
                errors += _missing(item, entry["keyword"], entry["type"], module["key"])
    return errors


def _items(dataset: Dataset, path: Sequence[str]) -> Iterator[Dataset]:
    if not path:
        yield dataset
        return
    for item in dataset.get(path[0]) or ():
        yield from _items(item, path[1:])


def _missing(item: Dataset, keyword: str, kind: str, module: str) -> Iterator[str]:
    if kind not in ("1", "2"):
        return
    if keyword not in item:
        yield f"{module}: {keyword} of type {kind} is missing"
    elif kind == "1" and item[keyword].is_empty:
        yield f"{module}: {keyword} of type 1 is empty"


class Image(NamedTuple):
    """The place of one image of a source, by its own header."""

    position: np.ndarray
    across: np.ndarray
    down: np.ndarray
    rows: int
    columns: int


def source_images(files: Iterable[Path]) -> dict[tuple[str, int], Image]:
    """Every CT image of some files, by SOP instance and frame (0 where there is one)."""
    found = {}
    for file in files:
        try:
            ds = pydicom.dcmread(file, force=True, stop_before_pixels=True)
            frames = list(_frames(ds))
        except Exception:  # whatever lies beside a scan
            continue
        for number, (position, orientation, spacing) in frames:
            key = str(ds.get("SOPInstanceUID", "")), number
            o = np.array(orientation, dtype=float)
            found[key] = Image(
                np.array(position, dtype=float),
                o[:3] * float(spacing[1]),
                o[3:] * float(spacing[0]),
                int(ds.Rows),
                int(ds.Columns),
            )
    return found


def _frames(ds: Dataset) -> Iterator[tuple[int, tuple]]:
    if "PerFrameFunctionalGroupsSequence" not in ds:
        yield 0, (ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing)
        return
    shared = ds.SharedFunctionalGroupsSequence[0]
    for number, item in enumerate(ds.PerFrameFunctionalGroupsSequence, 1):

        def of(sequence: str, item: Dataset = item) -> Dataset:
            return item[sequence][0] if sequence in item else shared[sequence][0]

        yield (
            number,
            (
                of("PlanePositionSequence").ImagePositionPatient,
                of("PlaneOrientationSequence").ImageOrientationPatient,
                of("PixelMeasuresSequence").PixelSpacing,
            ),
        )


def on_image(image: Image, found: np.ndarray, evidence: SliceEvidence) -> np.ndarray:
    """The label of every pixel by its place in the patient: 1, 0, or -1 where it is a tie."""
    at = _on_grid(image, evidence)
    index = np.floor(at + 0.5).astype(int)
    inside = np.all((index >= 0) & (index < np.array(found.shape)[:, None, None]), axis=0)
    clipped = [np.clip(i, 0, n - 1) for i, n in zip(index, found.shape, strict=True)]
    out = np.where(inside, found[tuple(clipped)], False).astype(int)
    out[(np.abs(np.abs(at - np.rint(at)) - 0.5) < TIE).any(axis=0)] = -1
    return out


def in_box(image: Image, box: Box, evidence: SliceEvidence) -> np.ndarray:
    """The same for a box."""
    slices, rows, columns = _on_grid(image, evidence)
    inside = np.rint(slices) == box.slice
    inside &= (rows + 0.5 >= box.top) & (rows + 0.5 < box.bottom)
    return (inside & (columns + 0.5 >= box.left) & (columns + 0.5 < box.right)).astype(int)


def _on_grid(image: Image, evidence: SliceEvidence) -> np.ndarray:
    """Where every pixel lies on a grid, in voxels, (axis, row, column)."""
    inverse = np.linalg.inv(np.asarray(evidence.affine))
    first = inverse[:3, :3] @ image.position + inverse[:3, 3]
    down = np.outer(inverse[:3, :3] @ image.down, np.arange(image.rows))
    across = np.outer(inverse[:3, :3] @ image.across, np.arange(image.columns))
    return first[:, None, None] + down[:, :, None] + across[:, None, :]


def frames_read_back(path: Path) -> dict[tuple[str, str, int], np.ndarray]:
    """Masks of a SEG by label, SOP instance and frame: pixels by SimpleITK, the rest by pydicom.

    Every frame must lie where the image that it names lies.
    """
    ds = pydicom.dcmread(path)
    pixels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)) > 0
    pixels = pixels.reshape(-1, ds.Rows, ds.Columns)
    labels = {item.SegmentNumber: item.SegmentLabel for item in ds.SegmentSequence}
    shared = ds.SharedFunctionalGroupsSequence[0]
    out = {}
    for plane, group in zip(pixels, ds.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        # That of a single segment is said once for all frames.
        named = group if "SegmentIdentificationSequence" in group else shared
        label = labels[named.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        frame = int(source.get("ReferencedFrameNumber", 0))
        key = label, str(source.ReferencedSOPInstanceUID), frame
        assert key not in out
        assert plane.any()
        out[key] = plane
    return out


def places_read_back(path: Path) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """Position and orientation of every frame, by what it refers to."""
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    shared = ds.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    out = {}
    for group in ds.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        key = str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber", 0))
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        out[key] = position, orientation
    return out


def dcmqi_points(path: Path, folder: Path) -> Mapping[str, np.ndarray]:
    """Places of all marked voxels by segment, in LPS mm, as dcmqi (ITK and dcmtk) reads them."""
    tool = program("segimage2itkimage")
    assert tool is not None
    folder.mkdir()
    command = [tool, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    labels = [item.SegmentLabel for item in pydicom.dcmread(path).SegmentSequence]
    out = {}
    for file in sorted(folder.glob("*.nrrd"), key=lambda file: int(file.stem.split("-")[-1])):
        image = SimpleITK.ReadImage(file)
        array = SimpleITK.GetArrayFromImage(image)
        for number in np.unique(array[array > 0]).tolist():
            places = np.argwhere(array == number)[:, ::-1]
            matrix = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
            points = places @ matrix.T + np.array(image.GetOrigin())
            out[labels[number - 1]] = points
    return out
