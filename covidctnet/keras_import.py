"""Original Keras weights (``.h5``, ``.hdf5``, ``.weights.h5``) into the networks of this package.

Arrays are channels-last in Keras and channels-first in torch; each function below turns one kind
of layer. The readers go by kind and number of the layers, as Keras names them on its own
(``conv2d``, ``conv2d_1``, ...), in the legacy layouts of Keras 2 and in the newer one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from covidctnet.errors import WeightsError
from covidctnet.models import CNN3D, BCDUNet
from covidctnet.models.convlstm import Gates

__all__ = [
    "batch_norm",
    "conv2d",
    "conv2d_transpose",
    "conv3d",
    "conv_lstm",
    "dense",
    "dense_after_flatten",
    "load_bcdunet",
    "load_classifier",
    "load_cnn3d",
    "load_denoiser",
    "read_layers",
]

Arrays = Mapping[str, np.ndarray]
Layers = Mapping[str, list[dict[str, np.ndarray]]]

_KERNEL_BIAS = ("kernel", "bias")
# The newer layout numbers a layer's arrays; these are their names, in order.
_ARRAY_NAMES = {
    "conv2d": _KERNEL_BIAS,
    "conv2d_transpose": _KERNEL_BIAS,
    "conv3d": _KERNEL_BIAS,
    "dense": _KERNEL_BIAS,
    "conv_lstm2d": ("kernel", "recurrent_kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
# Where a saved model keeps its optimiser, in the legacy layouts and in the newer one.
_OPTIMISERS = (["optimizer_weights"], ["optimizer"])
_LAYER = re.compile(rf"({'|'.join(sorted(_ARRAY_NAMES, key=len, reverse=True))})(?:_(\d+))?")


def conv2d(kernel: np.ndarray) -> Tensor:
    """(row, column, in, out) to (out, in, row, column)."""
    return _tensor(kernel.transpose(3, 2, 0, 1))


def conv2d_transpose(kernel: np.ndarray) -> Tensor:
    """(row, column, out, in) to (in, out, row, column); nothing is flipped."""
    return _tensor(kernel.transpose(3, 2, 0, 1))


def conv3d(kernel: np.ndarray) -> Tensor:
    """(slice, row, column, in, out) to (out, in, slice, row, column)."""
    return _tensor(kernel.transpose(4, 3, 0, 1, 2))


def conv_lstm(arrays: Arrays) -> dict[str, Tensor]:
    """Kernel, recurrent kernel and bias to the state of a `ConvLSTMPair`; gates stay i, f, c, o."""
    return {
        "input.weight": conv2d(arrays["kernel"]),
        "input.bias": _tensor(arrays["bias"]),
        "recurrent.weight": conv2d(arrays["recurrent_kernel"]),
    }


def batch_norm(arrays: Arrays) -> dict[str, Tensor]:
    """Gamma, beta, moving mean and variance to the state of a batch norm."""
    return {
        "weight": _tensor(arrays["gamma"]),
        "bias": _tensor(arrays["beta"]),
        "running_mean": _tensor(arrays["moving_mean"]),
        "running_var": _tensor(arrays["moving_variance"]),
        # Keras does not count batches, and with a fixed momentum torch does not use the count.
        "num_batches_tracked": torch.tensor(0),
    }


def dense(kernel: np.ndarray) -> Tensor:
    """(in, out) to (out, in)."""
    return _tensor(kernel.T)


def dense_after_flatten(kernel: np.ndarray, grid: tuple[int, ...]) -> Tensor:
    """A dense kernel behind a flatten: (slice, row, column, channel) becomes channel first.

    Args:
        kernel: Shape (in, out), `in` flattened in the order of Keras.
        grid: Slices, rows and columns of what was flattened.

    Returns:
        Shape (out, in), `in` in the order of torch.

    Raises:
        WeightsError: If `in` is no multiple of the grid.
    """
    inputs, outputs = kernel.shape
    if inputs % int(np.prod(grid)):
        raise WeightsError(
            f"the first dense layer reads {inputs} features, wanted a multiple of the grid {grid}. "
            "Give the depth and size that the weights were trained with."
        )
    places = kernel.reshape(*grid, -1, outputs)
    return _tensor(np.moveaxis(places, (-1, -2), (0, 1)).reshape(outputs, inputs))


def read_layers(path: Path) -> dict[str, list[dict[str, np.ndarray]]]:
    """Arrays of a Keras file by kind of layer, in the order of the layers' numbers.

    Args:
        path: HDF5 file of weights or of a whole model.

    Returns:
        For every kind (``conv2d``, ``conv_lstm2d``, ...) its layers; each maps Keras' name of an
        array (``kernel``, ``bias``, ...) to the array.

    Raises:
        WeightsError: If h5py is not installed, or the file is missing, no HDF5 or holds none of
            these layers.
    """
    try:
        import h5py
    except ImportError:
        raise WeightsError(
            "reading Keras weights wants h5py, which is not installed. "
            "Install the extra: pip install 'covidctnet[keras]'."
        ) from None
    found: dict[tuple[str, int], dict[str, np.ndarray]] = {}

    def visit(place: str, item: object) -> None:
        *groups, leaf = place.split("/")
        # A saved optimiser keeps moments under the names of the very layers they belong to.
        if not isinstance(item, h5py.Dataset) or groups[:1] in _OPTIMISERS:
            return
        if "bidirectional" in place:
            raise WeightsError(
                f"{path.name} holds two-directional ConvLSTMs, wanted backward ones only. "
                "Import a file of the published network."
            )
        for match in filter(None, map(_LAYER.fullmatch, groups)):
            kind, number = match[1], int(match[2] or 0)
            names = _ARRAY_NAMES[kind]
            name = names[int(leaf)] if leaf.isdigit() and int(leaf) < len(names) else leaf
            found.setdefault((kind, number), {})[name.partition(":")[0]] = item[()]
            return

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError:
        raise WeightsError(
            f"{path.name} cannot be read as HDF5. Give a file that Keras saved as .h5, .hdf5 "
            "or .weights.h5."
        ) from None
    if not found:
        raise WeightsError(f"{path.name} holds no layers under the names that Keras gives them.")
    layers: dict[str, list[dict[str, np.ndarray]]] = {}
    for kind, number in sorted(found):
        layers.setdefault(kind, []).append(found[kind, number])
    return layers


def load_denoiser(path: Path, *, gates: Gates = "hard_sigmoid") -> BCDUNet:
    """A one-directional BCDU-Net as wide and deep as the Keras weights say.

    Args:
        path: File that Keras saved.
        gates: Activation of the ConvLSTM gates, which the weights alone do not tell: that of
            Keras 2, with which the published weights were trained, or ``sigmoid`` for Keras 3.

    Returns:
        In evaluation mode, on the CPU.

    Raises:
        WeightsError: If the file cannot be read or holds another architecture.
    """
    layers = read_layers(path)
    count = len(layers.get("conv2d", []))
    if count not in (16, 20):
        raise WeightsError(
            f"{path.name} holds {count} conv2d layers, wanted 16 (D1) or 20 (D3). "
            "Give a file of a BCDU-Net."
        )
    base = _width(path, layers, "conv2d")
    if base % 2:
        raise WeightsError(
            f"{path.name} starts with {base} filters, wanted an even count. "
            "Give a file of a BCDU-Net."
        )
    network = BCDUNet(base, 3 if count == 20 else 1, bidirectional=False, gates=gates)
    _fill_bcdunet(path, layers, network)
    return network.eval()


def load_classifier(path: Path, *, depth: int = 50, size: int = 240) -> CNN3D:
    """A 3D CNN as wide as the Keras weights say.

    Args:
        path: File that Keras saved.
        depth: Slices of a residual; poolings round, so the weights do not tell it.
        size: Rows and columns, for the same reason.

    Returns:
        In evaluation mode, on the CPU.

    Raises:
        WeightsError: If the file cannot be read, holds another architecture, or was trained on
            another depth and size.
    """
    layers = read_layers(path)
    units = [_width(path, layers, "dense", number) for number in (0, 1)]
    base = _width(path, layers, "conv3d")
    network = CNN3D(depth, size, base=base, dense=units[0], classes=units[1])
    _fill_cnn3d(path, layers, network)
    return network.eval()


def load_bcdunet(path: Path, network: BCDUNet) -> None:
    """Fill a one-directional BCDU-Net with Keras weights.

    Args:
        path: File that Keras saved.
        network: Of the file's base width and depth; filled in place.

    Raises:
        WeightsError: If the file cannot be read or holds another architecture.
    """
    _fill_bcdunet(path, read_layers(path), network)


def load_cnn3d(path: Path, network: CNN3D) -> None:
    """Fill a 3D CNN with Keras weights.

    Args:
        path: File that Keras saved.
        network: Of the file's depth, size and widths; filled in place.

    Raises:
        WeightsError: If the file cannot be read or holds another architecture.
    """
    _fill_cnn3d(path, read_layers(path), network)


def _fill_bcdunet(path: Path, layers: Layers, network: BCDUNet) -> None:
    bottom = ("dense1", "dense2", "dense3") if network.dense2 is not None else ("dense1",)
    decoders = ("decoder3", "decoder2", "decoder1")
    blocks = (
        "encoder1",
        "encoder2",
        "encoder3",
        *bottom,
        *(f"{d}.convs" for d in decoders),
        "head",
    )
    state: dict[str, Tensor] = {}
    convs = (f"{block}.{place}" for block in blocks for place in (0, 2))
    for name, arrays in _pair(path, layers, "conv2d", convs):
        state |= {f"{name}.weight": conv2d(arrays["kernel"]), f"{name}.bias": _bias(arrays)}
    ups = (f"{decoder}.up" for decoder in decoders)
    for name, arrays in _pair(path, layers, "conv2d_transpose", ups):
        state[f"{name}.weight"] = conv2d_transpose(arrays["kernel"])
        state[f"{name}.bias"] = _bias(arrays)
    norms = (f"{decoder}.norm" for decoder in decoders)
    for name, arrays in _pair(path, layers, "batch_normalization", norms):
        state |= {f"{name}.{key}": value for key, value in batch_norm(arrays).items()}
    lstms = (f"{decoder}.backward_lstm" for decoder in decoders)
    for name, arrays in _pair(path, layers, "conv_lstm2d", lstms):
        state |= {f"{name}.{key}": value for key, value in conv_lstm(arrays).items()}
    _fill(path, network, state)


def _fill_cnn3d(path: Path, layers: Layers, network: CNN3D) -> None:
    state: dict[str, Tensor] = {}
    places = [n for n, layer in network.features.named_children() if isinstance(layer, nn.Conv3d)]
    for name, arrays in _pair(path, layers, "conv3d", (f"features.{n}" for n in places)):
        state |= {f"{name}.weight": conv3d(arrays["kernel"]), f"{name}.bias": _bias(arrays)}
    for name, arrays in _pair(path, layers, "dense", iter(("classify.0", "classify.3"))):
        kernel = arrays["kernel"]
        first = name == "classify.0"
        state[f"{name}.weight"] = (
            dense_after_flatten(kernel, network.grid) if first else dense(kernel)
        )
        state[f"{name}.bias"] = _bias(arrays)
    _fill(path, network, state)


def _pair(
    path: Path, layers: Layers, kind: str, names: Iterator[str]
) -> list[tuple[str, dict[str, np.ndarray]]]:
    wanted, found = list(names), layers.get(kind, [])
    if len(wanted) != len(found):
        raise WeightsError(
            f"{path.name} holds {len(found)} {kind} layers, wanted {len(wanted)}. "
            "Give the architecture that the file was saved from."
        )
    for number, arrays in enumerate(found):
        missing = [name for name in _ARRAY_NAMES[kind] if name not in arrays]
        if missing:
            raise WeightsError(
                f"{path.name}: {kind} layer {number} lacks {', '.join(missing)}. Save it anew."
            )
    return list(zip(wanted, found, strict=True))


def _width(path: Path, layers: Layers, kind: str, number: int = 0) -> int:
    """Units or filters of a layer; its bias tells them in every kind."""
    found = layers.get(kind, [])
    if number >= len(found) or "bias" not in found[number]:
        raise WeightsError(
            f"{path.name} holds no {kind} layer {number} with a bias. "
            "Give a file of the published networks."
        )
    return len(found[number]["bias"])


def _fill(path: Path, network: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = network.state_dict()
    # Layers that only one side has come first: they explain the shapes that differ behind them.
    for name in sorted(own.keys() ^ state.keys()) + sorted(own.keys() & state.keys()):
        wanted = tuple(own[name].shape) if name in own else None
        came = tuple(state[name].shape) if name in state else None
        if wanted != came:
            raise WeightsError(
                f"{path.name} does not fit the network: {name} is {came}, wanted {wanted}. "
                "Give the architecture that the file was saved from."
            )
    network.load_state_dict(state)


def _bias(arrays: Arrays) -> Tensor:
    return _tensor(arrays["bias"])


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
