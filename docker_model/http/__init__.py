"""The runner's OpenAI-compatible HTTP API: where it is, and how it is asked.

httpx is imported with the first request; the extra `http` brings it.
"""
