"""``python -m covidctnet``."""

import sys

from covidctnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
