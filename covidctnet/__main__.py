"""The program: the command ``covidctnet``, and ``python -m covidctnet``."""

import os
import sys


def main() -> int:
    """Run the command line; see `covidctnet.cli.main`."""
    _put_library_first()
    from covidctnet.cli import main as run

    return run()


def _put_library_first() -> None:
    """Let no file in the working folder, or in a folder of PYTHONPATH, stand for another module.

    What PYTHONPATH puts in front of Python's own library goes right behind it, where it still comes
    before the packages of the installation. An empty or relative entry of PYTHONPATH is left out:
    it is the working folder, or one in it, which may hold anything besides scans.
    """
    library = os.__file__.rpartition(os.sep)[0]
    if library not in sys.path:
        return
    packed = f"{os.sep}python{sys.version_info[0]}{sys.version_info[1]}.zip"
    place = sys.path.index(library)
    relative = _relative_entries()
    before = [
        folder
        for folder in sys.path[:place]
        if not folder.endswith(packed) and os.path.realpath(folder) not in relative
    ]
    end = place + 1
    if end < len(sys.path) and sys.path[end].endswith(f"{os.sep}lib-dynload"):
        end += 1
    python_own = [f for f in sys.path[:end] if f.endswith(packed)] + sys.path[place:end]
    sys.path[:end] = python_own + before


def _relative_entries() -> set[str]:
    """The working folder, and what entries of PYTHONPATH that start from it lead to."""
    # With os alone: any other module, pathlib too, might be a file in such a folder.
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    try:
        found = {os.path.realpath(entry) for entry in given if not os.path.isabs(entry)}  # noqa: PTH117
        return found | {os.path.realpath(os.getcwd())}  # noqa: PTH109
    except OSError:  # the working folder is gone
        return set()


if __name__ == "__main__":
    # Python has put the working folder first on its path. It may hold anything besides scans,
    # and no file in it shall stand for a module. This package finds its own modules where it
    # was found; packages that lie next to it come last.
    if not sys.flags.safe_path:
        del sys.path[0]
    _put_library_first()
    from pathlib import Path

    sys.path.append(str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
