"""What the verbs have in common: exit codes, the notice, the parser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from covidctnet.errors import UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from covidctnet.contract import Predictor

__all__ = [
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "EXIT_NONE_CLASSIFIED",
    "EXIT_OK",
    "EXIT_PIPE",
    "EXIT_SOME_FAILED",
    "EXIT_USAGE",
    "NOTICE",
    "add_network",
    "existing",
    "load_network",
    "parser_of",
]

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_NONE_CLASSIFIED = range(5)
# 128 and the signal's number, as shells have it.
EXIT_INTERRUPTED, EXIT_PIPE = 130, 141

NOTICE = "Research use only. Not a medical device."


def parser_of(verb: str) -> ArgumentParser:
    """The parser of a verb; its summary is in the table of verbs."""
    from jsonargparse import ArgumentParser

    from covidctnet.verbs import VERBS

    parser = ArgumentParser(
        prog=f"covidctnet {verb}", description=VERBS[verb].summary + ".", exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    return parser


def add_network(parser: ArgumentParser) -> None:
    """The options that name weights and where they run."""
    parser.add_argument("--weights", type=str, default="compact", help="shipped name, or a folder")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--precision",
        type=str,
        default="auto",
        help="32, bf16 (nearly twice as fast where the processor knows it), or auto",
    )
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="let torch.compile write kernels for the denoiser, in a minute or so at the first "
        "study; for many studies and a GPU",
    )


def load_network(given: Namespace) -> Predictor:
    """The predictor that the options of `add_network` name."""
    from covidctnet.run.load import load

    return load(
        given.weights, device=given.device, precision=given.precision, compiled=given.compiled
    )


def existing(text: str) -> Path:
    """The path that an argument names.

    Raises:
        UsageError: If nothing is there.
    """
    path = Path(text)
    # An empty variable of a shell must not mean the current folder.
    if not text or not path.exists():
        raise UsageError(f"{text!r} does not exist; give a folder or a file that does")
    return path
