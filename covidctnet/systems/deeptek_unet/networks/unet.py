"""A U-Net with an Xception encoder, as segmentation-models-pytorch builds it.

Source: arXiv:2006.13212 (DeepTek), which names the encoder and the upsampling and no library; the
geometry is that of segmentation-models-pytorch. Differs in: a choice of encoder, and of the
upsampling, which the paper calls "deconvolution".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covidctnet.errors import UsageError
from covidctnet.networks.backbones import BACKBONES, library, normalised
from covidctnet.networks.fused import for_inference
from covidctnet.networks.pretrained import start_of

__all__ = ["ENCODERS", "LesionUNet", "Upsample"]

Upsample = Literal["nearest", "transposed"]

# By our names, the library's.
ENCODERS: Mapping[str, str] = MappingProxyType(
    {
        "xception": "xception",
        "resnet50": "resnet50",
        "efficientnet_lite0": "tu-tf_efficientnet_lite0",
    }
)
# The encoder halves rows and columns five times.
STRIDE = 32


class _Transposed(nn.Module):
    """A decoder block behind a transposed convolution that learns how to double rows and columns.

    The block's own interpolation then finds the size that it wants.
    """

    def __init__(self, block: nn.Module, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.block = block

    def forward(
        self, below: Tensor, height: int, width: int, skip_connection: Tensor | None = None
    ) -> Tensor:
        out: Tensor = self.block(self.up(below), height, width, skip_connection=skip_connection)
        return out


class LesionUNet(nn.Module):
    """Finds lesions in one slice.

    Args:
        encoder: One of `ENCODERS`; with ``xception`` the network has 28,769,401 parameters.
        upsample: ``nearest`` repeats pixels; ``transposed`` learns a transposed convolution.
        kinds: Of lesions, each with a mask of its own.

    The sigmoid is left to the loss and to the caller.

    Raises:
        UsageError: If there is no such network, or its library is not installed.
    """

    def __init__(
        self, encoder: str = "xception", upsample: Upsample = "nearest", kinds: int = 1
    ) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            raise UsageError(f"expected an encoder out of {', '.join(ENCODERS)}, got {encoder!r}")
        if upsample not in get_args(Upsample):
            raise UsageError(f"expected nearest or transposed as upsample, got {upsample!r:.80}")
        if kinds < 1:
            raise UsageError(f"expected one kind of lesion or more, got {kinds}")
        self.encoder = encoder
        smp = library("segmentation_models_pytorch")
        self.network: nn.Module = smp.Unet(
            ENCODERS[encoder], encoder_weights=None, in_channels=3, classes=kinds
        )
        if upsample == "transposed":
            blocks = self.network.decoder.blocks
            # Each reads what the one before it puts out; the first, the encoder's last level.
            widths = [self.network.encoder.out_channels[-1]]
            widths += [block.conv2[0].out_channels for block in blocks[:-1]]
            for place, (block, width) in enumerate(zip(list(blocks), widths, strict=True)):
                blocks[place] = _Transposed(block, width)

    def forward(self, pictures: Tensor) -> Tensor:
        """Score every pixel; a sigmoid over the scores gives probabilities.

        Args:
            pictures: In [0, 1], shape (batch, 1 or 3, row, column). Sizes that are no multiple of
                32 are extended by their last row and column, and cut again.

        Returns:
            Logits, (batch, kind, row, column).
        """
        if self.encoder in BACKBONES:
            pictures = normalised(pictures, BACKBONES[self.encoder])
        else:
            pictures = pictures.expand(-1, 3, -1, -1)
        height, width = pictures.shape[2:]
        below, right = -height % STRIDE, -width % STRIDE
        if below or right:
            pictures = F.pad(pictures, (0, right, 0, below), mode="replicate")
        scores: Tensor = self.network(pictures.contiguous(memory_format=torch.channels_last))
        return scores[..., :height, :width]

    def start_from(self, pretrained: str) -> None:
        """Give the encoder the weights that a setting names.

        Args:
            pretrained: Empty for none; ``imagenet`` for those of ``efficientnet_lite0`` and
                ``resnet50``; or the path of a file.

        Raises:
            UsageError: If the weights cannot be had.
            WeightsError: If they are not of this encoder.
        """
        if pretrained == "imagenet" and self.encoder not in BACKBONES:
            raise UsageError(
                f"expected the path of a file with weights of {self.encoder}, got imagenet, which "
                f"is known for {', '.join(BACKBONES)} only. Give --model.pretrained FILE."
            )
        start_of(self.network.encoder, pretrained, self.encoder)  # type: ignore[arg-type]

    def fast(self, dtype: torch.dtype = torch.float32) -> LesionUNet:
        """A copy for inference: folded batch norms, channels last.

        Args:
            dtype: Of weights and feature maps.
        """
        made = copy.deepcopy(self).eval().requires_grad_(False)
        made.network = for_inference(self.network, torch.rand(1, 3, STRIDE, STRIDE), dtype)
        return made
