"""`python -m isc` is the command `isc`."""

import sys

from isc.cli import main

if __name__ == "__main__":
    sys.exit(main())
