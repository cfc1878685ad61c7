"""A simulation with scripted replies that records its requests."""

from __future__ import annotations

from docker_model.testing import (
    Finish,
    Reasoning,
    Reply,
    SimulatedDocker,
    Text,
    ToolCall,
    Usage,
)
from llama_index_docker_model import DockerModelLLM

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def model(runner, **settings):
    """Return a model with native tool calling, so that the template is not inspected."""
    settings = {"tool_calling": "native", **settings}
    return DockerModelLLM(model="ai/smollm2", base_url=runner.url, **settings)


def reply(content="Hello.", *, calls=(), reasoning=None, finish=None, counted=False):
    steps = [ToolCall(name, arguments, **more) for name, arguments, more in calls]
    if content:
        steps.insert(0, Text(content))
    if reasoning:
        steps.insert(0, Reasoning(reasoning))
    if finish:
        steps.append(Finish(finish))
    return [*steps, Usage(7, 2)] if counted else steps


class Runner:
    """Sends `replies` in turn, the last one repeatedly; the embedding of a text is its length."""

    def __init__(self):
        self.replies = [reply()]
        embed = {"POST /v1/embeddings": self._embed}
        self._docker = SimulatedDocker(None, script=self._answer, replies=embed).open()
        self.url = self._docker.url

    @property
    def bodies(self):
        return [request.body for request in self._docker.requests if request.method == "POST"]

    @property
    def headers(self):
        return self._docker.requests[-1].headers

    def _answer(self, _prompt):
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def _embed(self, request):
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0]}
            for index, text in enumerate(request.body["input"])
        ]
        # Out of order, as an engine can send them: the index sets the order.
        return Reply(body={"object": "list", "data": data[::-1], "usage": {"prompt_tokens": 1}})

    def close(self):
        self._docker.close()
