"""Events inside a chain, as a user interface receives them."""

from _run import run
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate

from langchain_docker_model import DockerModelLLM


async def main() -> None:
    llm = DockerModelLLM(model="ai/smollm2", max_chars=300)
    chain = PromptTemplate.from_template("Say hello to {name}.") | llm | StrOutputParser()
    async for event in chain.astream_events({"name": "Ada"}, version="v2"):
        if event["event"] == "on_llm_start":
            print("asked:", event["data"]["input"]["prompts"][0])
        elif event["event"] == "on_llm_stream":
            chunk = event["data"]["chunk"]
            print(chunk.text, end="", flush=True)
            if chunk.generation_info and "finish_reason" in chunk.generation_info:
                print("\nended:", chunk.generation_info["finish_reason"])


if __name__ == "__main__":
    run(main)
