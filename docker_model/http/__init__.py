"""The runner's OpenAI-compatible HTTP API: where it is, and how it is asked.

httpcore is imported with the first request; the extra `http` brings it.
"""

from docker_model.http.client import Client
from docker_model.http.streams import AsyncChatStream, ChatStream

__all__ = ["AsyncChatStream", "ChatStream", "Client"]
