"""Another model where the first cannot be had, and a second try where that may help."""

from _run import run
from langchain_core.exceptions import ModelAPIError, ModelConnectionError, ModelNotFoundError

from langchain_docker_model import DockerModelLLM


def main() -> None:
    wanted = DockerModelLLM(model="ai/not-pulled-here", max_chars=300)
    small = DockerModelLLM(model="ai/smollm2", max_chars=300)

    # A missing model raises: it is downloaded only with `pull="missing"`.
    try:
        wanted.invoke("Hello!")
    except ModelNotFoundError as error:
        print(error)

    # Errors are LangChain's own, so its tools for them work: here, a fallback and a retry.
    llm = wanted.with_fallbacks(
        [small.with_retry(retry_if_exception_type=(ModelAPIError, ModelConnectionError))],
        exceptions_to_handle=(ModelNotFoundError,),
    )
    print(llm.invoke("Hello!"))


if __name__ == "__main__":
    run(main)
