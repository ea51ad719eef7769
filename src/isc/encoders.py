"""`isc.encoders` as a path to import from: the module is `isc.encoding.encoders`, and there is one of it."""

import sys

from isc.encoding import encoders
from isc.encoding.encoders import *  # noqa: F403 - what type checkers see here

sys.modules[__name__] = encoders
