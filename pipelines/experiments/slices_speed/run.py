"""Compare times of the networks of slices with timm's and segmentation-models-pytorch's own.

    python -m pipelines.experiments.slices_speed.run

All ways take turns in one run, so that a busy machine is busy for all of them. Printed are medians
over ours in float32; how far a way's scores lie from the plain network is the last column.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from covidctnet.networks.backbones import BACKBONES, library, normalised
from covidctnet.systems.deeptek_unet.networks import LesionUNet
from covidctnet.systems.resnet50_slices.networks import SliceClassifier
from pipelines.experiments.benchmark.timing import by_turns

Way = Callable[[Tensor], Tensor]


def classifiers(backbone: str) -> Mapping[str, Way]:
    """Ours twice, and timm's network of the same name with two classes."""
    network = _lively(SliceClassifier(backbone))
    plain = library("timm").create_model(BACKBONES[backbone].timm, num_classes=2).eval()
    return {
        "ours": network.fast(),
        "ours, bf16": network.fast(torch.bfloat16),
        "ours, as trained": network,
        "timm": lambda x: plain(normalised(x, BACKBONES[backbone])),
    }


def u_nets(encoder: str) -> Mapping[str, Way]:
    """Ours twice, and the library's own."""
    network = _lively(LesionUNet(encoder))
    plain = network.network
    body = BACKBONES.get(encoder)
    return {
        "ours": network.fast(),
        "ours, bf16": network.fast(torch.bfloat16),
        "smp": lambda x: plain(normalised(x, body) if body else x.expand(-1, 3, -1, -1)),
    }


def _lively(network: nn.Module) -> nn.Module:
    """A network whose batch norms do something, as after a training."""
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            tensor.normal_(std=0.1)
    return network.eval()


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args(arguments)
    lines = ["| network | size | way | median, times ours | difference |", "|---|---|---|---|---|"]
    for name, size, make in (
        ("ResNet-50", 448, partial(classifiers, "resnet50")),
        ("EfficientNet-Lite0", 192, partial(classifiers, "efficientnet_lite0")),
        ("U-Net, Xception", 256, partial(u_nets, "xception")),
        ("U-Net, EfficientNet-Lite0", 224, partial(u_nets, "efficientnet_lite0")),
    ):
        ways = make()
        pictures = torch.rand(options.batch, 1, size, size)
        exact = ways.get("ours, as trained", ways.get("smp"))
        assert exact is not None
        expected = exact(pictures)
        rows = by_turns(name, {k: partial(w, pictures) for k, w in ways.items()}, options.repeats)
        ours = statistics.median(rows[0].seconds)
        for row in rows:
            difference = ""
            if row.by.startswith("ours"):
                far = (ways[row.by](pictures) - expected).abs().max() / expected.abs().max()
                difference = f"{float(far):.1e}"
            times = statistics.median(row.seconds) / ours
            lines.append(f"| {name} | {size} | {row.by} | {times:.2f} | {difference} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
