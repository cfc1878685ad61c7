"""Output of the commands other than `run`, of every recorded version and malformed."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docker_model._docker_cli.listing import (
    PullOutput,
    parse_model,
    parse_models,
    parse_running,
    parse_status,
    parse_version,
)
from docker_model.errors import PluginNotFoundError
from docker_model.types import ModelInfo, PullProgress, RunningModel
from tests.support.transcripts import load

ID = "sha256:" + "ab12" * 16
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


def recorded(pattern):
    """Parametrize by the successful calls of `docker` whose case matches."""
    calls = [
        transcript
        for transcript in load(pattern)
        if transcript.argv[0] == "docker" and transcript.ending.exit_code == 0
    ]
    assert calls
    return pytest.mark.parametrize("transcript", calls, ids=str)


def stdout(transcript):
    return transcript.ending.stdout.decode()


# -- list and inspect ------------------------------------------------------------------------


@recorded("list-json*")
def test_lists_of_every_version_are_parsed(transcript):
    models = parse_models(stdout(transcript))
    sent = json.loads(stdout(transcript)) or []
    assert [model.id for model in models] == [model["id"] for model in sent]
    for model, fields in zip(models, sent, strict=True):
        assert list(model.tags) == fields.get("tags", [])
        assert model.created == datetime.fromtimestamp(fields["created"], UTC)
        config = fields["config"] or {}
        for key in ("format", "quantization", "parameters", "architecture", "size"):
            assert getattr(model, key) == config.get(key)
        assert model.context_size == config.get("context_size")


@recorded("list-json-untagged")
def test_an_untagged_model_has_its_id_as_name(transcript):
    untagged, tagged = parse_models(stdout(transcript))
    assert untagged.name == untagged.id == "sha256:" + "77aa" * 16
    assert tagged.name == "ai/smollm2"


@recorded("inspect-config-null")
def test_a_model_without_config_is_parsed(transcript):
    model = parse_model(stdout(transcript))
    assert model == ModelInfo(
        name="ai/smollm2",
        tags=("docker.io/ai/smollm2:latest",),
        id=ID,
        created=datetime.fromtimestamp(1742816981, UTC),
    )


@recorded("inspect-context-size")
def test_the_first_tag_names_the_model(transcript):
    model = parse_model(stdout(transcript))
    assert model is not None
    assert model.name == "ai/qwen3:0.6B-Q4_K_M"
    assert model.context_size in (40960, None)  # v0.1.27 omits it


@pytest.mark.parametrize(
    "transcript",
    [t for t in load("inspect-dots") if t.ending.exit_code == 0],
    ids=str,
)
def test_an_object_without_an_id_is_not_a_model(transcript):
    assert parse_model(stdout(transcript)) is None


def test_lines_before_the_json_are_skipped():
    text = "Warning: unable to open context store: x\n[not json\n" + json.dumps([{"id": ID}])
    assert [model.id for model in parse_models(text)] == [ID]


def test_help_instead_of_json_means_that_the_plugin_is_missing():
    # `docker model nosuchcommand` prints it, with exit code 0.
    for parse in (parse_models, parse_model, parse_status):
        with pytest.raises(PluginNotFoundError):
            parse("Usage:  docker model COMMAND\n\nDocker Model Runner\n")


@pytest.mark.parametrize("created", [0, -(10**20), 10**20, 1e9, True, "1742816981", None])
def test_an_invalid_time_is_none(created):
    model = parse_model(json.dumps({"id": ID, "created": created}))
    assert model is not None
    assert model.created is None


@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional={"id": ANYTHING, "tags": ANYTHING, "created": ANYTHING, "config": ANYTHING}
        )
    )
)
def test_no_json_value_makes_the_parser_fail(models):
    parsed = parse_models(json.dumps(models, indent=4))
    assert len(parsed) == len(models)
    for model in parsed:
        assert isinstance(model.name, str)
        assert all(isinstance(tag, str) for tag in model.tags)
        assert model.context_size is None or type(model.context_size) is int
        hash(model)


# -- status and version ----------------------------------------------------------------------


@recorded("status-json")
def test_the_status_of_every_version_is_parsed(transcript):
    status = parse_status(stdout(transcript))
    assert status.running
    assert status.backends["llama.cpp"] == "Running: llama.cpp b9879"
    assert status.engine in ("Docker Engine (Manual Install)", None)
    assert status.endpoint in ("http://RUNNER/v1/", "http://RUNNER/engines/v1/")


@recorded("status-json-503")
def test_the_status_of_a_stopped_runner_is_parsed(transcript):
    assert not parse_status(stdout(transcript)).running


@recorded("status-json-not-json")
def test_a_status_without_backends_is_parsed(transcript):
    status = parse_status(stdout(transcript))
    assert status.running
    assert status.backends == {}


@pytest.mark.parametrize(
    ("fields", "endpoint"),
    [
        (
            {
                "endpoint": "http://172.17.0.1:12434/v1/",
                "endpointHost": "http://127.0.0.1:12434/v1/",
            },
            "http://127.0.0.1:12434/v1/",
        ),
        (
            {"endpoint": "http://172.17.0.1:12434/engines/v1/"},
            "http://172.17.0.1:12434/engines/v1/",
        ),
        # Docker Desktop: a path on its socket, which is not an address.
        ({"endpoint": "http://x/", "endpointHost": "http://localhost/exp/vDD4.40/v1/"}, None),
        ({"endpoint": "http://model-runner.docker.internal/engines/v1/"}, None),
        ({"endpoint": "http://:0/engines/v1/"}, None),
        ({}, None),
    ],
)
def test_the_endpoint_can_be_reached_from_this_host(fields, endpoint):
    assert parse_status(json.dumps({"running": True, **fields})).endpoint == endpoint


@given(st.dictionaries(st.sampled_from(["running", "backends", "kind", "endpoint"]), ANYTHING))
def test_no_status_value_makes_the_parser_fail(fields):
    parse_status(json.dumps(fields))


@recorded("version*")
def test_the_version_of_the_plugin_is_parsed(transcript):
    version, engine = parse_version(stdout(transcript))
    recorded_by = transcript.versions[-1].removeprefix("cli-")
    assert version in (recorded_by, "head-642c721")
    assert engine in ("Docker Engine", "Docker Engine (Manual Install)")


def test_an_unreachable_engine_is_none():
    text = "Client:\n Version:    v1.2.6\n\nServer:\n Version:    (not reachable)\n"
    assert parse_version(f"{text} Engine:     (not reachable)\n") == ("v1.2.6", None)
    assert parse_version("help\n") == (None, None)


# -- ps --------------------------------------------------------------------------------------


@recorded("ps")
def test_loaded_models_of_every_version_are_parsed(transcript):
    small, embedding, big, kept = parse_running(stdout(transcript))
    assert small == RunningModel("ai/smollm2", "llama.cpp", "completion")
    assert embedding.name.lower() == "ai/qwen3:0.6b"
    assert embedding.mode == "embedding"
    assert (big.name, big.backend) == ("ai/big", "vllm")
    assert kept.name == "ai/kept"


@recorded("ps-empty")
def test_an_empty_table_gives_an_empty_list(transcript):
    assert parse_running(stdout(transcript)) == []


def test_a_loaded_model_without_tags_is_named_by_its_id():
    text = (
        "Warning: something\n"
        "MODEL NAME    BACKEND    MODE        UNTIL               \n"
        "ab12ab12ab12  llama.cpp  completion  4 minutes from now  \n"
    )
    assert parse_running(text) == [RunningModel("ab12ab12ab12", "llama.cpp", "completion")]


def test_help_instead_of_a_table_means_that_the_plugin_is_missing():
    with pytest.raises(PluginNotFoundError):
        parse_running("Usage:  docker model COMMAND\n")


# -- pull ------------------------------------------------------------------------------------


@recorded("pull")
def test_pull_progress_of_every_version_is_parsed(transcript):
    quarter, whole, end = PullOutput("ai/smollm2").feed(transcript.ending.stdout)
    assert (quarter.current, whole.current) == (25_000_000, 100_000_000)
    assert whole.total in (100_000_000, None)  # v0.1.30 and older omit it
    assert end == PullProgress("ai/smollm2", "Model pulled successfully")


@recorded("pull*")
def test_pull_progress_is_the_same_for_every_split(transcript):
    output = transcript.ending.stdout
    single = PullOutput("m")
    steps = [
        step for index in range(len(output)) for step in single.feed(output[index : index + 1])
    ]
    assert steps == PullOutput("m").feed(output)
    assert all(step.status.isprintable() for step in steps)


@pytest.mark.parametrize(
    ("line", "current", "total"),
    [
        ("Downloaded 0B of 1.50kB", 0, 1500),
        ("Downloaded 46.22MB of 0.00B", 46_220_000, None),  # Hugging Face: the model is built
        ("Downloaded 999.99MB of 4.12GB", 999_990_000, 4_120_000_000),
        ("Downloaded 1.05TB of 2TB", 1_050_000_000_000, 2_000_000_000_000),
        ("Downloaded 12 of 14 layers", None, None),
        ("Downloaded 1.2.3MB of 4MB", None, None),
    ],
)
def test_sizes_of_a_progress_line_are_parsed(line, current, total):
    (step,) = PullOutput("m").feed(f"{line}\n".encode())
    assert (step.status, step.current, step.total) == (line, current, total)
