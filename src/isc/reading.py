"""`isc.reading` as a path to import from: the module is `isc.conversation.reading`, and there is one of it."""

import sys

from isc.conversation import reading
from isc.conversation.reading import *  # noqa: F403 - what type checkers see here

sys.modules[__name__] = reading
