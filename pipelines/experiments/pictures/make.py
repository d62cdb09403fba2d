"""Draw the pictures of the documentation: what the networks do, and how they learned.

    python -m pipelines.experiments.pictures.make [--weights compact] [--output docs/pictures]

Writes ``stages.png`` of three phantoms in well under two minutes, and ``curves.svg`` where the
weights bring their learning curves.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from covidctnet.errors import CovidCTNetError
from covidctnet.files import make_folder, write_whole
from covidctnet.systems.covidctnet.weights import load_weights
from covidctnet.weights.shipped import weights_root
from pipelines.experiments.pictures.curves import draw_curves, read_curves
from pipelines.experiments.pictures.stages import draw_stages, show_phantoms


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw every picture again."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.experiments.pictures.make",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--weights", default="compact", help="shipped weights, or a folder")
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"), help="folder")
    options = parser.parse_args(arguments)
    try:
        weights = load_weights(options.weights)
        make_folder(options.output)
        named = Path(options.weights)
        folder = named if named.is_dir() else weights_root() / weights.name
        curves = read_curves(folder / "curves")
        if curves:
            title = f"Learning curves of the weights {weights.name}"
            write_whole(options.output / "curves.svg", draw_curves(curves, title))
        write_whole(options.output / "stages.png", draw_stages(show_phantoms(weights)))
    except CovidCTNetError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
