"""Many prompts at once: in one call, or as they are answered."""

from _run import run

from langchain_docker_model import DockerModelLLM


def main() -> None:
    # At most four runs at a time: a local runner shares one machine among all of them.
    llm = DockerModelLLM(model="ai/smollm2", max_concurrency=4, max_chars=300)
    questions = [f"What is {thing}, in one sentence?" for thing in ("Docker", "a pod", "OCI")]

    for question, answer in zip(questions, llm.batch(questions), strict=True):
        print(f"{question}\n  {answer}")

    # Each failure apart from the others, and each answer as soon as it is there.
    for number, answer in llm.batch_as_completed(questions, return_exceptions=True):
        print(f"{questions[number]}\n  {answer!r}")


if __name__ == "__main__":
    run(main)
