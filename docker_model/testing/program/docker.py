"""The simulated `docker`, a program of its own: `python -S -E docker.py ADDRESS model …`.

With `--plugin` in front of `ADDRESS` it is the plugin alone, started without `docker`.

It imports nothing of `docker_model` and next to nothing of the standard library, so that
it starts in about 10 ms. `ADDRESS` is where the test's process listens; what it says and
does is decided there, see `docker_model.testing.SimulatedDocker`.
"""

import sys
from _signal import SIG_DFL, SIG_IGN, SIGINT, getsignal, signal  # type: ignore[import-not-found]

if getsignal(SIGINT) != SIG_IGN:
    # Python's own handler would answer with a traceback while this program starts.
    signal(SIGINT, SIG_DFL)

# Found beside this script: a script's own directory is the first on its path.
from simulated.main import main  # type: ignore[import-not-found]

front = sys.argv[1] != "--plugin"
address, *words = sys.argv[1 if front else 2 :]
main(address, words, front=front)
