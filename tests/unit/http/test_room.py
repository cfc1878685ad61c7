"""A runner without free memory: another model is unloaded if `when_full` allows it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from docker_model.errors import InvalidRequestError, ModelLoadError
from docker_model.http import Client
from docker_model.http.room import longest_idle

CHAT = [{"role": "user", "content": "Hello"}]
FULL = "unable to load runner: llama.cpp failed: not enough GPU memory to load the model (CUDA)"
ANSWER = {
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    ]
}


class Runner(BaseHTTPRequestHandler):
    """Serve a runner that has room for one model, with another model loaded."""

    loaded = ()
    unloaded = ()

    def log_message(self, *_):
        pass

    def do_GET(self):
        kind = type(self)
        body = {
            "/engines/v1/models": {"object": "list", "data": []},
            "/engines/ps": kind.loaded,
            "/models/ai/new": {"id": "sha256:1", "tags": ["ai/new:latest"], "config": {}},
            "/models": [],
        }.get(self.path, [])
        self._send(200, body)

    def do_POST(self):
        kind = type(self)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/engines/unload":
            kind.unloaded = (*kind.unloaded, *body["models"])
            kind.loaded = [
                model for model in kind.loaded if model["model_name"] not in body["models"]
            ]
            self._send(200, {"unloaded_runners": 1})
        elif kind.loaded:
            self._send(500, FULL)
        elif self.headers.get("X-Preload-Only"):
            self._send(200, "")
        else:
            self._send(200, ANSWER)

    def _send(self, status, content):
        text = content if isinstance(content, str) else json.dumps(content)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        kind = "text/plain" if isinstance(content, str) else "application/json"
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


def entry(name, used, **more):
    return {"backend_name": "llama.cpp", "model_name": name, "mode": "completion"} | {
        "last_used": f"2026-01-0{used}T00:00:00Z",
        **more,
    }


@pytest.fixture
def runner():
    kind = type("TheRunner", (Runner,), {"loaded": [entry("docker.io/ai/old:latest", 1)]})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        kind.url = f"http://127.0.0.1:{server.server_port}"
        yield kind
        server.shutdown()
        thread.join()


async def test_an_idle_model_is_unloaded_and_the_request_is_repeated(runner):
    client = Client(base_url=runner.url, when_full="unload")
    reply = client.chat("ai/new", CHAT)
    assert reply["choices"][0]["message"]["content"] == "Hi."
    assert reply["docker_model"] == {"unloaded": ["ai/old"]}
    assert runner.unloaded == ("docker.io/ai/old:latest",)
    assert "docker_model" not in await client.achat("ai/new", CHAT)


async def test_the_last_chunk_of_a_stream_names_the_unloaded_model(runner):
    client = Client(base_url=runner.url, when_full="unload")
    chunks = [chunk async for chunk in client.astream_chat("ai/new", CHAT)]
    noted = [chunk["docker_model"] for chunk in chunks if "docker_model" in chunk]
    assert noted == [{"unloaded": ["ai/old"]}]


def test_no_model_is_unloaded_by_default(runner):
    with pytest.raises(ModelLoadError, match="not enough memory"):
        Client(base_url=runner.url).chat("ai/new", CHAT)
    assert runner.unloaded == ()


@pytest.mark.parametrize("state", [{"in_use": True}, {"loading": True}, {"keep_alive": "-1"}])
def test_a_model_that_is_in_use_or_kept_loaded_is_not_unloaded(runner, state):
    runner.loaded = [entry("docker.io/ai/old:latest", 1, **state)]
    with pytest.raises(ModelLoadError, match="not enough memory"):
        Client(base_url=runner.url, when_full="unload").chat("ai/new", CHAT)
    assert runner.unloaded == ()


def test_the_model_that_was_idle_longest_is_unloaded():
    loaded = [entry("ai/b", 2), entry("ai/a", 1, in_use=True), entry("ai/c", 3), entry("ai/d", 1)]
    assert longest_idle(loaded, "ai/new") == "ai/d"
    assert longest_idle(loaded, "ai/d") == "ai/b"
    assert longest_idle([], "ai/new") == ""


def test_an_invalid_setting_is_named():
    with pytest.raises(InvalidRequestError, match="when_full") as caught:
        Client(when_full="wait")
    assert caught.value.hint
