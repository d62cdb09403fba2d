"""Layers of a Keras file, in the order of the network.

Two layouts are read: HDF5 as published (``.h5``, ``.hdf5``, weights or a whole model), which lists
its layers in order, and ``.weights.h5``, where Keras' own names count the layers of each kind. The
shapes of the arrays give the kinds. A file may come from anywhere, so links are not followed and
what is decoded has a limit.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from covidctnet.errors import WeightsError
from covidctnet.workers.isolate import Child, ChildError, Limits, Reply

__all__ = ["KerasFile", "KerasLayer", "read_keras", "shown", "work"]

# A BCDU-Net of the published width has 120 MB.
MAX_BYTES = 1 << 30

_ADVICE = "Give a file that Keras saved as .h5, .hdf5 or .weights.h5."
# Where a layer of the newer layout keeps its arrays.
_PLACE = re.compile(r"layers/([^/]+)/(?:cell/)?vars/(\d+)")
# Kinds by the dimensions of their arrays.
_KINDS = {
    (4, 1): "Conv2D",
    (5, 1): "Conv3D",
    (2, 1): "Dense",
    (1, 1, 1, 1): "BatchNormalization",
    (4, 4, 1): "ConvLSTM2D",
}


class KerasLayer(NamedTuple):
    """A layer with weights.

    Attributes:
        name: As the file has it; may be anything.
        kind: Class of Keras.
        arrays: Kernel (recurrent kernel) and bias, or gamma, beta, mean and variance.
        settings: As Keras configured it; empty in a file of weights alone.
    """

    name: str
    kind: str
    arrays: Sequence[np.ndarray]
    settings: dict[str, Any]


@dataclass(frozen=True)
class KerasFile:
    """The layers with weights of a file, and the major version of its Keras where it says so."""

    name: str
    layers: Sequence[KerasLayer]
    keras: int | None

    def of(self, kind: str) -> list[KerasLayer]:
        """The layers of a kind, in order."""
        return [layer for layer in self.layers if layer.kind == kind]


def read_keras(path: Path) -> KerasFile:
    """Read the layers of a file of weights or of a whole model, in another process.

    Raises:
        WeightsError: If h5py is not installed, or the file is missing, damaged, hostile, of an
            unknown layout, or holds layers that none of our networks has.
    """
    if importlib.util.find_spec("h5py") is None:
        raise WeightsError(
            "reading Keras weights needs h5py, which is not installed. "
            "Install the extra: pip install 'covidctnet[keras]'."
        )
    # Opening a pipe would wait for ever.
    if not path.is_file():
        raise WeightsError(f"{path.name} is no file. {_ADVICE}")
    try:
        header, numbers = _elsewhere(path)
    except ChildError as error:
        line = f"{path.name} cannot be read as HDF5 ({error.code}). {_ADVICE}"
        raise WeightsError(line) from None
    if numbers is None:
        raise WeightsError(header["refused"])
    layers, start = [], 0
    for name, kind, shapes, settings in header["layers"]:
        arrays = []
        for shape in shapes:
            arrays.append(numbers[start : start + math.prod(shape)].reshape(shape))
            start += math.prod(shape)
        layers.append(KerasLayer(name, kind, arrays, settings))
    return KerasFile(path.name, layers, header["keras"])


def _elsewhere(path: Path) -> Reply:
    limits = Limits(memory_mb=8 * (MAX_BYTES >> 20))
    with Child(f"{__name__}:work", limits=limits) as child:
        return child.ask({"path": str(path.absolute())}, files_bytes=path.stat().st_size)


def work(path: str) -> Reply:
    """What the child process does: the layers without their numbers, and all numbers as one.

    HDF5 itself crashes or goes on for ever on some damaged files.
    """
    import h5py

    name = Path(path).name
    try:
        with h5py.File(path, "r") as opened:
            read = _Reader(name, opened).read()
    except WeightsError as error:
        return {"refused": str(error)}, None
    # HDF5 that is cut off or made up breaks h5py in all of these ways.
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        line = f"{name} cannot be read as HDF5 of Keras ({type(error).__name__}). {_ADVICE}"
        return {"refused": line}, None
    layers = [(la.name, la.kind, [a.shape for a in la.arrays], la.settings) for la in read.layers]
    with np.errstate(over="ignore"):
        flat = [a.ravel().astype(np.float32) for layer in read.layers for a in layer.arrays]
    return {"layers": layers, "keras": read.keras}, np.concatenate(flat)


def shown(text: object) -> str:
    """Foreign text for an error line: quoted, without line breaks, short."""
    return repr(str(text)[:40])


class _Reader:
    """One open file: its names, and how many bytes may still be decoded of it."""

    def __init__(self, name: str, file: Any) -> None:
        self.name, self.file, self.left = name, file, MAX_BYTES
        # Only what lies in the file itself: a visit follows no links to elsewhere, and no circles.
        self.names: set[str] = set()
        file.visit(self.names.add)

    def read(self) -> KerasFile:
        root = "model_weights/" if "model_weights" in self.names else ""
        holder = self.file[root or "/"]
        version = [*_texts(holder, "keras_version"), *_texts(self.file, "keras_version")]
        keras = int(version[0].partition(".")[0]) if version else None
        if keras not in (None, 2, 3) or _texts(holder, "backend") == ["theano"]:
            raise WeightsError(
                f"{self.name} is of Keras {keras}, or of Theano, which turns kernels round; "
                "expected Keras 2 or 3 on another backend. Load and save it there."
            )
        settings = self._settings()
        newer = "layer_names" not in holder.attrs
        arrays_of = self._newer() if newer else self._published(holder, root)
        layers = [self._layer(name, arrays, settings.get(name, {})) for name, arrays in arrays_of]
        if not layers:
            raise WeightsError(f"{self.name} holds no layers with weights. {_ADVICE}")
        return KerasFile(self.name, sorted(layers, key=self._number) if newer else layers, keras)

    def _published(self, holder: Any, root: str) -> Iterator[tuple[str, list[np.ndarray]]]:
        for name in _texts(holder, "layer_names"):
            layer = self._at(root + name)
            if places := _texts(layer, "weight_names"):
                yield name, [self._array(f"{root}{name}/{place}") for place in places]

    def _newer(self) -> Iterator[tuple[str, list[np.ndarray]]]:
        matches = filter(None, map(_PLACE.fullmatch, self.names))
        ordered = sorted(matches, key=lambda match: (match[1], int(match[2])))
        for name, places in groupby(ordered, key=lambda match: match[1]):
            yield name, [self._array(place[0]) for place in places]

    def _number(self, layer: KerasLayer) -> int:
        """The number that Keras gives a layer among those of its class."""
        match = re.fullmatch(r"(\w+?)(?:_(\d+))?", layer.name)
        if match is None or match[1].replace("_", "") != layer.kind.lower():
            raise WeightsError(
                f"{self.name} calls a {layer.kind} layer {shown(layer.name)}, expected Keras' own "
                "name and number, which give the order. Save it as .h5."
            )
        return int(match[2] or 0)

    def _layer(self, name: str, arrays: list[np.ndarray], settings: dict[str, Any]) -> KerasLayer:
        kind = _KINDS.get(tuple(array.ndim for array in arrays))
        if kind is None:
            shapes = ", ".join(str(array.shape) for array in arrays[:6])
            raise WeightsError(
                f"{self.name}: layer {shown(name)} holds arrays of {shapes}, which no layer of a "
                "BCDU-Net or of the 3D CNN has. Give a file of one of the two."
            )
        # Only the transposed convolutions of a BCDU-Net are 2 x 2.
        if kind == "Conv2D" and arrays[0].shape[:2] == (2, 2):
            kind = "Conv2DTranspose"
        return KerasLayer(name, kind, arrays, settings)

    def _settings(self) -> dict[str, dict[str, Any]]:
        """Settings of every layer of a whole model."""
        return {
            str(entry.get("name", entry["config"].get("name"))): dict(entry["config"])
            for text in _texts(self.file, "model_config")
            for entry in json.loads(text)["config"]["layers"]
        }

    def _at(self, place: str) -> Any:
        if place not in self.names:
            raise WeightsError(
                f"{self.name} itself does not hold {shown(place)}, expected a whole file without "
                "links to elsewhere. Save it again."
            )
        return self.file[place]

    def _array(self, place: str) -> np.ndarray:
        import h5py

        dataset = self._at(place)
        is_plain = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind == "f"
        if not is_plain or dataset.is_virtual or dataset.external or 0 in dataset.shape:
            raise WeightsError(
                f"{self.name} holds something else at {shown(place)}, expected an array of "
                "floating-point numbers in the file itself. Save it again."
            )
        # A chunk is decoded whole, however little of it the array has.
        count = max(math.prod(dataset.shape), math.prod(dataset.chunks or ()))
        self.left -= count * dataset.dtype.itemsize
        if self.left < 0:
            raise WeightsError(
                f"{self.name} holds more than {MAX_BYTES >> 20} MiB, expected the weights of one "
                f"network. {_ADVICE}"
            )
        array: np.ndarray = dataset[()]
        return array


def _texts(group: Any, key: str) -> list[str]:
    import h5py

    if key not in group.attrs:
        return []
    attribute = group.attrs.get_id(key)
    # HDF5 itself may crash on others, if the file is damaged. An empty list has no type.
    is_text = attribute.dtype.kind == "S" or h5py.check_string_dtype(attribute.dtype) is not None
    if math.prod(attribute.shape) and not is_text:
        raise ValueError("no text")
    texts = np.ravel(group.attrs[key]).tolist()
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]
