"""A fallback to another model if the first is missing, and a retry for temporary errors."""

from _run import run
from langchain_core.exceptions import ModelAPIError, ModelConnectionError, ModelNotFoundError

from langchain_docker_model import DockerModelLLM


def main() -> None:
    preferred = DockerModelLLM(model="ai/not-pulled-here", max_chars=300)
    small = DockerModelLLM(model="ai/smollm2", max_chars=300)

    # A missing model raises an error. It is downloaded only with `pull="missing"`.
    try:
        preferred.invoke("Hello!")
    except ModelNotFoundError as error:
        print(error)

    # The errors are also LangChain's own, so fallbacks and retries work.
    llm = preferred.with_fallbacks(
        [small.with_retry(retry_if_exception_type=(ModelAPIError, ModelConnectionError))],
        exceptions_to_handle=(ModelNotFoundError,),
    )
    print(llm.invoke("Hello!"))


if __name__ == "__main__":
    run(main)
