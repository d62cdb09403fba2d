"""Sheets of the feature maps of a radiograph, a PNG for each layer of a network.

python -m pipelines.experiments.radiographs.sheets WEIGHTS RADIOGRAPH --output FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from covidctnet.errors import UsageError
from covidctnet.files import make_folder
from covidctnet.radiograph.child import RadiographChild
from covidctnet.radiograph.find import find_radiographs
from covidctnet.run.load import load
from covidctnet.systems.xray_vgg16.networks import feature_sheets
from covidctnet.systems.xray_vgg16.predictor import RadiographPredictor
from pipelines.experiments.command import tell


def page(weights: str, picture: str, output: Path) -> str:
    """Write the sheets; returns a line for each."""
    model = load(weights, device="cpu", precision="32")
    if not isinstance(model, RadiographPredictor):
        raise UsageError(f"expected weights of xray_vgg16, got those of {model.info.system}")
    studies = find_radiographs(picture)
    if len(studies) != 1:
        raise UsageError(f"expected one radiograph, got {len(studies)}. Give its file.")
    with RadiographChild() as read:
        prepared = model.prepare(read(studies[0]))
    make_folder(output)
    network = model.weights.network("classifier").eval()
    lines = []
    for number, sheet in enumerate(feature_sheets(network, prepared.picture)):
        name = f"{number:02d}-{sheet.layer}.png"
        Image.fromarray(sheet.pixels).save(output / name)
        lines.append(f"{name}  {sheet.maps} maps\n")
    return "".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Write the sheets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights")
    parser.add_argument("radiograph")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    return tell(lambda: page(given.weights, given.radiograph, given.output))


if __name__ == "__main__":
    sys.exit(main())
