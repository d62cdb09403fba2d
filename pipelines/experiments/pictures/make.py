"""Draw the pictures of the documentation: what the networks do, and how they learned.

    python -m pipelines.experiments.pictures.make [--weights compact] [--output docs/pictures]
        [--page runs/demo/results-compact/index.html]

Writes ``stages.png`` of three phantoms in well under two minutes, ``curves.svg`` where the weights
bring their learning curves, and ``report.png`` of a page of answers, such as `make demo` makes
first, where Chromium is installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from covidctnet.errors import CovidCTNetError, UsageError
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
    parser.add_argument("--page", type=Path, help="index.html of answers, for report.png")
    options = parser.parse_args(arguments)
    try:
        weights = load_weights(options.weights)
        make_folder(options.output)
        if options.page:
            photograph(options.page, options.output / "report.png")
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


def photograph(page: Path, picture: Path) -> None:
    """What a browser shows of a page, as PNG.

    Raises:
        UsageError: If there is no such page or no browser.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None or not page.is_file():
        raise UsageError(
            f"expected Chromium and the page {page.name!r}, got "
            f"{'no page' if browser else 'no browser'}. Install Chromium, and run make demo."
        )
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}"]
        size = "--window-size=1235,1605"
        shot = f"--screenshot={picture.resolve()}"
        command = [browser, *flags, size, shot, page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    sys.exit(main())
