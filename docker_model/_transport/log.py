"""The package's logger: names and counts only, no prompts, answers, variables or keys."""

from __future__ import annotations

import logging

LOG = logging.getLogger("docker_model")
LOG.addHandler(logging.NullHandler())  # otherwise Python prints warnings to stderr
