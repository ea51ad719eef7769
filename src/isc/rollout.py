"""`isc.rollout` as a path to import from: the module is `isc.conversation.rollout`, and there is one of it."""

import sys

from isc.conversation import rollout
from isc.conversation.rollout import *  # noqa: F403 - what type checkers see here

sys.modules[__name__] = rollout
