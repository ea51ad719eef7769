"""`isc.template` as a path to import from: the module is `isc.traced.template`, and there is one of it."""

import sys

from isc.traced import template
from isc.traced.template import *  # noqa: F403 - what type checkers see here

sys.modules[__name__] = template
