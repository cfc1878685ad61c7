"""Answer questions about a few documents, with an embedding model and sources.

    docker model pull ai/all-minilm
    docker model pull ai/smollm2

`examples/rag/` does the same for a folder of documents, with a store on disk and an evaluation.
"""

from _run import run
from llama_index.core import Document, VectorStoreIndex

from llama_index_docker_model import DockerModelEmbedding, DockerModelLLM

TEXTS = [
    "Docker Model Runner serves local models; `docker model pull` fetches one.",
    "A volume keeps a container's data when the container is removed.",
    "Whales are mammals, and sleep with half of their brain at a time.",
]


def main() -> None:
    llm = DockerModelLLM(model="ai/smollm2", max_chars=400)
    index = VectorStoreIndex.from_documents(
        [Document(text=text) for text in TEXTS],
        embed_model=DockerModelEmbedding(model_name="ai/all-minilm"),
    )

    response = index.as_query_engine(llm=llm, similarity_top_k=1).query("How do whales sleep?")
    print(response)
    for source in response.source_nodes:
        print("from:", source.text)

    streaming = index.as_query_engine(llm=llm, similarity_top_k=1, streaming=True)
    streaming.query("What keeps the data of a container?").print_response_stream()
    print()


if __name__ == "__main__":
    run(main)
