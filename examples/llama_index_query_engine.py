"""Questions about a few documents, without any embedding model.

`WordHashes` stands in for one, so that nothing has to be downloaded: it finds texts that share
words with the question. A real embedding model finds those that share the meaning.
"""

import hashlib
import re

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding

from llama_index_docker_model import DockerModelLLM

TEXTS = [
    "Docker Model Runner serves local models; `docker model pull` fetches one.",
    "A volume keeps a container's data when the container is removed.",
    "Whales are mammals, and sleep with half of their brain at a time.",
]


class WordHashes(BaseEmbedding):
    """A text as the counts of its words, each at a place that a hash of the word tells."""

    size: int = 512

    def _get_text_embedding(self, text: str) -> list[float]:
        counts = [0.0] * self.size
        for word in re.findall(r"\w+", text.lower()):
            digest = hashlib.sha256(word.encode()).digest()
            counts[int.from_bytes(digest[:4], "big") % self.size] += 1.0
        return counts

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def main() -> None:
    llm = DockerModelLLM(model="ai/smollm2", max_chars=600)
    documents = [Document(text=text) for text in TEXTS]
    index = VectorStoreIndex.from_documents(documents, embed_model=WordHashes())

    response = index.as_query_engine(llm=llm, similarity_top_k=1).query("How do whales sleep?")
    print(response)
    for source in response.source_nodes:
        print("from:", source.text)

    streaming = index.as_query_engine(llm=llm, similarity_top_k=1, streaming=True)
    streaming.query("What keeps the data of a container?").print_response_stream()
    print()


if __name__ == "__main__":
    main()
