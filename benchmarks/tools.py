"""Compare tool calls and objects of small models with the OpenAI and Ollama clients.

    python benchmarks/tools.py --model ai/smollm2 --model ai/smollm2-tools
    python benchmarks/tools.py --model ai/smollm2-think --thinking 40 --write

For each class and model, there are twenty prompts for calls and twenty for objects, at temperature
0 and with at most 64 tokens. Four tools are bound, and the model decides whether to call one. A
call is valid if the tool's own pydantic model accepts its arguments, and right if it is also the
tool that the prompt needs. `with_structured_output` returns the objects. The results are saved in
`--results`, so that models can be measured one by one. `--write` puts the table into docs/tools.md.
`--thinking N` configures a reasoning model to a budget of N tokens, for all classes, and allows
N more tokens for the answer.

The script needs the dependency group `bench` and, in `MODEL_RUNNER_HOST`, the runner's address.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.tools import tool
from pydantic import BaseModel, ValidationError

from docker_model import configure_model, unload_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable

PAGE = Path(__file__).parents[1] / "docs" / "tools.md"
MARK = "<!-- tools -->\n"
MOST_TOKENS = 64
AT_ONCE = 4


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"It rains in {city}."


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@tool
def set_timer(minutes: int) -> str:
    """Set a timer."""
    return f"{minutes} minutes"


@tool
def send_mail(to: str, text: str) -> str:
    """Send a mail to somebody."""
    return f"{to}: {text}"


TOOLS = [weather, multiply, set_timer, send_mail]
PROMPTS = {
    "What is the weather in Oslo?": "weather",
    "Will it rain in Paris today?": "weather",
    "How warm is it in Rome?": "weather",
    "Do I need a coat in Berlin?": "weather",
    "Is the sun shining in Madrid?": "weather",
    "What is 12 times 7?": "multiply",
    "Multiply 9 by 8.": "multiply",
    "How much is 15 * 4?": "multiply",
    "A box has 6 rows of 11 eggs. How many eggs are there?": "multiply",
    "Compute the product of 3 and 21.": "multiply",
    "Set a timer for 10 minutes.": "set_timer",
    "Remind me in 25 minutes.": "set_timer",
    "My eggs need 7 minutes. Start a timer.": "set_timer",
    "Wake me in 45 minutes.": "set_timer",
    "Give me a timer of 3 minutes.": "set_timer",
    "Write a mail to anna@example.com: I am late.": "send_mail",
    "Mail bob@example.com that lunch is at noon.": "send_mail",
    "Send 'See you tomorrow' to carl@example.com.": "send_mail",
    "Tell dora@example.com by mail that the report is done.": "send_mail",
    "Send a mail to eve@example.com and thank her.": "send_mail",
}


class City(BaseModel):
    """A city."""

    name: str
    country: str
    population: int


CITIES = ["Oslo", "Paris", "Rome", "Berlin", "Madrid", "Vienna", "London", "Cairo", "Tokyo", "Lima"]
QUESTIONS = [f"Describe the city {city}." for city in CITIES]
QUESTIONS += [f"In which country is {city}, and how many people live there?" for city in CITIES]


def contenders(model: str, address: str, limit: int) -> dict[str, Callable[[], BaseChatModel]]:
    from langchain_ollama import ChatOllama
    from langchain_openai import ChatOpenAI

    from langchain_docker_model import ChatDockerModel

    def ours(tool_calling: Any) -> Callable[[], BaseChatModel]:
        return lambda: ChatDockerModel(
            model=model, tool_calling=tool_calling, temperature=0, max_tokens=limit
        )

    return {
        **{f'`ChatDockerModel`, `"{each}"`': ours(each) for each in ("auto", "native", "schema")},
        "`ChatOpenAI`": lambda: ChatOpenAI(
            model=model,
            base_url=f"{address}/engines/v1",
            api_key="any",
            temperature=0,
            extra_body={"max_tokens": limit},
        ),
        "`ChatOllama`": lambda: ChatOllama(
            model=model, base_url=address, temperature=0, num_predict=limit
        ),
    }


def calls(chat: BaseChatModel) -> tuple[int, int]:
    """Count valid calls, and those of the right tool."""
    bound = chat.bind_tools(TOOLS)
    valid = right = 0
    for wanted, message in zip(PROMPTS.values(), answers(bound, list(PROMPTS)), strict=True):
        called = message.tool_calls if message is not None else []
        good = bool(called) and all(map(is_valid, called))
        valid += good
        right += good and called[0]["name"] == wanted
    return valid, right


def is_valid(call: dict[str, Any]) -> bool:
    for each in TOOLS:
        if each.name == call["name"]:
            try:
                each.args_schema.model_validate(call["args"])
            except ValidationError:
                return False
            return True
    return False


def objects(chat: BaseChatModel) -> int:
    results = answers(chat.with_structured_output(City), QUESTIONS)
    return sum(isinstance(answer, City) for answer in results)


def answers(chain: Runnable[Any, Any], prompts: list[str]) -> list[Any]:
    """Return an answer to each prompt; `None` for an error, as a user would get one."""

    def attempt(prompt: str) -> Any:
        try:
            return chain.invoke(prompt)
        except Exception as error:  # noqa: BLE001  of any client
            print(f"    {type(error).__name__}: {str(error).splitlines()[0][:90]}")
            return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(attempt, prompts))


def measure(chat: BaseChatModel) -> dict[str, int]:
    began = time.monotonic()
    valid, right = calls(chat)
    counts = {"valid call": valid, "right tool": right, "valid object": objects(chat)}
    return counts | {"seconds": round(time.monotonic() - began)}


def table(results: dict[str, dict[str, dict[str, int]]]) -> str:
    """Return the results as a Markdown table."""
    columns = ("valid call", "right tool", "valid object")
    lines = [f"| model | class | {' | '.join(columns)} |", "|---|---|---|---|---|"]
    for model, classes in results.items():
        for name, counts in classes.items():
            cells = " | ".join(f"{counts[column]} of 20" for column in columns)
            lines.append(f"| `{model}` | {name} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--model", action="append", default=[], help="a model to measure")
    options.add_argument("--only", default="", help="part of the names of the classes to measure")
    options.add_argument("--thinking", type=int, default=0, help="tokens that a model may think")
    options.add_argument("--results", type=Path, default=Path("tools.json"))
    options.add_argument("--write", action="store_true", help="write the table into docs/tools.md")
    chosen = options.parse_args()
    results: dict[str, Any] = {}
    if chosen.results.exists():
        results = json.loads(chosen.results.read_text())
    address = os.environ.get("MODEL_RUNNER_HOST", "http://localhost:12434").rstrip("/")
    for model in chosen.model:
        if chosen.thinking:
            unload_model(model)
            configure_model(model, think=chosen.thinking, transport="http")
        for name, make in contenders(model, address, MOST_TOKENS + chosen.thinking).items():
            if chosen.only in name:
                print(model, name, flush=True)
                results.setdefault(model, {})[name] = measure(make())
                print("   ", results[model][name], flush=True)
                chosen.results.write_text(json.dumps(results, indent=2))
    print(table(results))
    if chosen.write:
        before, _, after = PAGE.read_text().split(MARK)
        PAGE.write_text(f"{before}{MARK}{table(results)}{MARK}{after}")


if __name__ == "__main__":
    main()
