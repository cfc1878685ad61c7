"""Tables, the page of results, and the plot."""

from __future__ import annotations

from html import escape

# Each benchmark's title and unit.
TABLES = {
    "first": ("First piece, sync, after a pause of 0.15 s", "ms"),
    "back_to_back": ("First piece over HTTP, sync, without pauses between calls", "ms"),
    "whole": ("Whole call of 20 tokens, sync", "ms"),
    "async_first": ("First piece, async, after a pause of 0.15 s", "ms"),
    "cold_invoke": ("Cold `invoke` against `subprocess.run` of the same command", "ms"),
    "token_delay": ("Delay from the runner to the caller, per token", "µs"),
    "concurrent": ("64 concurrent streams of 50 tokens, 20 ms apart", "ms"),
    "embed": ("Embeddings of 200 short texts, 384 dimensions, sync", "ms"),
    "parked": ("Resident memory of one standby process", "MB"),
    "memory": ("Growth of peak memory over a 100 MB answer", "MB"),
    "imports": ("Import, processor time in addition to a bare interpreter", "ms"),
}


# The goals in µs and ms were set on another machine. These are its times to read a token directly
# from the pipe, and to import asyncio.
PIPE_THERE = 81
ASYNCIO_THERE = 39
AT_THEIR_PACE = "the same, scaled to the speed of the goals' machine"


def goals(results):
    """Return the goals that these results can be compared with: name, measured value, goal."""

    def ratio(name, numerator, denominator):
        values = results.get(name)
        return values and values[numerator] / values[denominator]

    def difference(name, minuend, subtrahend):
        values = results.get(name)
        return values and values[minuend] - values[subtrahend]

    standby = "DockerModel, standby"
    http = "DockerModel, HTTP"
    pipe = "pipe, read directly"
    base = "langchain_core's BaseLLM and BaseChatModel"
    memory = results.get("memory", {}).get("DockerModel.stream")
    imported = results.get("imports", {}).get("docker_model")
    delay = difference("token_delay", "DockerModel.stream", pipe)
    async_delay = difference("token_delay", "DockerModel.astream", pipe)

    def there(value, name, yardstick, took):
        return value and value * took / results[name][yardstick]

    rows = [
        (
            "cold `invoke` / bare `subprocess.run`",
            ratio("cold_invoke", "DockerModelLLM.invoke", "subprocess.run"),
            0.42,
            "",
        ),
        ("first piece: standby / bare CLI", ratio("first", standby, "bare CLI"), 0.04, ""),
        ("first piece: standby / `ChatOpenAI`", ratio("first", standby, "ChatOpenAI"), 0.65, ""),
        ("the same, async", ratio("async_first", standby, "ChatOpenAI"), 0.65, ""),
        (
            "first piece: HTTP / `ChatOpenAI`, without pauses between calls",
            ratio("back_to_back", http, "ChatOpenAI"),
            0.5,
            "",
        ),
        ("the same after a pause", ratio("first", http, "ChatOpenAI"), 0.5, ""),
        ("the same, async", ratio("async_first", http, "ChatOpenAI"), 0.5, ""),
        ("added delay per token, sync", delay, 50, " µs"),
        (AT_THEIR_PACE, there(delay, "token_delay", pipe, PIPE_THERE), 50, " µs"),
        ("added delay per token, async", async_delay, 80, " µs"),
        (AT_THEIR_PACE, there(async_delay, "token_delay", pipe, PIPE_THERE), 80, " µs"),
        ("64 streams: standby / `ChatOpenAI`", ratio("concurrent", standby, "ChatOpenAI"), 1.0, ""),
        (
            "64 streams: cold / `ChatOpenAI`",
            ratio("concurrent", "DockerModel, cold", "ChatOpenAI"),
            1.9,
            "",
        ),
        (
            "200 embeddings: `DockerModelEmbeddings` / `OpenAIEmbeddings`",
            ratio("embed", "LangChain DockerModelEmbeddings", "OpenAIEmbeddings"),
            0.8,
            "",
        ),
        (
            "200 embeddings: `DockerModelEmbedding` / `OpenAILikeEmbedding`",
            ratio("embed", "LlamaIndex DockerModelEmbedding", "OpenAILikeEmbedding (LlamaIndex)"),
            0.8,
            "",
        ),
        (
            "memory of a standby process / the same with `docker` in front",
            ratio("parked", "DockerModel", "DockerModel, `docker` in front"),
            0.5,
            "",
        ),
        ("memory over a 100 MB answer", memory, 10, " MB"),
        ("`import docker_model`", imported, 20, " ms"),
        (AT_THEIR_PACE, there(imported, "imports", "asyncio", ASYNCIO_THERE), 20, " ms"),
        (
            "`import langchain_docker_model` / langchain-core's bases",
            ratio("imports", "langchain_docker_model", base),
            1.05,
            "",
        ),
    ]
    return [row for row in rows if row[1] is not None]


def table(name, values):
    title, unit = TABLES[name]
    first = next(iter(values.values()))
    lines = [f"### {title}", "", f"| | {unit} | ratio |", "|---|---|---|"]
    lines += [
        f"| {who} | {value:.3g} | {value / first if first else 1:.3g} |"
        for who, value in values.items()
    ]
    return "\n".join(lines) + "\n"


def losses(results):
    """Describe each result of a contender that is faster than the fastest class of ours."""
    for name, values in results.items():
        if name == "imports":  # the other packages are our dependencies
            continue
        ours = {who: value for who, value in values.items() if "DockerModel" in who}
        best = min(ours, key=ours.__getitem__)
        for who, value in values.items():
            if who not in ours and value < ours[best]:
                unit = TABLES[name][1]
                yield (
                    f"* {TABLES[name][0]}: {who} takes {value:.3g} {unit}, "
                    f"the best of ours, {best}, {ours[best]:.3g}."
                )


def floors(results):
    """Return the limits that the measured baselines set for the goals."""
    if "first" in results:
        first = results["first"]
        floor, cli = first["bare CLI, started beforehand"], first["bare CLI"]
        yield (
            f"A bare command that was started beforehand takes {floor / cli:.3g} "
            "of the bare CLI's time to the first piece, and "
            f"{floor / first['ChatOpenAI']:.3g} of `ChatOpenAI`'s. Standby cannot be faster."
        )
    if "cold_invoke" in results:
        cold = results["cold_invoke"]
        command = "the plugin's file by itself"
        command = command if command in cold else "the same in our environment"
        floor = cold[command] / cold["subprocess.run"]
        yield f"A cold `invoke` cannot be faster than {command}: {floor:.3g}."
    if "back_to_back" in results:
        calls = results["back_to_back"]
        share = calls["httpx"] / calls["ChatOpenAI"]
        yield f"httpx by itself takes {share:.3g} of the time of `ChatOpenAI`."


def page(results, machine, rounds):
    rows = [
        f"| {what} | {value:.3g}{unit} | {goal:g}{unit} | {'yes' if value <= goal else '**no**'} |"
        for what, value, goal, unit in goals(results)
    ]
    return "\n".join(
        [
            "# Results",
            "",
            f"`make bench` ({rounds} rounds) measured these results: {machine}.",
            "All contenders of a table took turns in one run with one scripted runner. The figures",
            "are medians. The ratios are relative to the first row.",
            "",
            "| measure | result | goal | met |",
            "|---|---|---|---|",
            *rows,
            "",
            *floors(results),
            "",
            "The goals in µs and ms were set on another machine. It took",
            f"{PIPE_THERE} µs to read a token from the pipe and {ASYNCIO_THERE} ms to import",
            "`asyncio`. Scaled results are multiplied by these times and divided by the times in",
            "the tables below.",
            "",
            "Contenders that are faster than our fastest class, the pipe and the command included:",
            "",
            *losses(results),
            "",
            *(table(name, values) for name, values in results.items()),
        ]
    )


def plot(values):
    """Return the time to the first piece, as a horizontal bar chart."""
    widest = max(values.values())
    height = 26 * len(values) + 40
    bars = []
    for i, (who, value) in enumerate(values.items()):
        y = 34 + 26 * i
        width = max(2, 370 * value / widest)
        colour = "#1d63ed" if "Docker" in who else "#9aa4b2"
        bars.append(
            f'<text x="270" y="{y + 13}" text-anchor="end">{escape(who)}</text>'
            f'<rect x="280" y="{y}" width="{width:.1f}" height="18" rx="3" fill="{colour}"/>'
            f'<text x="{286 + width:.1f}" y="{y + 13}">{value:.1f} ms</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="740" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#57606a">'
        '<text x="10" y="20" font-weight="600">Time to the first piece of an answer</text>'
        f"{''.join(bars)}</svg>\n"
    )
