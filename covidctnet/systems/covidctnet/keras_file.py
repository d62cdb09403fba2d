"""Layers of a Keras file, in order: legacy HDF5 (``.h5``, ``.hdf5``) and ``.weights.h5``.

The file tells the order of the layers, and the shapes of their arrays tell the kinds. It may be
anybody's, so links are not followed and what is decoded has a limit.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from covidctnet.errors import WeightsError
from covidctnet.workers.isolate import Child, ChildError, Limits, Reply

__all__ = ["KerasFile", "KerasLayer", "read_keras", "shown", "work"]

# A BCDU-Net of the published width has 120 MB. Every group or name looked at counts as some bytes,
# so that a file of a million empty groups ends as well.
MAX_BYTES = 1 << 30
LOOK_BYTES = 1 << 17

_ADVICE = "Give a file that Keras saved as .h5, .hdf5 or .weights.h5."
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
# Where a layer of the newer layout keeps its arrays, in the order of the legacy one.
_PARTS = ("", "cell/", "forward_layer/cell/", "backward_layer/cell/")
# Dimensions of a layer's arrays.
_KINDS = {
    (4, 1): "Conv2D",
    (5, 1): "Conv3D",
    (2, 1): "Dense",
    (1, 1, 1, 1): "BatchNormalization",
    (4, 4, 1): "ConvLSTM2D",
    (4, 4, 1, 4, 4, 1): "Bidirectional",
}


@dataclass(frozen=True)
class KerasLayer:
    """A layer with weights.

    Attributes:
        name: As the file has it; may be anything.
        kind: Class of Keras: ``Conv2D``, ``Conv2DTranspose``, ``Conv3D``, ``Dense``,
            ``BatchNormalization``, ``ConvLSTM2D``, or ``Bidirectional`` for two of these.
        arrays: Kernel (recurrent kernel) and bias, or gamma, beta, mean and variance; those of a
            `Bidirectional` forward first.
        settings: As Keras configured it; empty if the file does not tell.
    """

    name: str
    kind: str
    arrays: tuple[np.ndarray, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KerasFile:
    """What a Keras file holds.

    Attributes:
        name: Of the file, without its folder.
        layers: Those with weights, in the order of the network.
        keras: Major version of the Keras that wrote it, if the file tells it.
    """

    name: str
    layers: Sequence[KerasLayer]
    keras: int | None

    def of(self, *kinds: str) -> list[KerasLayer]:
        """The layers of some kinds, in order."""
        return [layer for layer in self.layers if layer.kind in kinds]


def read_keras(path: Path) -> KerasFile:
    """Read the layers of a file of weights or of a whole model.

    Args:
        path: HDF5 file; moments of a saved optimiser are left alone.

    Raises:
        WeightsError: If h5py is not installed, or the file is missing, damaged, hostile, of Keras
            1, or holds layers that none of our networks has.
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
        told, numbers = _elsewhere(path)
    except ChildError as error:
        line = f"{path.name} cannot be read as HDF5 ({error.code}). {_ADVICE}"
        raise WeightsError(line) from None
    if "refused" in told or numbers is None:
        raise WeightsError(told["refused"])
    layers, start = [], 0
    for name, kind, shapes, settings in told["layers"]:
        arrays = []
        for shape in shapes:
            end = start + math.prod(shape)
            arrays.append(numbers[start:end].reshape(shape))
            start = end
        layers.append(KerasLayer(name, kind, tuple(arrays), settings))
    return KerasFile(path.name, layers, told["keras"])


def work(path: str) -> Reply:
    """What the child process does: the layers without their numbers, and all numbers as one.

    HDF5 itself crashes or goes on for ever on some damaged files.
    """
    import h5py

    file = Path(path)
    try:
        with h5py.File(file, "r") as opened:
            read = _Reader(file.name, opened).read()
    except WeightsError as error:
        return {"refused": str(error)}, None
    # HDF5 that is cut off or made up breaks h5py in all of these ways.
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        line = f"{file.name} cannot be read as HDF5 of Keras ({type(error).__name__}). {_ADVICE}"
        return {"refused": line}, None
    layers = [(la.name, la.kind, [a.shape for a in la.arrays], la.settings) for la in read.layers]
    with np.errstate(over="ignore"):
        flat = [a.ravel().astype(np.float32) for layer in read.layers for a in layer.arrays]
    return {"layers": layers, "keras": read.keras}, np.concatenate(flat)


def _elsewhere(path: Path) -> Reply:
    limits = Limits(memory_mb=8 * (MAX_BYTES >> 20))
    with Child(f"{__name__}:work", limits=limits) as child:
        return child.ask({"path": str(path.absolute())}, files_bytes=path.stat().st_size)


def shown(text: object) -> str:
    """Foreign text for an error line: quoted, without line breaks, short."""
    return repr(str(text)[:40])


class _Reader:
    """One open file and what may still be decoded of it."""

    def __init__(self, name: str, file: Any) -> None:
        self.name, self.file, self.left = name, file, MAX_BYTES
        self.keras: int | None = None

    def read(self) -> KerasFile:
        holder = self._at(self.file, "model_weights") if "model_weights" in self.file else self.file
        version = self._text(holder, "keras_version") or self._text(self.file, "keras_version")
        self.keras = int(version.partition(".")[0]) if version else None
        if self.keras == 1 or self._text(holder, "backend") == "theano":
            raise WeightsError(
                f"{self.name} is of Keras 1 or Theano, which turn kernels round, expected Keras 2 "
                "or 3 on another backend. Load and save it there."
            )
        settings = self._settings()
        if "layer_names" in holder.attrs:
            layers = [self._layer(*found, settings) for found in self._legacy(holder)]
        else:
            layers = self._in_order([self._layer(*found, settings) for found in self._newer()])
        if not layers:
            raise WeightsError(f"{self.name} holds no layers with weights. {_ADVICE}")
        return KerasFile(self.name, layers, self.keras)

    def _legacy(self, holder: Any) -> Iterator[tuple[str, list[np.ndarray]]]:
        for name in self._texts(holder, "layer_names"):
            layer = self._at(holder, name)
            if places := self._texts(layer, "weight_names"):
                yield name, [self._array(self._at(layer, place)) for place in places]

    def _newer(self) -> Iterator[tuple[str, list[np.ndarray]]]:
        for container in filter(self.file.__contains__, _CONTAINERS):
            layers = self._at(self.file, container)
            for name in layers:
                layer, arrays = self._at(layers, name), []
                for part in _PARTS:
                    if f"{part}vars" in layer:
                        group = self._at(layer, f"{part}vars")
                        if "name" in group.attrs:
                            self.keras = 3  # no Keras 2 has left names there
                        arrays += [self._array(self._at(group, k)) for k in sorted(group, key=int)]
                if arrays:
                    yield name, arrays

    def _in_order(self, layers: list[KerasLayer]) -> list[KerasLayer]:
        """By the numbers that Keras gives the layers of a class; HDF5 itself keeps no order."""
        split = {la.name: re.fullmatch(r"(.*?)(?:_(\d+))?", la.name, re.DOTALL) for la in layers}
        numbers = {name: int(match[2] or 0) for name, match in split.items() if match}
        for kind in {layer.kind for layer in layers}:
            stems = {match[1] for la in layers if la.kind == kind and (match := split[la.name])}
            if len(stems) > 1:
                raise WeightsError(
                    f"{self.name} calls its {kind} layers {shown(' and '.join(sorted(stems)))}, "
                    "expected one name and numbers, which tell the order. Save it as legacy .h5."
                )
        return sorted(layers, key=lambda layer: numbers[layer.name])

    def _layer(
        self, name: str, arrays: list[np.ndarray], settings: Mapping[str, Mapping[str, Any]]
    ) -> KerasLayer:
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
        return KerasLayer(name, kind, tuple(arrays), settings.get(name, {}))

    def _settings(self) -> dict[str, Mapping[str, Any]]:
        """Settings of every layer of a whole model; a wrapper has those of the layer in it too."""
        text = self._text(self.file, "model_config")
        found: dict[str, Mapping[str, Any]] = {}
        for entry in json.loads(text)["config"]["layers"] if text else []:
            settings = dict(entry["config"])
            if isinstance(inner := settings.get("layer"), dict):
                settings = {**inner["config"], **settings}
            found[str(entry.get("name", settings.get("name")))] = settings
        return found

    def _at(self, group: Any, place: str) -> Any:
        import h5py

        for part in filter(None, place.split("/")):
            self._spend(LOOK_BYTES)
            link = group.get(part, getlink=True)
            if not isinstance(link, h5py.HardLink):
                what = "lacks" if link is None else "has a link to elsewhere at"
                raise WeightsError(
                    f"{self.name} {what} {shown(part)}, expected a whole file. Save it again."
                )
            group = group[part]
        return group

    def _array(self, dataset: Any) -> np.ndarray:
        import h5py

        is_plain = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind == "f"
        if not is_plain or dataset.is_virtual or dataset.external or 0 in dataset.shape:
            raise WeightsError(
                f"{self.name} holds something else at {shown(dataset.name)}, expected an array of "
                "floating-point numbers in the file itself. Save it again."
            )
        # A chunk is decoded whole, however little of it the array has.
        count = max(math.prod(dataset.shape), math.prod(dataset.chunks or ()))
        self._spend(count * dataset.dtype.itemsize)
        array: np.ndarray = dataset[()]
        return array

    def _texts(self, group: Any, key: str) -> list[str]:
        names = np.ravel(self._attribute(group, key)).tolist() if key in group.attrs else []
        return [n.decode() if isinstance(n, bytes) else str(n) for n in names]

    def _text(self, group: Any, key: str) -> str:
        return "".join(self._texts(group, key)[:1])

    def _attribute(self, group: Any, key: str) -> Any:
        import h5py

        found = group.attrs.get_id(key)
        count = math.prod(found.shape)
        self._spend(count * LOOK_BYTES)
        # HDF5 itself may crash on others, if the file is damaged. An empty list has no type.
        if count and found.dtype.kind != "S" and h5py.check_string_dtype(found.dtype) is None:
            raise ValueError("no text")
        return group.attrs[key]

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise WeightsError(
                f"{self.name} holds more than {MAX_BYTES >> 20} MiB, expected the weights of one "
                f"network. {_ADVICE}"
            )
