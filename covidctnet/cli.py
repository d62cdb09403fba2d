"""The command line: finds the command, calls it, and turns errors into one line and a code."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import re
import signal
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from covidctnet._version import __version__
from covidctnet.commands import COMMANDS
from covidctnet.commands.common import NOTICE, Exit
from covidctnet.commands.complaints import in_plain_words
from covidctnet.commands.parser import run_command, summary_of
from covidctnet.errors import CovidCTNetError, UsageError
from covidctnet.logs import configure_logs
from covidctnet.stopping import Stopped, stop_on_signals
from covidctnet.surroundings import check_surroundings, raise_stack, set_threads, shortage

__all__ = ["main"]

_LOG = logging.getLogger(__name__)
# They find the files of --preset themselves, or have none.
_OWN_PRESETS = ("train", "weights")
# They load no networks.
_WITHOUT_NETWORKS = ("inspect", "merge", "compare", "paper", "split", "phantom", "cohort")
# Options of a command by the name that they had: still read, shown nowhere.
_FORMER_OPTIONS = {
    "classify": {"--readers": "--workers"},
    "paint": {"--validation": "--val"},
    "split": {"--anew": "--redraw", "--validation": "--val"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; those of the process by default.

    Returns:
        0 every study classified (or the command did its work), 1 an unexpected error, 2 wrong
        usage, 3 some studies refused or failed, 4 none classified; 128 and the number of the
        signal that stopped it, 141 nobody reads any more, as shells have it.
    """
    _open_standard_streams()
    if arguments is None:
        # No Python that this program starts, as multiprocessing does, shall look for modules in the
        # working folder: it may hold anything besides scans. Callers' own programs are left alone.
        os.environ["PYTHONSAFEPATH"] = "1"
        raise_stack()
        set_threads(os.environ)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with stop_on_signals():
            code = _run(arguments)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        return _complain(f"{stopped}; what was finished is kept", stopped.exit_code)
    except BrokenPipeError:
        # Whoever read has closed, as `head` does. What is still in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.PIPE


def _open_standard_streams() -> None:
    """Give the process the standard streams that its caller has closed, as services do.

    Without them Python has no `sys.stderr`, and the next file that is opened would take the number
    of a closed one: what a library prints would go into a patient's result.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"]:
        # As git and others have it: help, or help of a command.
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return Exit.OK if arguments else Exit.USAGE
    if arguments[0] == "--version":
        sys.stdout.write(f"covidctnet {__version__}\n")
        return Exit.OK
    name, *rest = arguments
    if rest and f"{name} {rest[0]}" in COMMANDS:
        name, *rest = f"{name} {rest[0]}", *rest[1:]
    if name not in COMMANDS:
        line = f"unknown command {name!r}; commands are {', '.join(COMMANDS)}"
        return _complain(line, Exit.USAGE)
    verbose = "--verbose" in rest
    rest = [_renamed(name, word) for word in rest if word != "--verbose"]
    configure_logs(verbose=verbose)
    try:
        check_surroundings(networks=name not in _WITHOUT_NETWORKS)
        text_file, rest = _taken(rest, "--log-file")
        json_file, rest = _taken(rest, "--log-json")
        configure_logs(verbose=verbose, text_file=text_file, json_file=json_file)
        return run_command(name, COMMANDS[name], _with_preset(name, rest))
    except CovidCTNetError as error:
        return _complain(str(error), error.exit_code)
    except ArgumentError as error:
        line = _with_options(in_plain_words(str(error)), name)
        return _complain(f"{line}; covidctnet {name} --help shows the options", Exit.USAGE)
    except SystemExit as error:
        # A parser of Lightning's prints its own lines and leaves with 2; help leaves with 0.
        if error.code == Exit.OK and {"-h", "--help"} & set(rest):
            sys.stdout.write(_common_options(name))
        return error.code if isinstance(error.code, int) else Exit.USAGE
    except BrokenPipeError:
        raise
    except OSError as error:
        _LOG.debug("traceback", exc_info=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            line = "the disk is full; make room and run again, finished work is kept"
            return _complain(line, Exit.ERROR)
        if short := shortage(error):
            return _complain(short, Exit.ERROR)
        line = f"the system refused: {error.strerror or type(error).__name__}"
        word = _argument_of(error.filename, rest)
        if word is None:
            return _complain(line, Exit.ERROR)
        return _complain(f"{line}, at or below {word!r}; check its rights", Exit.USAGE)
    except Exception as error:  # the last resort of a program that promises no traceback
        _LOG.debug("traceback", exc_info=True)
        if short := shortage(error):
            return _complain(short, Exit.ERROR)
        # Logs are kept, and paths are named after patients.
        line = re.sub(r"\S*[/\\]\S*", "(path)", str(error))[:300]
        return _complain(
            f"unexpected {type(error).__name__}: {line} (--verbose shows more)", Exit.ERROR
        )


def _renamed(command: str, word: str) -> str:
    """An option by the name that it has now, also where its value follows an equals sign."""
    option, equals, value = word.partition("=")
    return f"{_FORMER_OPTIONS.get(command, {}).get(option, option)}{equals}{value}"


def _with_options(line: str, command: str) -> str:
    """The line in which options that are missing are named as they are written."""
    start, required, names = line.partition("arguments are required: ")
    if not required:
        return line
    parameters = inspect.signature(COMMANDS[command]).parameters
    words = []
    for word in names.split(", "):
        parameter = parameters.get(word)
        if parameter is None or parameter.kind is not parameter.KEYWORD_ONLY:
            words.append(word)
            continue
        short = [text for text in get_args(parameter.annotation)[1:] if isinstance(text, str)]
        words.append("/".join([*short, f"--{word.replace('_', '-')}"]))
    return f"{start}{required}{', '.join(words)}"


def _argument_of(path: object, arguments: Sequence[str]) -> str | None:
    """The argument that a path lies at or below: what the caller wrote may be shown to them."""
    if not isinstance(path, (str, os.PathLike)):
        return None
    there = Path(path).absolute()
    words = [argument.rpartition("=")[2] for argument in arguments]
    holding = [word for word in words if word and there.is_relative_to(Path(word).absolute())]
    return max(holding, key=lambda word: len(Path(word).absolute().parts), default=None)


def _overview() -> str:
    lines = [
        "usage: covidctnet COMMAND [--config FILE.yaml] [--preset NAME] [--verbose] [options]",
        "",
        "Chest CT in (DICOM, NIfTI, MHA, NRRD), Covid-19, CAP or Control out.",
        "Chest radiographs (DICOM CR and DX, PNG, JPEG, TIFF) too, by a system that reads them;",
        "slices as pictures teach systems of slices (train SYSTEM STAGE --data.images).",
        NOTICE,
        "",
        *(f"  {name:<18}{summary_of(function)}" for name, function in COMMANDS.items()),
        "",
        "covidctnet COMMAND --help shows the options, their units and defaults.",
    ]
    return "\n".join(lines) + "\n"


def _common_options(command: str) -> str:
    """What every command takes and no parser knows."""
    text = (
        "\n--verbose logs the details to standard error.\n"
        "--log-file FILE appends log lines to a file, --log-json FILE one JSON object a line.\n"
    )
    if command.startswith("train"):
        text += "--work FOLDER is short for --data.work FOLDER.\n"
        text += "--find-lr N is --find_lr N.\n"
    if command == "train":
        text += "--preset NAME takes the settings of a preset of the stage; flags win over it.\n"
    if presets := _presets(command):
        text += f"--preset NAME takes the settings of {', '.join(presets)}; flags win over it.\n"
    return text


def _presets(command: str) -> list[str]:
    """Names of the presets that hold settings for a command."""
    from covidctnet.weights.shipped import presets_root

    return sorted(file.parent.name for file in presets_root().glob(f"*/{command}.yaml"))


def _with_preset(command: str, arguments: list[str]) -> list[str]:
    """``--preset NAME`` stands for the YAML file of that preset and command."""
    if command in _OWN_PRESETS:
        return arguments
    out: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if name != "--preset":
            out.append(argument)
            continue
        value = value or next(rest, "")
        known = _presets(command)
        if not known:
            raise UsageError(f"there are no presets for {command}; leave --preset out")
        if value not in known:
            raise UsageError(
                f"unknown preset {value!r} for {command}; presets are {', '.join(known)}"
            )
        from covidctnet.weights.shipped import presets_root

        # In front, so that files and flags of the caller win.
        out = ["--config", str(presets_root() / value / f"{command}.yaml"), *out]
    return out


def _taken(arguments: list[str], option: str) -> tuple[str, list[str]]:
    """The value of an option that every command takes, and the other arguments.

    Raises:
        UsageError: If it has no value.
    """
    value, others = "", []
    rest = iter(arguments)
    for argument in rest:
        name, equals, given = argument.partition("=")
        if name != option:
            others.append(argument)
            continue
        value = given if equals else next(rest, "")
        if not value or (not equals and value.startswith("--")):
            raise UsageError(f"expected {option} FILE, got no name of a file")
    return value, others


def _complain(line: str, code: int) -> int:
    line = " ".join(line.split())
    sys.stderr.write(f"covidctnet: {line}\n")
    _LOG.error("%s", line, extra={"is_routine": True, "facts": {"exit_code": int(code)}})
    return code
