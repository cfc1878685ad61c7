"""The old name of `docker_model.management`, which stays importable."""

from docker_model.management import *  # noqa: F403
