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
from langchain_docker_model._progress import Run, relayed_progress, relayed_progress_async
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

    LangChain recommends chat models for new code: `ChatDockerModel` supports messages, tools,
    structured output and images. This class sends one prompt and returns one text.

    Setup:
        ```bash
        docker model pull ai/smollm2
        pip install "docker-model-llm[langchain]"
        ```

    Key init args:
        * model: The model's name.
        * stop, max_chars: Where an answer ends.
        * timeout, max_concurrency: Limits for each call.
        * standby: Processes that wait for a prompt, so that answers start sooner.
        * pull: `"missing"` pulls a missing model first.

    A call accepts the same settings, which then override the model's own. Parameters that this
    class does not support, such as `temperature`, raise an error and are never ignored.
    Constructing a model starts no process and sends no request. A model can be pickled and used
    from any thread and event loop. Each error is a `docker_model` error and also a LangChain
    error: `langchain_docker_model.errors` lists them.

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

        Leaving the loop stops the model immediately, also in chains. There is one exception:
        in a synchronous stream of a chain with a parser (`prompt | llm | parser`), LangChain
        itself reads the answer to its end for tracing.

    Async:
        ```python
        await llm.ainvoke("What is Docker Model Runner?")

        async for piece in llm.astream("Explain containers."):
            print(piece, end="", flush=True)
        ```

    Several prompts concurrently:
        ```python
        llm.batch(["What is a pod?", "What is an image?"])
        ```
    """

    # Otherwise a validation error would show all settings, including `env`.
    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    model: str
    """The model's name, exactly as `docker model run` accepts it."""

    stop: str | Sequence[str] | None = ()
    """Stop sequences: the earliest match ends the answer and is not part of it."""

    max_chars: int | None = None
    """Maximum length of the answer in characters; at the limit, `finish_reason` is `"length"`."""

    timeout: Timeouts | float | None = Timeouts()
    """Seconds for each phase of a call; a plain number limits the whole call."""

    max_concurrency: int = 8
    """Maximum concurrent runs in this process, shared by models with the same command and `env`."""

    pull: PullPolicy = "never"
    """What to do if the model is missing: `"never"` raises an error, `"missing"` pulls it first."""

    on_progress: Callable[[Progress], object] | None = Field(default=None, repr=False, exclude=True)
    """Function called with the `Progress` of each call, such as `print`; it must not block."""

    file_references: FileReferences = "escape"
    """What to do if the prompt names local files, which the CLI would read and send."""

    standby: int = 0
    """Number of started `docker model run` processes that wait for a prompt."""

    command: str | Sequence[str] | None = None
    """The command to run instead of `docker model`, such as `("docker", "-c", "gpu", "model")`."""

    env: dict[str, str] | None = Field(default=None, repr=False, exclude=True)
    """Extra environment variables; never shown, traced or part of a cache key.

    Two models that differ only in `env`, such as the addresses of two runners, share cached
    answers. Give each model its own `cache`.
    """

    transport: TransportName | None = None
    """`"cli"`, `"http"`, or `None`: the CLI, unless `base_url` or `api_key` is set."""

    base_url: str | None = None
    """Address of the HTTP API, which selects HTTP; by default the class finds the runner."""

    api_key: SecretStr | str | None = None
    """Bearer token; sent only to an address that you set."""

    if not TYPE_CHECKING:  # type checkers derive the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            # Not in a validator, where pydantic would turn these errors into a `ValidationError`.
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
        """Load the model and start the standby processes, to make the first answer faster."""
        with as_langchain_errors():
            self._docker_model({}).warm_up()

    async def awarm_up(self) -> None:
        """Load the model and start the standby processes, to make the first answer faster."""
        with as_langchain_errors():
            await self._docker_model({}).awarm_up()

    def close(self) -> None:
        """Stop the standby processes; the model stays usable."""
        with as_langchain_errors():
            self._docker_model({}).close()

    async def aclose(self) -> None:
        """Stop the standby processes; the model stays usable."""
        with as_langchain_errors():
            await self._docker_model({}).aclose()

    # --- Structured output and tokens ---

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Raise an error, because this class has no structured output.

        Raises:
            UnsupportedParameterError: If this method is called.
        """
        msg = "DockerModelLLM has no structured output"
        hint = "use ChatDockerModel(model=…).with_structured_output(schema)"
        raise UnsupportedParameterError(msg, hint=hint)

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of `text` as a prompt, exactly as the engine does.

        The request always uses HTTP, whatever the transport of prompts, and loads the model. With
        `custom_get_token_ids`, there is no request.

        Raises:
            UnsupportedParameterError: If the HTTP API is not found, or if `transport="cli"`.
        """
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        with as_langchain_errors():
            return self._docker_model({}).count_tokens(text) if text else 0

    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of `text`, from `custom_get_token_ids`.

        Raises:
            NotImplementedError: If `custom_get_token_ids` is not set.
        """
        return _settings.token_ids(self.custom_get_token_ids, text)

    # --- LangChain's public methods: messages can contain only text ---

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
        """Answer several prompts concurrently; the first failure cancels the others."""
        _check_text(prompts)
        return super().generate_prompt(prompts, stop, callbacks, **kwargs)

    async def agenerate_prompt(
        self,
        prompts: list[PromptValue],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several prompts concurrently; the first failure cancels the others."""
        _check_text(prompts)
        return await super().agenerate_prompt(prompts, stop, callbacks, **kwargs)

    # --- LangChain's public methods: settings of a call are applied to a copy of the model ---
    # Core leaves the settings of a call out of the cache key, so that a call with another model
    # would get a cached answer of this model. Core also puts them into traces, including `env`.

    def generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several prompts concurrently; the first failure cancels the others."""
        llm, kwargs = self._for_call(kwargs)
        return super(DockerModelLLM, llm).generate(prompts, stop, callbacks, **kwargs)

    async def agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Callbacks | list[Callbacks] | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several prompts concurrently; the first failure cancels the others."""
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
        """Yield pieces of the answer's text as they arrive."""
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
        """Yield pieces of the answer's text as they arrive."""
        llm, kwargs = self._for_call(kwargs)
        return super(DockerModelLLM, llm).astream(input, config, stop=stop, **kwargs)

    # --- Methods that `LLM` requires ---

    @property
    def _llm_type(self) -> str:
        return "docker_model"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """The settings that change the answer: the cache key, and part of every trace.

        The key is not `stop`, because core overwrites `stop` with the stop sequences of the call.
        """
        return {
            "model": self.model,
            "stop_sequences": self._stop_sequences(),
            "max_chars": self.max_chars,
            "file_references": self.file_references,
            "command": self.command,
            "transport": self.transport,
            "base_url": self.base_url,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self._stop_sequences(), **kwargs)
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

    # With several prompts, core passes only the run manager of the first prompt.

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

        with as_langchain_errors(), relayed_progress(self, Run.of(run_manager)) as on_progress:
            model = self._docker_model({**kwargs, "on_progress": on_progress})
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
            async with relayed_progress_async(self, Run.of(run_manager)) as on_progress:
                model = self._docker_model({**kwargs, "on_progress": on_progress})
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
            relayed_progress(self, Run.of(run_manager)) as on_progress,
            self._docker_model({**kwargs, "on_progress": on_progress}).stream(
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
                relayed_progress_async(self, Run.of(run_manager)) as on_progress,
                self._docker_model({**kwargs, "on_progress": on_progress}).astream(
                    prompt, stop=stop or None
                ) as stream,
            ):
                async for event in stream.events():
                    chunk = _chunk_of(event)
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    # --- Settings ---

    def _stop_sequences(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    def _for_call(self, kwargs: dict[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Return the model with the settings of a call, and the keywords for core."""
        if kwargs.keys() <= _CORE_KEYWORDS:
            return self, kwargs
        fields = type(self).model_fields.keys() - LLM.model_fields.keys()
        settings = {name: value for name, value in kwargs.items() if name in fields}
        others = {name: value for name, value in kwargs.items() if name not in fields}
        _check_call(type(self), others.keys(), fields)
        return (self.model_copy(update=settings) if settings else self), others

    def _docker_model(self, settings: Mapping[str, Any]) -> docker_model.DockerModel:
        """Return a `docker_model.DockerModel` with the current fields and the call's settings.

        It is created for each call, which is cheap. A stored model would be outdated after a
        field is assigned, and would be part of copies and pickles.
        """
        _check_call(type(self), settings.keys(), _SETTINGS)
        values = {name: getattr(self, name) for name in _SETTINGS} | dict(settings)
        values["stop"] = values["stop"] or ()
        values["api_key"] = _settings.secret_text(values["api_key"])
        return standby_model_for(self, docker_model.DockerModel(**values))


_SETTINGS = DockerModelLLM.model_fields.keys() - LLM.model_fields.keys()
_CORE_KEYWORDS = frozenset({"metadata", "run_id", "run_name", "tags"})  # of BaseLLM.generate
_LENGTH_LIMITS = frozenset({"max_completion_tokens", "max_tokens", "n_predict", "num_predict"})
# Parameters of other LangChain classes or of the runner's API that `DockerModelLLM` cannot use.
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
    """Raise an error for keywords of a call that are not settings.

    Raises:
        UnsupportedParameterError: If there is one; the hint suggests a similar setting.
    """
    unknown = set(names) - set(known) - _CORE_KEYWORDS
    _refuse(unknown & _CHAT_ONLY)
    _settings.check_names(owner, unknown, set(known))


def _refuse(names: Iterable[str]) -> None:
    """Raise an error for parameters that `DockerModelLLM` cannot use.

    Raises:
        UnsupportedParameterError: If `names` is not empty.
    """
    refused = sorted(names)
    if not refused:
        return
    msg = f"DockerModelLLM cannot use {', '.join(refused)}"
    hint = "leave it out, or use ChatDockerModel, which uses the runner's HTTP API"
    for name in refused:
        if (other := other_name(name) or name) != name:
            hint += f"; there, {name} is called {other}"
    if not _LENGTH_LIMITS.isdisjoint(refused):
        hint += "; max_chars= limits the length of an answer here"
    raise UnsupportedParameterError(msg, hint=hint)


def _check_text(prompts: Iterable[PromptValue]) -> None:
    """Raise an error for message content that would be lost in the prompt's text.

    Raises:
        UnsupportedParameterError: If a message contains an image, audio or a file.
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
        hint = "use ChatDockerModel with a model that supports this content"
        raise UnsupportedParameterError(msg, hint=hint)


# --- Answers as LangChain's classes ---


def _chunk_of(event: Event) -> GenerationChunk:
    """Return the chunk for an event; the last chunk has no text.

    Core adds chunks together, which joins strings and sums numbers. So constant values are only
    in the last chunk. The reasoning is not in the last chunk, because earlier chunks have it.
    """
    if isinstance(event, Completion):
        check_answered(event)
        return GenerationChunk(text="", generation_info=_ending(event))
    if isinstance(event, ReasoningDelta):
        return GenerationChunk(text="", generation_info={"reasoning": event.text})
    return GenerationChunk(text=event.text)


def _result_of(completions: Sequence[Completion]) -> LLMResult:
    """Return one generation per prompt; `llm_output` has the sum of the token counts."""
    llm_output: dict[str, Any] = {"model_name": completions[0].model} if completions else {}
    usages = [asdict(completion.usage) for completion in completions if completion.usage]
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
