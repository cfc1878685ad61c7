"""A large batch on a Ray cluster. Each node uses its own runner, and no row is lost.

    pip install ".[langchain]" "ray[data]"
    python batch_ray.py prompts.jsonl answers

`prompts.jsonl` has a line such as `{"id": 1, "prompt": "What is a pod?"}` for each row. The script
writes the same rows with `result` or `error` to the folder `answers`. The folder can be the input
of another run, which keeps rows with a result and retries the others.

docs/batch.md describes the setup of the nodes.
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
AT_ONCE = 4  # prompts that a runner processes at the same time: its number of slots
TRIES = 3
SECONDS_BETWEEN = 1.0


@dataclass
class Ask:
    """Generates the answers on a node. Ray pickles this object, with the settings of the model.

    Each node uses its own runner: the address in its `MODEL_RUNNER_HOST`, or its own Docker. With
    an address in `llm.env`, all nodes would use one runner.
    """

    llm: DockerModelLLM

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Return the columns of the rows with `result` and `error`. This never raises an error."""
        prompts = [str(prompt) for prompt in rows["prompt"]]
        results = [str(result or "") for result in rows.get("result", [""] * len(prompts))]
        errors = [""] * len(prompts)
        open_rows = [number for number, result in enumerate(results) if not result]
        for tries_left in reversed(range(TRIES)):
            retries = []
            # Unlike `batch`, this keeps the other answers when one prompt fails.
            for index, answer in self.llm.batch_as_completed(
                [prompts[number] for number in open_rows],
                {"max_concurrency": AT_ONCE},
                return_exceptions=True,
            ):
                number = open_rows[index]
                if isinstance(answer, Exception):
                    errors[number] = f"{type(answer).__name__}: {answer}"
                    if tries_left and is_retryable(answer):
                        retries.append(number)
                else:
                    results[number], errors[number] = answer, ""
            if not retries:
                break
            open_rows = retries
            time.sleep(SECONDS_BETWEEN)
        return rows | {"result": results, "error": errors}


def is_retryable(error: Exception) -> bool:
    """Return whether a retry can help, such as after a crash, but not after a long prompt."""
    return isinstance(error, ModelError) and error.is_retryable


def run(llm: DockerModelLLM, source: str, target: str) -> int:
    """Process each row of `source` on the cluster. Return the number of rows with an error."""
    nodes = int(ray.cluster_resources().get(RUNNER, 0))
    if not nodes:
        sys.exit(f"No node has a runner: ray start … --resources='{{\"{RUNNER}\": 1}}'")
    answers = ray.data.read_json(source, lines=True).map_batches(
        Ask,
        fn_constructor_args=(llm,),
        batch_size=4 * AT_ONCE,
        concurrency=nodes,
        resources={RUNNER: 1},  # one worker on each node that has a runner
    )
    answers.write_json(target)
    return ray.data.read_json(target, lines=True).filter(expr=col("error") != "").count()


def main() -> None:
    """Run the batch with the two names from the command line."""
    source, target = sys.argv[1:]
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:  # this machine is the cluster
        ray.init(resources={RUNNER: 1})
    failed = run(DockerModelLLM(model="ai/smollm2"), source, target)
    if failed:
        sys.exit(f"{failed} rows failed. To retry them, run this script with {target!r} as input.")


if __name__ == "__main__":
    main()
