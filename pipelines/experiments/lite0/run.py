"""Which padding, eps and normalisation the ImageNet weights of EfficientNet-Lite0 were made with.

    python pipelines/experiments/lite0/run.py FOLDER

FOLDER holds pictures of ImageNet classes, named ``..._CLASS.jpg`` with the number of the class, as
the package foolbox brings 20 (``foolbox/data/imagenet_*.jpg``). For each combination: how many
pictures get the right class, its mean probability and negative log likelihood; and, without labels,
how far the statistics of the feature maps lie from those that the batch norms have stored: the
combination that the network was trained with gives the smallest distances.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from covidctnet.networks import pretrained
from covidctnet.networks.backbones import BACKBONES, library, normalised

SIZE, SHORT_SIDE = 224, 256
PADDINGS = {"symmetric": "efficientnet_lite0", "SAME": "tf_efficientnet_lite0"}
NORMALISATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "(x - 127) / 128": lambda x: normalised(x, BACKBONES["efficientnet_lite0"]),
    "(x - 127.5) / 127.5": lambda x: 2 * x - 1,
    "mean and std of ImageNet": lambda x: normalised(x, BACKBONES["resnet50"]),
    "x / 255": lambda x: x,
}


def picture(path: Path) -> Tensor:
    """The middle of a picture in [0, 1], (3, row, column)."""
    image = Image.open(path).convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    pixels = np.array(image.crop((left, top, left + SIZE, top + SIZE)))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def distances(network: nn.Module, inputs: Tensor) -> tuple[Tensor, float, float]:
    """Logits, and how far means and variances lie from the stored ones, over all batch norms.

    Means in standard deviations, variances as logarithms of ratios; root mean squares over the
    channels of a layer, averaged over the layers.
    """
    means: list[float] = []
    variances: list[float] = []

    def compare(norm: nn.Module, layer_inputs: tuple[Tensor, ...]) -> None:
        x = layer_inputs[0]
        stored = norm.running_var + norm.eps
        shift = (x.mean((0, 2, 3)) - norm.running_mean) / stored.sqrt()
        ratio = ((x.var((0, 2, 3)) + norm.eps) / stored).log()
        means.append(float(shift.square().mean().sqrt()))
        variances.append(float(ratio.square().mean().sqrt()))

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(compare) for norm in norms]
    logits = network(inputs)
    for hook in hooks:
        hook.remove()
    return logits, float(np.mean(means)), float(np.mean(variances))


@torch.inference_mode()
def main(folder: str) -> None:
    """Print the table."""
    files = sorted(Path(folder).glob("*_*.jp*g"))
    pictures = torch.stack([picture(file) for file in files])
    classes = torch.tensor([int(file.stem.rpartition("_")[2]) for file in files])
    state = pretrained.timm_names(pretrained._read(pretrained._installed()))
    lines = [
        f"{len(files)} pictures of {SIZE} x {SIZE}",
        "| padding | eps | input | right | p of the right class | NLL | means | variances |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for padding, name in PADDINGS.items():
        for eps in (1e-5, 1e-3):
            network = library("timm").create_model(name, bn_eps=eps).eval()
            network.load_state_dict(state, strict=False)
            for label, normalise in NORMALISATIONS.items():
                logits, mean, variance = distances(network, normalise(pictures))
                p = logits.log_softmax(1)[torch.arange(len(classes)), classes]
                right = int((logits.argmax(1) == classes).sum())
                lines.append(
                    f"| {padding} | {eps:g} | {label} | {right} | {float(p.exp().mean()):.3f} | "
                    f"{-float(p.mean()):.3f} | {mean:.3f} | {variance:.3f} |"
                )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
