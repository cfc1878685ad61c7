"""Alias of `docker_model.management`, kept for compatibility."""

from docker_model.management import *  # noqa: F403
