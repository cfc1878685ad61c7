"""`docker model run`, one prompt and one answer."""

from __future__ import annotations

import os
import stat

from .chat import Chat, ChatError
from .http import QueryError, Unavailable
from .models import complete_name, has_model, one_argument
from .pull import pull
from .texts import (
    GO_SPACE,
    CommandError,
    go_text,
    next_steps,
    not_running,
    out,
    refuse_arguments,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .flags import Flags
    from .process import Plugin
    from .session import Session
    from .versions import Features

LINE = " run MODEL [PROMPT]"
CHAT = "/engines/v1/chat/completions"
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
FOR_VLLM = "It looks like you're trying to use a model for vLLM → docker model "


def known_flags(features: Features) -> tuple[dict[str, str], dict[str, str]]:
    """The flags of `run`, as `flags.parse` takes them."""
    flags = (
        ("debug", "bool", True),
        ("color", "string", features.color_flag),
        ("backend", "string", features.backend_flag),
        ("ignore-runtime-memory-check", "bool", features.memory_check_flag),
        ("detach", "bool", features.detach),
        ("openaiurl", "string", features.openaiurl),
        ("websearch", "bool", features.websearch_flag),
    )
    known = {name: kind for name, kind, there in flags if there}
    return known, {"d": "detach"} if features.detach else {}


def run(session: Session, flags: Flags) -> None:
    """Do it, in the order of the real one.

    Raises:
        CommandError: See there.
    """
    color = flags.text("color", "no")
    if not flags.words:
        refuse_arguments("run", LINE, f"at least {one_argument(session.features)}")
    if color not in ("auto", "yes", "no"):
        msg = f'--color must be one of: auto, yes, no (got "{color}")'
        raise CommandError(msg)
    model = complete_name(flags.words[0], session.features)
    prompt = " ".join(flags.words[1:])
    if not flags.on("detach"):
        prompt = _add_stdin(session.plugin, prompt)
    if flags.on("debug"):
        out(f"Running model {model}" + (f" with prompt {prompt}" if prompt else "") + "\n")
    if flags.text("openaiurl"):
        _ask_elsewhere(session, flags, model, prompt)
        return
    session.need_engine()
    if not has_model(session, model):
        out(f"Unable to find model '{model}' locally. Pulling from the server.\n")
        pull(session, model)
    if flags.on("detach"):
        _preload(session, model)
        if flags.on("debug"):
            out(f"Model {model} loaded successfully\n")
        return
    _ask(session, CHAT, model, prompt, rewritten=session.features.prompt_rewritten)


def _add_stdin(plugin: Plugin, prompt: str) -> str:
    if stat.S_ISCHR(os.fstat(0).st_mode):
        return prompt
    parts = []
    while True:
        plugin.wait(0)
        data = os.read(0, 1 << 20)
        if not data:
            break
        parts.append(data)
    text = b"".join(parts).decode("utf-8", "surrogateescape")
    return f"{prompt}\n\n{text}" if prompt else text


def _ask_elsewhere(session: Session, flags: Flags, model: str, prompt: str) -> None:
    if flags.on("detach"):
        msg = "--detach flag cannot be used with --openaiurl flag"
        raise CommandError(msg)
    session.client.redirect(flags.text("openaiurl").rstrip("/"))
    _ask(session, "/chat/completions", model, prompt, rewritten=False)


def _ask(session: Session, path: str, model: str, prompt: str, *, rewritten: bool) -> None:
    if not prompt:
        _interactive(session.features)
        return
    content: object = go_text(prompt)
    try:
        if rewritten:
            content = _rewrite(go_text(prompt))
        Chat(session).run(path, model, content)
    except Unavailable:
        raise not_running(hint=session.features.hints_in_chat) from None
    except (ChatError, QueryError) as error:
        text = str(error)
        if "vLLM binary not found" in text and session.features.hints_in_chat:
            new = session.features.reinstall_hint
            command = (
                "reinstall-runner --backend vllm --gpu cuda" if new else "install-runner --vllm"
            )
            msg = f"{text}\n{next_steps(FOR_VLLM + command)}"
        else:
            msg = f"Failed to generate a response: {text}"
        raise CommandError(msg) from None
    out("\n")


def _rewrite(prompt: str) -> object:
    lower = prompt.lower()
    if "@" not in lower and not any(ending in lower for ending in IMAGE_ENDINGS):
        return prompt.strip(GO_SPACE)
    # Imported here because it needs `re`, which most prompts can do without.
    from .prompt import PromptError, rewrite  # noqa: PLC0415

    try:
        return rewrite(prompt)
    except PromptError as error:
        raise ChatError(str(error)) from None


def _preload(session: Session, model: str) -> None:
    preload = session.features.preload_header
    messages = [] if preload else [{"role": "user", "content": ""}]
    body = {"model": model, "messages": messages, "stream": not preload}
    headers = {"X-Preload-Only": "true"} if preload else {}
    try:
        reply = session.client.attempt("POST", CHAT, body, headers=headers)
    except QueryError as error:
        msg = f"Failed to load model: {error}"
        raise CommandError(msg) from None
    text = reply.read()
    if reply.status != 200:  # noqa: PLR2004 - HTTP's own number
        msg = f"Failed to load model: preload failed: status={reply.status} body={text}"
        raise CommandError(msg)


def _interactive(features: Features) -> None:
    # There is no terminal: readline gives up, which old versions took for the end of a chat.
    if features.interactive_needs_terminal:
        msg = "inappropriate ioctl for device"
        raise CommandError(msg)
    if features.detach:
        out("> ")
    else:
        banner = "Interactive chat mode started. Type '/bye' to exit.\n"
        out(banner + "> \nChat session ended.\n")
