"""A prompt template, a local model and a parser, as one LangChain chain."""

from _run import run
from langchain_core.output_parsers import CommaSeparatedListOutputParser
from langchain_core.prompts import PromptTemplate

from langchain_docker_model import DockerModelLLM


def main() -> None:
    llm = DockerModelLLM(model="ai/smollm2", max_chars=600)
    prompt = PromptTemplate.from_template(
        "Name three {things}, separated by commas. Answer with the list alone."
    )
    chain = prompt | llm | CommaSeparatedListOutputParser()
    for item in chain.invoke({"things": "container runtimes"}):
        print("-", item)


if __name__ == "__main__":
    run(main)
