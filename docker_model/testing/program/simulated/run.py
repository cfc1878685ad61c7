"""`docker model run`, one prompt and one answer."""

from __future__ import annotations

import os
import stat

from .chat import Chat, ChatError
from .http import QueryError, Unavailable
from .models import ask_model, complete_name
from .pull import pull
from .texts import GO_SPACE, CommandError, arguments, go_text, next_steps, not_running, out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .flags import Flags
    from .place import Place
    from .process import Plugin
    from .versions import Features

LINE = " run MODEL [PROMPT]"
CHAT = "/engines/v1/chat/completions"
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


def known_flags(features: Features) -> tuple[dict[str, str], dict[str, str]]:
    """The flags of `run`, as `flags.parse` takes them."""
    known = {"debug": "bool"}
    shorts = {}
    if features.color_flag:
        known["color"] = "string"
    if features.backend_flag:
        known["backend"] = "string"
    if features.memory_check_flag:
        known["ignore-runtime-memory-check"] = "bool"
    if features.detach:
        known["detach"] = "bool"
        shorts["d"] = "detach"
    if features.openaiurl:
        known["openaiurl"] = "string"
    if features.websearch_flag:
        known["websearch"] = "bool"
    return known, shorts


def run(plugin: Plugin, features: Features, place: Place, flags: Flags) -> None:
    """Do it, in the order of the real one.

    Raises:
        CommandError: See there.
    """
    color = flags.text("color", "no")
    if not flags.words:
        need = "at least 1 argument"
        raise arguments("run", LINE, need + ("(s)." if features.color_default_no else "."))
    if color not in ("auto", "yes", "no"):
        msg = f'--color must be one of: auto, yes, no (got "{color}")'
        raise CommandError(msg)
    model = flags.words[0]
    prompt = " ".join(flags.words[1:])
    detach = flags.on("detach")
    if not detach:
        prompt = _add_stdin(plugin, prompt)
    if flags.on("debug"):
        out(f"Running model {model}" + (f" with prompt {prompt}" if prompt else "") + "\n")
    if flags.text("openaiurl"):
        if detach:
            msg = "--detach flag cannot be used with --openaiurl flag"
            raise CommandError(msg)
        place.client.redirect(flags.text("openaiurl").rstrip("/"))
        if not prompt:
            _interactive(features)
            return
        _answer(Chat(plugin, place.client, features), "/chat/completions", model, prompt)
        return
    place.need_engine()
    model = complete_name(model, features)
    if not ask_model(place.client, features, model):
        out(f"Unable to find model '{model}' locally. Pulling from the server.\n")
        pull(plugin, features, place, model)
    if detach:
        _preload(features, place, model)
        if flags.on("debug"):
            out(f"Model {model} loaded successfully\n")
    elif prompt:
        _prompt(plugin, features, place, model, prompt)
    else:
        _interactive(features)


def _add_stdin(plugin: Plugin, prompt: str) -> str:
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return prompt
    if stat.S_ISCHR(mode):
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


def _prompt(plugin: Plugin, features: Features, place: Place, model: str, prompt: str) -> None:
    content: object = go_text(prompt)
    if features.prompt_rewritten:
        content = _rewrite(go_text(prompt))
    _answer(Chat(plugin, place.client, features), CHAT, model, content)


def _rewrite(prompt: str) -> object:
    lower = prompt.lower()
    if "@" not in lower and not any(ending in lower for ending in IMAGE_ENDINGS):
        return prompt.strip(GO_SPACE)
    # Imported here because it needs `re`, which most prompts can do without.
    from .prompt import PromptError, rewrite  # noqa: PLC0415

    try:
        return rewrite(prompt)
    except PromptError as error:
        msg = f"Failed to generate a response: {error}"
        raise CommandError(msg) from None


def _answer(chat: Chat, path: str, model: str, content: object) -> None:
    try:
        chat.run(path, model, content)
    except Unavailable:
        raise not_running() from None
    except (ChatError, QueryError) as error:
        text = str(error)
        if "vLLM binary not found" in text:
            step = (
                "It looks like you're trying to use a model for vLLM → "
                "docker model reinstall-runner --backend vllm --gpu cuda"
            )
            text = f"{text}\n{next_steps(step)}"
        else:
            text = f"Failed to generate a response: {text}"
        raise CommandError(text) from None
    out("\n")


def _preload(features: Features, place: Place, model: str) -> None:
    body = {"model": model, "messages": [], "stream": False}
    headers = {"X-Preload-Only": "true"} if features.preload_header else {}
    if not features.preload_header:
        body = {"model": model, "messages": [{"role": "user", "content": ""}], "stream": True}
    try:
        reply = place.client.attempt("POST", CHAT, body, headers=headers)
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
