"""The program: the command ``covidctnet``, and ``python -m covidctnet``."""

import os
import sys


def main() -> int:
    """Run the command line; see `covidctnet.cli.main`."""
    _put_library_first()
    from covidctnet.cli import main as run

    return run()


def _put_library_first() -> None:
    """Let no file in a folder of PYTHONPATH stand for a module of Python.

    An empty entry of PYTHONPATH is the working folder, which may hold anything besides scans. What
    stands in front of Python's own library goes right behind it, where it still comes before the
    packages of the installation.
    """
    library = os.__file__.rpartition(os.sep)[0]
    if library not in sys.path:
        return
    packed = f"{os.sep}python{sys.version_info[0]}{sys.version_info[1]}.zip"
    place = sys.path.index(library)
    before = [folder for folder in sys.path[:place] if not folder.endswith(packed)]
    end = place + 1
    if end < len(sys.path) and sys.path[end].endswith(f"{os.sep}lib-dynload"):
        end += 1
    sys.path[:end] = [folder for folder in sys.path[:end] if folder not in before] + before


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
