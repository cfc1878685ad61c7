"""The package's logger: names and counts alone, never prompts, answers, environments or keys."""

from __future__ import annotations

import logging

LOG = logging.getLogger("docker_model")
LOG.addHandler(logging.NullHandler())  # else Python prints warnings to stderr by itself
