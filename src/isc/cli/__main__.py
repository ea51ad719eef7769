"""`python -m isc.cli` is `isc`."""

import sys

from isc.cli import main

if __name__ == "__main__":  # worker processes import this module under another name
    sys.exit(main())
