"""What the plugin's version decides, for a program that calls it."""

from __future__ import annotations


def rank(version: str) -> tuple[int, ...]:
    """Put versions in the order of their release.

    Until February 2026 the plugin had numbers of its own (`p1.0.7`, or `cli-v1.0.7`), which
    the runner's `v1.0.18` follows although both begin with 1.0.
    """
    own = version.startswith(("p", "cli-"))
    numbers = [int(part) for part in version.removeprefix("cli-").lstrip("pv").split(".")]
    return (*numbers[:2], int(not own and numbers[0] > 0), *numbers[2:])


class Features:
    """The differences between versions; every name says what newer ones do.

    Attributes:
        version: As `docker model version` prints it.
    """

    def __init__(self, version: str) -> None:
        self.version = version.removeprefix("cli-").replace("p", "v", 1)
        here = rank(version)

        def since(first: str) -> bool:
            return here >= rank(first)

        self.color_flag = since("v0.1.41")
        self.usage_line = since("v0.1.41")
        self.list_filter = since("v0.1.41")
        self.detach = since("v0.1.45")
        self.canceled_with_docker = since("v0.1.45")
        self.safetensors_shown = since("v0.1.45")
        self.backend_flag = not since("v0.1.46")
        self.prompt_rewritten = since("v0.1.46")
        self.name_completed = since("v0.1.46") and not since("p1.0.0")
        self.latest_hidden = since("v0.1.46")
        self.use_shown = since("v0.1.46")
        self.name_needs_slash = not since("v0.1.46") or version in ("p1.0.0", "cli-v1.0.0")
        self.ids_allowed = since("p1.0.0")
        self.hints_in_chat = since("p1.0.0")
        self.registry_hidden = since("p1.0.0")
        self.argument_plural = since("p1.0.1")
        self.relaxed_pulls = since("p1.0.1")
        self.memory_check_flag = not since("p1.0.5")
        self.configurations_shown = since("p1.0.6")
        self.names_as_typed = since("p1.0.7")
        self.openaiurl = since("p1.0.7")
        self.list_filter_openai = since("p1.0.7")
        self.wide_tables = since("p1.0.7")
        self.status_asks_daemon = since("p1.0.7")
        self.kind_in_status = since("p1.0.7")
        self.null_config = since("p1.0.7")
        self.list_checks_arguments = since("p1.0.7")
        self.interactive_needs_terminal = since("p1.0.7")
        self.preload_header = since("v1.0.18")
        self.host_without_scheme = since("v1.0.18")
        self.plain_lines_shown = since("v1.0.18")
        self.until_column = since("v1.0.18")
        self.reinstall_hint = since("v1.0.18")
        self.version_block = since("v1.1.3")
        self.new_engine_text = since("v1.1.3")
        self.status_table = since("v1.1.3")
        self.tool_calls_answered = since("v1.1.26")
        self.loading_shown = since("v1.1.26")
        self.websearch_flag = since("v1.1.28")
        self.bad_pull_data_refused = since("v1.1.29")
        self.format_hint = since("v1.1.39")
        self.running_in_lower_case = since("v1.1.39")
