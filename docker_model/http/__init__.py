"""A client of the runner's OpenAI-compatible HTTP API.

The first request imports httpcore, which the extra `http` installs.
"""

from docker_model.http.client import Client
from docker_model.http.streams import AsyncChatStream, ChatStream

__all__ = ["AsyncChatStream", "ChatStream", "Client"]
