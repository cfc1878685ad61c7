"""A runner with OpenAI's API whose replies the tests write, and who remembers what was asked."""

from __future__ import annotations

from docker_model.testing import Event, Finish, Raw, Reply, SimulatedDocker
from llama_index_docker_model import DockerModelLLM


def model(runner, **settings):
    """A model that asks this runner for tools as they are, without a look at its template."""
    settings = {"tool_calling": "native", **settings}
    return DockerModelLLM(model="ai/smollm2", base_url=runner.url, **settings)


def reply(
    content="Hello.", *, calls=(), reasoning=None, finish="stop", thoughts="reasoning_content"
):
    message = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"type": "function", "function": {"name": name, "arguments": arguments}, **more}
            for name, arguments, more in calls
        ]
        finish = "tool_calls"
    if reasoning:
        message[thoughts] = reasoning
    return message, finish


class Runner:
    """Answers chats with `replies` in turn, the last for good; texts with their lengths."""

    def __init__(self):
        self.replies = [reply()]
        self.embedding_error = None
        self.told = {}  # beside the answers
        embed = {"POST /v1/embeddings": lambda request: self.embed(request.body)}
        self._docker = SimulatedDocker(None, script=self._answer, replies=embed).open()
        self.url = self._docker.url

    @property
    def _posts(self):
        return [request for request in self._docker.requests if request.method == "POST"]

    @property
    def asked(self):
        return [request.body for request in self._posts]

    @property
    def headers(self):
        posts = [request.headers for request in self._posts]
        return [{name.title(): value for name, value in headers.items()} for headers in posts]

    def _answer(self, prompt):
        message, finish = self.next()
        told = {"usage": USAGE, **self.told}
        if prompt.body.get("stream"):
            choices = [{"delta": delta} for delta in deltas(message)]
            choices.append({"delta": {}, "finish_reason": finish})
            yield from (Event({"choices": [{"index": 0, **each}]}) for each in choices)
            yield Event({"choices": [], **told})
            yield Raw(b"data: [DONE]\n\n")
            yield Finish(None)
        else:
            choice = {"index": 0, "message": message, "finish_reason": finish}
            yield Reply(body={"model": "/a/file", **told, "choices": [choice]})

    def next(self):
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def embed(self, body):
        if self.embedding_error:
            return Reply(400, {"error": {"code": 400, "message": self.embedding_error}})
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0]}
            for index, text in enumerate(body["input"])
        ]
        counts = {"usage": {"prompt_tokens": 1}}
        return Reply(body={"object": "list", "data": data[::-1], **counts})

    def close(self):
        self._docker.close()


USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def deltas(message):
    yield {"role": "assistant", "content": None}
    for thoughts in ("reasoning_content", "reasoning"):
        if thoughts in message:
            yield {thoughts: message[thoughts]}
    text = message["content"] or ""
    yield from ({"content": text[at : at + 5]} for at in range(0, len(text), 5))
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        yield {"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]}
        for at in range(0, len(function["arguments"]), 7):
            piece = {"arguments": function["arguments"][at : at + 7]}
            yield {"tool_calls": [{"index": index, "function": piece}]}
