"""`isc.stages` as a path to import from: the module is `isc.build.stages`, and there is one of it."""

import sys

from isc.build import stages
from isc.build.stages import *  # noqa: F403 - what type checkers see here

sys.modules[__name__] = stages
