"""`DockerModelLLM`: a local model of Docker Model Runner as a LangChain LLM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.prompt_values import StringPromptValue
from pydantic import ConfigDict, Field, SecretStr, model_validator

import docker_model
from docker_model._setting_names import other_name
from docker_model._version import __version__
from docker_model.client import standby_model_for
from docker_model.options import FileReferences, PullPolicy, Timeouts, TransportName
from docker_model.types import Completion, Progress, ReasoningDelta
from langchain_docker_model import _concurrency, _settings
from langchain_docker_model._messages import media_in
from langchain_docker_model._progress import Run, heard_by, heard_by_async
from langchain_docker_model._replies import check_answered
from langchain_docker_model.errors import UnsupportedParameterError, as_langchain_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
    from typing import Self

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        CallbackManagerForLLMRun,
        Callbacks,
    )
    from langchain_core.language_models.base import LangSmithParams, LanguageModelInput
    from langchain_core.prompt_values import PromptValue
    from langchain_core.runnables import Runnable, RunnableConfig

    from docker_model.types import Event

__all__ = ["DockerModelLLM"]


class DockerModelLLM(_settings.FromEnv, _settings.ListsModels, _settings.TraceRepr, LLM):
    """A local model of Docker Model Runner, reached through the `docker model` command.

    For new code LangChain recommends chat models: `ChatDockerModel` has messages, tools,
    structured output and images. This class sends one prompt and returns one text.

    Setup:
        ```bash
        docker model pull ai/smollm2
        pip install "docker-model-llm[langchain]"
        ```

    Key init args:
        * model: The model's name.
        * stop, max_chars: Where an answer ends.
        * timeout, max_concurrency: Limits of a call.
        * standby: Processes that wait for a prompt, so that answers begin sooner.
        * pull: `"missing"` pulls a missing model first.

    Any of the settings may also be given to a single call, where it takes the place of the
    model's own. What one prompt and one text have no place for, such as `temperature`, is
    refused with an error and never ignored. Constructing a model starts nothing; it pickles, and
    works from any thread and event loop. Errors are `docker_model`'s and LangChain's at once:
    see `langchain_docker_model.errors`.

    Instantiate:
        ```python
        from langchain_docker_model import DockerModelLLM

        llm = DockerModelLLM(model="ai/smollm2", max_chars=2000)
        ```

    Invoke:
        ```python
        llm.invoke("What is Docker Model Runner?")
        llm.invoke("What is a pod?", max_chars=200)
        ```

    Stream:
        ```python
        for piece in llm.stream("Explain containers."):
            print(piece, end="", flush=True)
        ```

        Leaving the loop ends the model's work at once, in chains too, with one exception that
        is LangChain's own: a synchronous stream of a chain with a parser
        (`prompt | llm | parser`) reads the model to its end for the sake of tracing.

    Async:
        ```python
        await llm.ainvoke("What is Docker Model Runner?")

        async for piece in llm.astream("Explain containers."):
            print(piece, end="", flush=True)
        ```

    Several prompts at once:
        ```python
        llm.batch(["What is a pod?", "What is an image?"])
        ```
    """

    # A refused setting's error would otherwise show the others, `env` among them.
    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    model: str
    """The model's name exactly as `docker model run` takes it."""

    stop: str | Sequence[str] | None = ()
    """Stop sequences: the earliest match ends the answer and is not part of it."""

    max_chars: int | None = None
    """The longest answer, in characters; a longer one ends with `finish_reason="length"`."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a call; a plain number is for the whole call."""

    max_concurrency: int = 8
    """Runs at once in this process, among all models with the same command and `env`."""

    pull: PullPolicy = "never"
    """What to do about a missing model: `"never"` raises, `"missing"` pulls it first."""

    on_progress: Callable[[Progress], object] | None = Field(default=None, repr=False, exclude=True)
    """Called with the `Progress` of each call, such as `print`; it must not block."""

    file_references: FileReferences = "escape"
    """What to do about local files that the prompt names, which the CLI would send along."""

    standby: int = 0
    """How many started `docker model run` processes wait for a prompt."""

    command: str | Sequence[str] | None = None
    """The command in place of `docker model`, such as `("docker", "-c", "gpu", "model")`."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Environment variables laid over the caller's; never shown, traced or part of a cache key.

    Two models that differ in `env` alone, such as two runners' addresses, share cached answers:
    give each a `cache` of its own.
    """

    transport: TransportName | None = None
    """`"cli"`, `"http"`, or `None`: the CLI, unless `base_url` or `api_key` is given."""

    base_url: str | None = None
    """The HTTP API's address, which selects HTTP; without one the runner is found."""

    api_key: SecretStr | str | None = None
    """Sent as a bearer token, and only to an address that you have named."""

    if not TYPE_CHECKING:  # type checkers make the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not validators: pydantic would turn these errors into its own.
            _refuse(settings.keys() & _CHAT_ONLY - type(self).model_fields.keys())
            _settings.refuse_address(settings)
            super().__init__(**settings)

    @model_validator(mode="before")
    @classmethod
    def _check_docker_model_names(cls, settings: Any) -> Any:
        if isinstance(settings, dict):
            _settings.check_names(cls, settings, cls.model_fields)
        return settings

    @model_validator(mode="after")
    def _check_docker_model_settings(self) -> Self:
        self._docker_model({})
        return self

    @model_validator(mode="after")
    def _set_docker_model_llm_version(self) -> Self:
        self._add_version("docker-model-llm", __version__)
        return self

    # --- Loading ---

    def warm_up(self) -> None:
        """Load the model and fill the standby, so that the first answer comes soon."""
        with as_langchain_errors():
            self._docker_model({}).warm_up()

    async def awarm_up(self) -> None:
        """Load the model and fill the standby, so that the first answer comes soon."""
        with as_langchain_errors():
            await self._docker_model({}).awarm_up()

    def close(self) -> None:
        """End the processes in standby; the model stays usable."""
        with as_langchain_errors():
            self._docker_model({}).close()

    async def aclose(self) -> None:
        """End the processes in standby; the model stays usable."""
        with as_langchain_errors():
            await self._docker_model({}).aclose()

    # --- What LangChain's LLMs have, and this one cannot do ---

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Raise: one prompt and one text have no schema.

        Raises:
            UnsupportedParameterError: If it is called.
        """
        msg = "DockerModelLLM has no structured output"
        hint = "use ChatDockerModel(model=…).with_structured_output(schema)"
        raise UnsupportedParameterError(msg, hint=hint)

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of `text` as a prompt, exactly as the engine does.

        Only HTTP counts: `transport="http"`. Else `custom_get_token_ids` does.

        Raises:
            NotImplementedError: If neither HTTP nor `custom_get_token_ids` is chosen.
        """
        over_http = self.transport == "http" or self.base_url is not None
        if self.custom_get_token_ids is not None or not over_http:
            return len(self.get_token_ids(text))
        with as_langchain_errors():
            return self._docker_model({}).count_tokens(text)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of `text`, by `custom_get_token_ids`.

        Raises:
            NotImplementedError: If `custom_get_token_ids` is not set.
        """
        return _settings.token_ids(self.custom_get_token_ids, text)

    # --- LangChain's public methods: messages must be nothing but text ---

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        prompt = super()._convert_input(model_input)
        _check_text([prompt])
        return prompt

    def generate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several prompts at once; the first that fails ends the others."""
        _check_text(prompts)
        return super().generate_prompt(prompts, stop, callbacks, **kwargs)

    async def agenerate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several prompts at once; the first that fails ends the others."""
        _check_text(prompts)
        return await super().agenerate_prompt(prompts, stop, callbacks, **kwargs)

    # --- LangChain's public methods: a call's own settings become those of a copy ---
    # Core leaves a call's settings out of the cache key (a call with another model would
    # get this one's answer) and puts them into traces (`env` among them).

    def generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several prompts at once; the first that fails ends the others."""
        llm, kwargs = self._for_call(kwargs)
        return super(DockerModelLLM, llm).generate(prompts, stop, callbacks, **kwargs)

    async def agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several prompts at once; the first that fails ends the others."""
        llm, kwargs = self._for_call(kwargs)
        return await super(DockerModelLLM, llm).agenerate(prompts, stop, callbacks, **kwargs)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[str]:
        """Yield the answer's text in pieces, as they arrive."""
        llm, kwargs = self._for_call(kwargs)
        return super(DockerModelLLM, llm).stream(input, config, stop=stop, **kwargs)

    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[str]:
        """Yield the answer's text in pieces, as they arrive."""
        llm, kwargs = self._for_call(kwargs)
        return super(DockerModelLLM, llm).astream(input, config, stop=stop, **kwargs)

    # --- What core asks of an LLM ---

    @property
    def _llm_type(self) -> str:
        return "docker_model"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """The settings that change the answer: the cache key, and part of every trace.

        The stop sequences are not under `stop`, which core overwrites with a call's own.
        """
        return {
            "model": self.model,
            "stop_sequences": self._own_stops(),
            "max_chars": self.max_chars,
            "file_references": self.file_references,
            "command": self.command,
            "transport": self.transport,
            "base_url": self.base_url,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self._own_stops(), **kwargs)
        params["ls_provider"] = "docker_model"
        return params

    def _call(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> str:
        return self._generate([prompt], stop, run_manager, **kwargs).generations[0][0].text

    async def _acall(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> str:
        result = await self._agenerate([prompt], stop, run_manager, **kwargs)
        return result.generations[0][0].text

    # With several prompts, core hands over the manager of the first one's run alone.

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        def report(event: Event) -> None:
            if run_manager:
                chunk = _chunk_of(event)
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)

        with as_langchain_errors(), heard_by(self, Run.of(run_manager)) as heard:
            model = self._docker_model({**kwargs, "on_progress": heard})
            streams = [model.stream(prompt, stop=stop or None) for prompt in prompts]
            at_once = model.max_concurrency
            return _result_of(_concurrency.complete(streams, report, at_once=at_once))

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        async def report(event: Event) -> None:
            if run_manager:
                chunk = _chunk_of(event)
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)

        with as_langchain_errors():
            async with heard_by_async(self, Run.of(run_manager)) as heard:
                model = self._docker_model({**kwargs, "on_progress": heard})
                streams = [model.astream(prompt, stop=stop or None) for prompt in prompts]
                return _result_of(await _concurrency.acomplete(streams, report))

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        with (
            as_langchain_errors(),
            heard_by(self, Run.of(run_manager)) as heard,
            self._docker_model({**kwargs, "on_progress": heard}).stream(
                prompt, stop=stop or None
            ) as stream,
        ):
            for event in stream.events():
                chunk = _chunk_of(event)
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        with as_langchain_errors():
            async with (
                heard_by_async(self, Run.of(run_manager)) as heard,
                self._docker_model({**kwargs, "on_progress": heard}).astream(
                    prompt, stop=stop or None
                ) as stream,
            ):
                async for event in stream.events():
                    chunk = _chunk_of(event)
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    # --- Settings ---

    def _own_stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    def _for_call(self, kwargs: dict[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Return the model with a call's own settings, and the keywords that are core's."""
        if kwargs.keys() <= _RUN_KEYWORDS:
            return self, kwargs
        fields = type(self).model_fields.keys() - LLM.model_fields.keys()
        settings = {name: value for name, value in kwargs.items() if name in fields}
        others = {name: value for name, value in kwargs.items() if name not in fields}
        _check_call(type(self), others.keys(), fields)
        return (self.model_copy(update=settings) if settings else self), others

    def _docker_model(self, settings: Mapping[str, Any]) -> docker_model.DockerModel:
        """Return the core model: the fields as they are now, with a call's own in their place.

        Made anew for every call, which is cheap: one in a field would miss assignments,
        copies and pickling.
        """
        _check_call(type(self), settings.keys(), _SETTINGS)
        values = {name: getattr(self, name) for name in _SETTINGS} | dict(settings)
        values["stop"] = values["stop"] or ()
        values["api_key"] = _settings.secret_text(values["api_key"])
        return standby_model_for(self, docker_model.DockerModel(**values))


_SETTINGS = DockerModelLLM.model_fields.keys() - LLM.model_fields.keys()
_RUN_KEYWORDS = frozenset({"metadata", "run_id", "run_name", "tags"})  # of BaseLLM.generate
_LENGTH_LIMITS = frozenset({"max_completion_tokens", "max_tokens", "n_predict", "num_predict"})
# What LangChain's own classes and the runner's API have, and one prompt with one text has not.
_CHAT_ONLY = _LENGTH_LIMITS | {
    "best_of",
    "echo",
    "extra_body",
    "format",
    "frequency_penalty",
    "function_call",
    "functions",
    "grammar",
    "images",
    "keep_alive",
    "logit_bias",
    "logprobs",
    "max_retries",
    "min_p",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "model_kwargs",
    "n",
    "num_ctx",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning",
    "reasoning_effort",
    "repeat_last_n",
    "repeat_penalty",
    "response_format",
    "seed",
    "stream_options",
    "suffix",
    "system",
    "temperature",
    "tfs_z",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "typical_p",
    "user",
}


def _check_call(owner: type, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise for a call's keywords that are no settings.

    Raises:
        UnsupportedParameterError: If there is one; the hint says what may be meant.
    """
    unknown = set(names) - set(known) - _RUN_KEYWORDS
    _refuse(unknown & _CHAT_ONLY)
    _settings.check_names(owner, unknown, set(known))


def _refuse(names: Iterable[str]) -> None:
    """Raise for parameters that `DockerModelLLM` cannot use.

    Raises:
        UnsupportedParameterError: If there is one among `names`.
    """
    refused = sorted(names)
    if not refused:
        return
    msg = f"DockerModelLLM cannot use {', '.join(refused)}"
    hint = "leave it out, or take ChatDockerModel, which asks the runner's HTTP API"
    for name in refused:
        if (other := other_name(name) or name) != name:
            hint += f"; there, {name} is called {other}"
    if not _LENGTH_LIMITS.isdisjoint(refused):
        hint += "; max_chars= limits the length of an answer here"
    raise UnsupportedParameterError(msg, hint=hint)


def _check_text(prompts: Iterable[PromptValue]) -> None:
    """Raise for messages with content that the prompt's text would leave out.

    Raises:
        UnsupportedParameterError: If there is an image, audio or a file.
    """
    messages = [
        message
        for prompt in prompts
        if not isinstance(prompt, StringPromptValue)
        for message in prompt.to_messages()
    ]
    if not messages:
        return
    with as_langchain_errors():
        kind = media_in(messages)
    if kind is not None:
        msg = f"DockerModelLLM cannot send content of type {kind!r}, only text"
        raise UnsupportedParameterError(msg, hint="use ChatDockerModel, with a model that sees")


# --- Answers in LangChain's classes ---


def _chunk_of(event: Event) -> GenerationChunk:
    """Return the chunk for an event; the one for the end has no text.

    Core adds chunks up, and so joins strings and sums numbers: what is constant stands in
    the last chunk alone, and the reasoning, already given in pieces, does not stand there.
    """
    if isinstance(event, Completion):
        check_answered(event)
        return GenerationChunk(text="", generation_info=_ending(event))
    if isinstance(event, ReasoningDelta):
        return GenerationChunk(text="", generation_info={"reasoning": event.text})
    return GenerationChunk(text=event.text)


def _result_of(completions: Sequence[Completion]) -> LLMResult:
    """Return a generation for each prompt; `llm_output` has the sum of the known usage."""
    llm_output: dict[str, Any] = {"model_name": completions[0].model} if completions else {}
    usages = [asdict(each.usage) for each in completions if each.usage]
    if usages:
        llm_output["token_usage"] = {key: sum(usage[key] for usage in usages) for key in usages[0]}
    return LLMResult(
        generations=[[_generation_of(completion)] for completion in completions],
        llm_output=llm_output,
    )


def _generation_of(completion: Completion) -> Generation:
    check_answered(completion)
    info = _ending(completion)
    if completion.reasoning:
        info["reasoning"] = completion.reasoning
    return Generation(text=completion.text, generation_info=info)


def _ending(completion: Completion) -> dict[str, Any]:
    info: dict[str, Any] = {
        "finish_reason": completion.finish_reason,
        "model_name": completion.model,
    }
    if completion.usage:
        info["usage"] = asdict(completion.usage)
    return info
