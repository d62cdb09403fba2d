"""Commands that hand networks on to other programs."""

# No `from __future__ import annotations` here: `add_parameters` reads the types.
import sys
from collections.abc import Sequence
from pathlib import Path

from covidctnet.commands.common import NOTICE, Output
from covidctnet.progress import bar

__all__ = ["export_onnx"]


def export_onnx(
    *,
    weights: str = "compact",
    networks: Sequence[str] = (),
    output: Output = "onnx",
) -> None:
    """Write the networks of weights as ONNX, checked against torch.

    Args:
        weights: Shipped name, or a folder.
        networks: Such as denoiser classifier; all that the weights hold by default.
        output: Folder for a file a network, and export.json.
    """
    from covidctnet.run.onnx_export import TOLERANCE, export_weights

    with bar("exporting"):
        made = export_weights(weights, Path(output), kinds=networks)
    for one in made:
        sys.stdout.write(f"{one}\n")
    sys.stdout.write(f"each is checked to {TOLERANCE:g} with ONNX Runtime\n{NOTICE}\n")
