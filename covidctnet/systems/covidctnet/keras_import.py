"""Original Keras weights (``.h5``, ``.hdf5``, ``.weights.h5``) into the networks of this package.

Kinds, order and shapes of the layers tell the network; see the module `keras_file` for how they are
found. Arrays are channels-last in Keras and channels-first in torch.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import numpy as np
import torch
import yaml
from torch import nn

from covidctnet._version import __version__
from covidctnet.classes import CHEST_CT
from covidctnet.errors import WeightsError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.keras_file import KerasFile, KerasLayer, read_keras, shown
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.systems.covidctnet.networks.cnn3d import LEVELS
from covidctnet.systems.covidctnet.networks.convlstm import ConvLSTMPair, Gates
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.systems.covidctnet.weights import CovidWeights, save_weights
from covidctnet.weights.card import CARD
from covidctnet.weights.shipped import presets_root

__all__ = ["import_keras", "import_weights"]

PUBLISHED_DEPTH = 50

# Layers of Keras by the module that does the same.
_KINDS = {
    nn.Conv2d: "Conv2D",
    nn.ConvTranspose2d: "Conv2DTranspose",
    nn.Conv3d: "Conv3D",
    nn.Linear: "Dense",
    nn.BatchNorm2d: "BatchNormalization",
    ConvLSTMPair: "ConvLSTM2D",
}
# Place in the module of every array of a kind, and how to turn it: (row, column, in, out) to
# (out, in, row, column), and (row, column, out, in) to (in, out, row, column) without a flip. The
# gates of a ConvLSTM stay in the order i, f, c, o.
_IMAGE, _VECTOR = (3, 2, 0, 1), (0,)
_BIAS = ("bias", _VECTOR)
_NORM = ("weight", "bias", "running_mean", "running_var")
_SLOTS: Mapping[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "Conv2D": (("weight", _IMAGE), _BIAS),
    "Conv2DTranspose": (("weight", _IMAGE), _BIAS),
    "Conv3D": (("weight", (4, 3, 0, 1, 2)), _BIAS),
    "Dense": (("weight", (1, 0)), _BIAS),
    "BatchNormalization": tuple((name, _VECTOR) for name in _NORM),
    "ConvLSTM2D": (("input.weight", _IMAGE), ("recurrent.weight", _IMAGE), ("input.bias", _VECTOR)),
}

# What our ConvLSTMs do and shapes do not show; a whole model must agree.
_LSTM = {"activation": "tanh", "return_sequences": False, "go_backwards": True}

Network = TypeVar("Network", bound=nn.Module)


def import_keras(
    path: str | Path,
    *,
    gates: Gates | None = None,
    depth: int | None = None,
    size: int | None = None,
) -> BCDUNet | CNN3D:
    """The denoiser or the classifier that a Keras file holds, whatever its layers are called.

    Args:
        path: HDF5 file of weights or of a whole model, of Keras 2 or 3.
        gates: Denoiser: activation of the ConvLSTM gates. By default what the file tells, else
            that of its Keras: ``hard_sigmoid`` for 2, ``sigmoid`` for 3.
        depth: Classifier: slices of a residual; 50 as published, by default.
        size: Classifier: rows and columns; the weights do not tell them, as poolings round.

    Returns:
        In evaluation mode, on the CPU: a `BCDUNet`, as wide and deep as the file says, or a
        `CNN3D`.

    Raises:
        WeightsError: If h5py is not installed, the file cannot be read, holds another network, or
            contradicts what was asked.
    """
    saved = read_keras(Path(path))
    if saved.of("Conv3D"):
        return _classifier(saved, depth, size)
    if saved.of("ConvLSTM2D"):
        return _denoiser(saved, gates)
    raise WeightsError(
        f"{saved.name} holds {_counted(Counter(layer.kind for layer in saved.layers))}, expected a "
        "BCDU-Net (Conv2D and ConvLSTM2D) or a 3D CNN (Conv3D). Give one of the two."
    )


def import_weights(
    denoiser: Path,
    classifier: Path,
    folder: Path,
    *,
    preset: str = "upstream",
    gates: Gates | None = None,
) -> CovidWeights:
    """Make a folder of weights from the two files of a training in Keras.

    Args:
        denoiser: Keras file of the BCDU-Net.
        classifier: Keras file of the 3D CNN.
        folder: Created when needed; must not hold weights yet.
        preset: Whose preprocessing and residual they were trained with.
        gates: See `import_keras`.

    Raises:
        WeightsError: If a file is not what it is given for or does not fit the preset, the preset
            is unknown or of two channels, or the folder holds weights.
    """
    if (folder / CARD).exists():
        raise WeightsError(f"{folder.name!r} holds weights already. Give another folder.")
    preprocessing, residual = _preset(preset)
    if residual.channels != 1:
        raise WeightsError(
            f"preset {preset!r} gives the classifier {residual.channels} channels, expected one as "
            "in the published network. Give the --preset the weights were trained with."
        )
    cleaner = _denoiser(read_keras(denoiser), gates)
    cnn = _classifier(read_keras(classifier), None, preprocessing.size)
    card = {
        "architecture": {
            "denoiser": {
                "base": cleaner.encoder1[0].out_channels,
                "depth": 1 if cleaner.dense2 is None else 3,
                "bidirectional": False,
                "gates": cleaner.decoder1.backward_lstm.gates,
            },
            "classifier": {
                "base": cnn.features[0].out_channels,
                "depth": cnn.input_shape[1],
                "size": cnn.input_shape[2],
                "dense": cnn.classify[0].out_features,
            },
        },
        "preprocessing": asdict(preprocessing),
        "residual": residual.deciding(),
        "synthetic_only": False,
        "training": {
            kind: {"command": "imported from Keras", "sha256": _sha256(path), "preset": preset}
            for kind, path in (("denoiser", denoiser), ("classifier", classifier))
        },
        "metrics": {},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "covidctnet": __version__,
        "torch": torch.__version__,
        "licence": "that of the imported files",
    }
    return save_weights(folder, {"denoiser": cleaner, "classifier": cnn}, card=card)


_RESIDUAL = {field.name for field in fields(ResidualSettings)}


def _preset(name: str) -> tuple[PreprocessSettings, ResidualSettings]:
    """What a preset does to a scan and to a residual."""
    known = {file.parent.name: file.parent for file in presets_root().glob("*/preprocess.yaml")}
    if name not in known:
        raise WeightsError(f"unknown preset {name!r}, expected one of {', '.join(sorted(known))}.")
    preset = yaml.safe_load((known[name] / "preprocess.yaml").read_text(encoding="utf-8"))
    training = known[name] / "train-classifier.yaml"
    data = yaml.safe_load(training.read_text(encoding="utf-8")) if training.is_file() else {}
    residual = {k: v for k, v in data.get("data", {}).items() if k in _RESIDUAL}
    return PreprocessSettings(**preset["settings"]), ResidualSettings(**residual)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _denoiser(saved: KerasFile, gates: Gates | None) -> BCDUNet:
    depth: Literal[1, 3] = 1 if len(saved.of("Conv2D")) <= 16 else 3
    each = ("Conv2DTranspose", "BatchNormalization", "ConvLSTM2D")
    _expect(saved, "BCDU-Net", {"Conv2D": 14 + 2 * depth, **dict.fromkeys(each, 3)})
    base = len(saved.of("Conv2D")[0].arrays[1])
    if base < 2 or base % 2:
        raise WeightsError(
            f"{saved.name} starts with {base} filters, expected an even count. "
            "Give a file of a BCDU-Net."
        )
    _check_lstms(saved)
    with torch.device("meta"):
        network = BCDUNet(base, depth, bidirectional=False, gates=_gates(saved, gates))
    return _fill(saved, network)


def _gates(saved: KerasFile, asked: Gates | None) -> Gates:
    """The activation of the gates that the file gives, else the one asked for, else its Keras'."""
    known = get_args(Gates)
    if asked not in (None, *known):
        raise WeightsError(f"gates must be one of {', '.join(known)}, got {asked!r}")
    lstms = saved.of("ConvLSTM2D")
    stored = {_setting(layer, "recurrent_activation") for layer in lstms} - {None}
    expected = {asked} if asked else set(known) - ({"hard_sigmoid"} if saved.keras == 3 else set())
    if len(stored) > 1 or not stored <= expected:
        raise WeightsError(
            f"{saved.name} has ConvLSTM gates of {shown(' and '.join(map(str, stored)))}, expected "
            f"{' or '.join(sorted(expected))}; hard_sigmoid is that of Keras 2, "
            "clip(0.2 x + 0.5, 0, 1). Leave the gates to the file, or give another file."
        )
    by_version: dict[int | None, Gates] = {2: "hard_sigmoid", 3: "sigmoid"}
    gates = stored.pop() if stored else asked or by_version.get(saved.keras)
    if gates is None:
        raise WeightsError(
            f"{saved.name} does not say whether Keras 2 or 3 trained it, and their ConvLSTM gates "
            "differ. Say gates hard_sigmoid (Keras 2) or sigmoid (Keras 3)."
        )
    return cast(Gates, gates)


def _check_lstms(saved: KerasFile) -> None:
    """Refuse ConvLSTMs of the right shapes that compute something else."""
    for layer in saved.of("ConvLSTM2D"):
        for key, value in _LSTM.items():
            if (value_of := _setting(layer, key)) not in (None, value):
                raise WeightsError(
                    f"{saved.name}: ConvLSTM2D {shown(layer.name)} has {key} {shown(value_of)}, "
                    f"expected {value!r}: ConvLSTMs read backward and give their last state. Give "
                    "a file of the published network."
                )


def _setting(layer: KerasLayer, key: str) -> Any:
    """A setting as Keras 2 writes it; newer ones wrap names of functions in mappings."""
    value = layer.settings.get(key)
    while isinstance(value, dict) and "config" in value:
        value = value["config"]
    return value if value is None or isinstance(value, bool) else str(value)


def _classifier(saved: KerasFile, depth: int | None, size: int | None) -> CNN3D:
    _expect(saved, "3D CNN", {"Conv3D": 2 * LEVELS, "Dense": 2})
    base = len(saved.of("Conv3D")[0].arrays[1])
    first, last = saved.of("Dense")
    features, hidden = first.arrays[0].shape
    classes = len(last.arrays[1])
    if classes != len(CHEST_CT):
        raise WeightsError(
            f"{saved.name} tells {classes} classes apart, expected "
            f"{', '.join(label.title for label in CHEST_CT)} in this order. Train with these."
        )
    depth = depth or PUBLISHED_DEPTH
    if size is None:
        raise WeightsError(
            f"{saved.name} does not tell how large its slices were. Give the size, or the --preset "
            "that the weights were trained with."
        )
    try:
        with torch.device("meta"):
            network = CNN3D(depth, size, base=base, dense=hidden)
    except ValueError as error:
        raise WeightsError(f"{saved.name}: {error}. Give the settings of the weights.") from None
    expected = math.prod(network.grid) * (base << (LEVELS - 1))
    if expected != features:
        raise WeightsError(
            f"{saved.name} has a first dense layer that reads {features} numbers, expected "
            f"{expected} for {depth} slices of {size} x {size}. Give weights and settings "
            "(--preset) that belong together."
        )
    # Keras flattens (slice, row, column, channel), torch (channel, slice, row, column).
    kernel = first.arrays[0].reshape(*network.grid, -1, hidden)
    kernel = np.moveaxis(kernel, -2, 0).reshape(features, hidden)
    turned = first._replace(arrays=(kernel, first.arrays[1]))
    layers = [turned if layer is first else layer for layer in saved.layers]
    return _fill(replace(saved, layers=layers), network)


def _expect(saved: KerasFile, network: str, expected: Mapping[str, int]) -> None:
    layers = Counter(layer.kind for layer in saved.layers)
    if layers != expected:
        raise WeightsError(
            f"{saved.name} holds {_counted(layers)}, expected {_counted(expected)} as in a "
            f"{network}. Give a whole file of a {network}."
        )


def _places(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Kind and name of every module that is a layer of Keras, in the order of the network."""
    for name, module in network.named_modules():
        # A ConvLSTM is one layer, whatever it consists of.
        if type(module) in _KINDS and "_lstm." not in name:
            yield _KINDS[type(module)], name


def _fill(saved: KerasFile, network: Network) -> Network:
    """Turn every array and put it where it belongs, in the order of each kind's layers."""
    own = network.state_dict()
    # Keras does not count batches, and with a fixed momentum torch does not use the count.
    state = {name: torch.tensor(0) for name in own if name.endswith("num_batches_tracked")}
    left = {kind: iter(saved.of(kind)) for kind in _SLOTS}
    for kind, module in _places(network):
        layer = next(left[kind])
        for array, (slot, turn) in zip(layer.arrays, _SLOTS[kind], strict=True):
            name = f"{module}.{slot}"
            expected = [0] * len(turn)
            for size, axis in zip(own[name].shape, turn, strict=True):
                expected[axis] = size
            if array.shape != tuple(expected):
                raise WeightsError(
                    f"{saved.name}: {kind} {shown(layer.name)} holds an array of {array.shape}, "
                    f"expected {tuple(expected)} at {name}. Give an untouched file of the "
                    "published network."
                )
            values = np.ascontiguousarray(array.transpose(turn), dtype=np.float32)
            if not np.isfinite(values).all() or (slot == "running_var" and values.min() < 0):
                raise WeightsError(
                    f"{saved.name}: {kind} {shown(layer.name)} holds impossible numbers, "
                    f"expected finite ones at {name}. Train it again."
                )
            state[name] = torch.from_numpy(values)
    network.load_state_dict(state, assign=True)
    return network.eval()


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds)) or "no layers"
