"""``python -m covidctnet``."""

import sys

if __name__ == "__main__":
    # Python has put the working folder first on its path. It may hold anything beside scans, and no
    # file in it shall stand for a module. This package finds its own modules where it was found;
    # packages that lie beside it come last.
    if not sys.flags.safe_path:
        del sys.path[0]
    from pathlib import Path

    sys.path.append(str(Path(__file__).resolve().parents[1]))

    from covidctnet.cli import main

    sys.exit(main())
