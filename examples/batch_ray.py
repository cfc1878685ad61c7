"""A large batch on a Ray cluster: each node asks its own runner, and no row is lost.

    pip install ".[langchain]" "ray[data]"
    python batch_ray.py prompts.jsonl answers

`prompts.jsonl` has a line such as `{"id": 1, "prompt": "What is a pod?"}` for each row. `answers`,
a folder, gets the same rows with `result` or `error` filled in, and can be the input of another
run: rows that have a result are kept, and only the others are asked again.

How to set up the nodes: docs/batch.md.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import ray
import ray.data
from langchain_core.exceptions import ModelError
from ray.data.expressions import col

from langchain_docker_model import DockerModelLLM

RUNNER = "docker_model_runner"  # a resource of the nodes that have a runner
AT_ONCE = 4  # prompts that a runner works on at a time: its number of slots
TRIES = 3
SECONDS_BETWEEN = 1.0


@dataclass
class Ask:
    """What travels to each node: the model's settings. The node's own `docker model` answers.

    The node's environment says where its runner is: `MODEL_RUNNER_HOST`, or else its own Docker.
    An address in `llm.env` would send all nodes to one runner.
    """

    llm: DockerModelLLM

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Give `rows`, column by column, with `result` or `error` for each; never raises."""
        prompts = [str(prompt) for prompt in rows["prompt"]]
        results = [str(result or "") for result in rows.get("result", [""] * len(prompts))]
        errors = [""] * len(prompts)
        waiting = [number for number, result in enumerate(results) if not result]
        for left in reversed(range(TRIES)):
            again = []
            # Unlike `batch`, it keeps the answers of the others when one fails.
            for place, answer in self.llm.batch_as_completed(
                [prompts[number] for number in waiting],
                {"max_concurrency": AT_ONCE},
                return_exceptions=True,
            ):
                number = waiting[place]
                if isinstance(answer, Exception):
                    errors[number] = f"{type(answer).__name__}: {answer}"
                    if left and is_worth_another_try(answer):
                        again.append(number)
                else:
                    results[number], errors[number] = answer, ""
            if not again:
                break
            waiting = again
            time.sleep(SECONDS_BETWEEN)
        return rows | {"result": results, "error": errors}


def is_worth_another_try(error: Exception) -> bool:
    """Return whether a retry may help: after a crash or a timeout, not after a long prompt."""
    return isinstance(error, ModelError) and error.is_retryable


def run(llm: DockerModelLLM, source: str, target: str) -> int:
    """Ask for each row of `source` on the whole cluster; give the number of rows in error."""
    nodes = int(ray.cluster_resources().get(RUNNER, 0))
    if not nodes:
        sys.exit(f"No node has a runner: ray start … --resources='{{\"{RUNNER}\": 1}}'")
    answers = ray.data.read_json(source, lines=True).map_batches(
        Ask,
        fn_constructor_args=(llm,),
        batch_size=4 * AT_ONCE,
        concurrency=nodes,
        resources={RUNNER: 1},  # one on each node that has a runner
    )
    answers.write_json(target)
    return ray.data.read_json(target, lines=True).filter(expr=col("error") != "").count()


def main() -> None:
    """Take the two names from the command line."""
    source, target = sys.argv[1:]
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:  # this machine is the cluster
        ray.init(resources={RUNNER: 1})
    failed = run(DockerModelLLM(model="ai/smollm2"), source, target)
    if failed:
        sys.exit(f"{failed} rows are in error. To ask for them again, run on {target!r}.")


if __name__ == "__main__":
    main()
