"""`DockerModelRerank`: a reranker of Docker Model Runner as a LlamaIndex node postprocessor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore

from docker_model._setting_names import name_model
from docker_model.errors import InvalidRequestError
from llama_index_docker_model._http_component import HttpComponent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.schema import QueryBundle

    from docker_model.types import Ranked

__all__ = ["DockerModelRerank"]

dispatcher = get_dispatcher(__name__)


class DockerModelRerank(HttpComponent, BaseNodePostprocessor):
    """A reranker of Docker Model Runner, over the runner's HTTP API.

    A reranker reads the query and each node's text together and returns a score for the pair.
    The result is the best `top_n` nodes, best first; nodes with equal scores keep their order. If
    the model's metadata shows that it is not a reranker, the error names two rerankers.

    Example:
        ```python
        from llama_index.core.schema import NodeWithScore, TextNode
        from llama_index_docker_model import DockerModelRerank

        rerank = DockerModelRerank(model="ai/qwen3-reranker", top_n=1)
        nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("Oslo", "Paris")]
        best = rerank.postprocess_nodes(nodes, query_str="capital of France")
        print(best[0].score, best[0].node.get_content())
        ```

    In a query engine:
        ```python
        from llama_index.core import VectorStoreIndex
        from llama_index_docker_model import DockerModelEmbedding, DockerModelLLM

        embedding = DockerModelEmbedding(model="ai/mxbai-embed-large")
        index = VectorStoreIndex([scored.node for scored in nodes], embed_model=embedding)
        engine = index.as_query_engine(
            llm=DockerModelLLM(model="ai/smollm2"),
            similarity_top_k=20,
            node_postprocessors=[rerank],
        )
        print(engine.query("What is the capital of France?"))
        ```
    """

    model: str
    """The model's name, such as `ai/qwen3-reranker`; also accepted as `model_name`."""

    top_n: int = Field(default=3, ge=1)
    """Number of nodes to return."""

    force: bool = False
    """Also use a model that is not a reranker; its scores might be meaningless."""

    normalize: bool = False
    """Map the scores to values between 0 and 1 by the logistic function; the order stays."""

    keep_retrieval_score: bool = False
    """Keep the retriever's score in the node's metadata, as `retrieval_score`."""

    if not TYPE_CHECKING:  # type checkers derive the constructor's signature from the fields

        def __init__(self, **settings: Any) -> None:
            super().__init__(**name_model(settings, "model"))

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which `to_dict` writes this class."""
        return "DockerModelRerank"

    def warm_up(self) -> None:
        """Load the model, to make the first request faster."""
        self._rank("Hi", ["Hi"])

    async def awarm_up(self) -> None:
        """Load the model, to make the first request faster."""
        await self._rank_async("Hi", ["Hi"])

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = self._begin(nodes, query_bundle)
        with self.callback_manager.event(
            CBEventType.RERANKING, payload=self._payload(nodes, query)
        ) as event:
            best = self._ordered(nodes, self._rank(query, _texts(nodes)))
            event.on_end(payload={EventPayload.NODES: best})
        dispatcher.event(ReRankEndEvent(nodes=best))
        return best

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = self._begin(nodes, query_bundle)
        with self.callback_manager.event(
            CBEventType.RERANKING, payload=self._payload(nodes, query)
        ) as event:
            best = self._ordered(nodes, await self._rank_async(query, _texts(nodes)))
            event.on_end(payload={EventPayload.NODES: best})
        dispatcher.event(ReRankEndEvent(nodes=best))
        return best

    def _rank(self, query: str, texts: list[str]) -> list[Ranked]:
        if not texts:
            return []
        client = self._client()
        if self.auto_configure:
            client.configure_once(self.model, mode="reranking")
        return client.rerank(self.model, query, texts, top_n=self.top_n, force=self.force)

    async def _rank_async(self, query: str, texts: list[str]) -> list[Ranked]:
        if not texts:
            return []
        client = self._client()
        if self.auto_configure:
            await client.aconfigure_once(self.model, mode="reranking")
        return await client.arerank(self.model, query, texts, top_n=self.top_n, force=self.force)

    def _begin(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None) -> str:
        dispatcher.event(
            ReRankStartEvent(
                query=query_bundle, nodes=nodes, top_n=self.top_n, model_name=self.model
            )
        )
        if query_bundle is None:
            msg = "a reranker needs the query for which the nodes were retrieved"
            raise InvalidRequestError(msg, hint='pass query_str="…" or query_bundle=…')
        return query_bundle.query_str

    def _payload(self, nodes: list[NodeWithScore], query: str) -> dict[str, Any]:
        return {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: self.top_n,
        }

    def _ordered(
        self, nodes: Sequence[NodeWithScore], ranked: Sequence[Ranked]
    ) -> list[NodeWithScore]:
        """Return copies of the ranked nodes with their scores; `nodes` is not changed."""
        best = []
        for item in ranked:
            retrieved = nodes[item.index]
            node = retrieved.node
            if self.keep_retrieval_score:
                metadata = {**node.metadata, "retrieval_score": retrieved.score}
                node = node.model_copy(update={"metadata": metadata})
            score = item.normalized_score if self.normalize else item.score
            best.append(NodeWithScore(node=node, score=score))
        return best


def _texts(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
