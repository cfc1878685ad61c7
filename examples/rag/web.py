"""Answer questions on a small web page with streamed answers, sources and a cancel button.

    pip install fastapi uvicorn
    python examples/rag/web.py          then open http://127.0.0.1:8000

`RAG_FRAMEWORK=llama_index` selects LlamaIndex instead of LangChain. If the user cancels, closes
the page or loses the connection, the request to the runner ends and the model stops generating.
"""

from __future__ import annotations

import importlib
import json
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ask import source_of
from fastapi import FastAPI
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from docker_model import DockerModelError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = Path(__file__).with_name("page.html")


class Question(BaseModel):
    """The request of the page."""

    question: str = Field(min_length=1, max_length=500)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the store while the server runs. The first start embeds the documents."""
    framework = importlib.import_module(os.environ.get("RAG_FRAMEWORK", "langchain") + "_rag")
    with framework.open_rag(os.environ.get("RAG_KIND", "chroma")) as app.state.rag:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
def page() -> FileResponse:
    """Send the page."""
    return FileResponse(PAGE)


@app.post("/ask")
async def ask(question: Question) -> StreamingResponse:
    """Stream the sources, then the answer's pieces, one JSON object on each line."""
    return StreamingResponse(events(question.question), media_type="application/x-ndjson")


async def events(question: str) -> AsyncIterator[str]:
    """Yield the events for the page. The server cancels this when the client disconnects."""
    rag: Any = app.state.rag
    try:
        passages = await rag.find(question)
        yield line(sources=[source_of(passage) for passage in passages])
        async for piece in rag.answer(question, passages):
            yield line(text=piece)
    except DockerModelError as error:
        yield line(error=str(error))


def line(**event: Any) -> str:
    """Return an event as a line of JSON."""
    return json.dumps(event) + "\n"


if __name__ == "__main__":
    import uvicorn

    host, port = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8000")
    uvicorn.run(app, host=host, port=int(port))
