"""Many prompts at the same time, with the answers as a list or as they are completed."""

from _run import run

from langchain_docker_model import DockerModelLLM


def main() -> None:
    # At most four calls at the same time, because they all share one machine.
    llm = DockerModelLLM(model="ai/smollm2", max_concurrency=4, max_chars=300)
    questions = [f"What is {thing}, in one sentence?" for thing in ("Docker", "a pod", "OCI")]

    for question, answer in zip(questions, llm.batch(questions), strict=True):
        print(f"{question}\n  {answer}")

    # Each answer or error as soon as it is available.
    for number, answer in llm.batch_as_completed(questions, return_exceptions=True):
        print(f"{questions[number]}\n  {answer!r}")


if __name__ == "__main__":
    run(main)
