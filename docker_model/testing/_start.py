"""Start the simulated `docker`: import `_program`, whose byte code Python caches for imports."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
from _program import main  # type: ignore[import-not-found]

main(sys.argv[1:])
