"""Ctrl-C, once and twice, and a callback that raises SystemExit on the I/O thread."""

import re
import signal
import textwrap
import time

import pytest

from docker_model.testing import Downloaded, Hang, Text
from tests.faults.scripts import Script
from tests.support.platforms import needs_ctrl_c

DISCONNECT_TIMEOUT = 60  # seconds until the runner must have seen the client disconnect
ENDLESS = [Text("some", 4), Hang()]

CALLS = {
    "generate": "MODEL.generate('hi')",
    "stream": "list(MODEL.stream('hi'))",
    "asyncio": "asyncio.run(MODEL.agenerate('hi'))",
    "astream": "asyncio.run(exhaust(MODEL.astream('hi')))",
    "in a loop": """
async def main():
    handle = signal.getsignal(signal.SIGINT)
    def report(*args):
        signal.signal(signal.SIGINT, handle)
        print('cancelling', flush=True)
        handle(*args)
    signal.signal(signal.SIGINT, report)
    MODEL.generate('hi')
asyncio.run(main())
""",
}


@needs_ctrl_c
@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_the_child(name, simulate):
    """The call ends, and the process continues."""
    docker = simulate(script=ENDLESS)
    code = "try:\n" + textwrap.indent(CALLS[name], "    ")
    code += "\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\nsys.stdin.read()"
    with Script(code) as script:
        docker.wait_prompts()
        script.send_signal(signal.SIGINT)
        if name == "in a loop":  # asyncio uses the first one to cancel its task, which blocks
            assert script.line() == "cancelling"
            script.send_signal(signal.SIGINT)
        assert script.line() == "interrupted"
        docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
        docker.wait_all_gone()
        assert script.end() == (0, "", "")


# A finalizer cannot pass on Ctrl-C: Python reports it and continues.
SWALLOWED = re.compile(
    r"^Exception ignored (in|while).*\n(Traceback.*\n(  .*\n|\n)+)?KeyboardInterrupt: ?\n",
    re.MULTILINE,
)


@needs_ctrl_c
@pytest.mark.parametrize("name", ["generate", "stream", "asyncio", "astream"])
def test_ctrl_c_pressed_repeatedly_leaves_nothing_behind(name, simulate, tmp_path):
    """Two signals in a row, at any distance, end the calls, and no process is left."""
    docker = simulate(script=ENDLESS)
    # Not over stdin: characters that a signal removes from a read line are lost.
    code = f"""
def wait(i):
    gc.collect()  # the tasks of a loop whose end was interrupted
    while not os.path.exists(f"{tmp_path}/{{i}}"):
        time.sleep(0.005)

for i in range(12):
    try:
        try:
            {CALLS[name]}
        except KeyboardInterrupt:
            pass
        wait(i)
    except KeyboardInterrupt:  # the second one, wherever it came
        pass
    wait(i)  # here nothing holds the interrupted frames any more
"""
    with Script(code) as script:
        for i in range(12):
            docker.wait_prompts(i + 1)
            script.send_signal(signal.SIGINT)
            time.sleep(i * 0.0005)
            script.send_signal(signal.SIGINT)
            try:
                docker.wait_gone(i + 1, timeout=10)
            except TimeoutError:
                if "asyncio.run" not in CALLS[name]:
                    raise
                # A signal just before asyncio calls a callback can lose the callback, and then
                # `asyncio.run` waits forever (python/cpython#83803). A third signal ends it.
                script.send_signal(signal.SIGINT)
                docker.wait_gone(i + 1, timeout=DISCONNECT_TIMEOUT)
            docker.wait_all_gone()
            (tmp_path / str(i)).touch()
        code, out, err = script.end()
    assert (code, out) == (0, "")
    if "asyncio.run" not in CALLS[name]:  # it warns of its own loop when interrupted twice
        assert SWALLOWED.sub("", f"{err}\n").strip() == ""


@needs_ctrl_c
@pytest.mark.parametrize("name", ["generate", "stream", "asyncio"])
def test_ctrl_c_without_a_handler_ends_the_process(name, simulate):
    docker = simulate(script=ENDLESS)
    with Script(CALLS[name]) as script:
        docker.wait_prompts()
        script.send_signal(signal.SIGINT)
        code, out, err = script.end()
    assert (code, out) == (-signal.SIGINT, "")
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("call", CALLS)
def test_system_exit_in_a_callback_does_not_end_the_io_thread(call, kind, simulate):
    """The callback runs on the I/O thread, which other calls need."""
    docker = simulate(
        ["ai/other"], pullable={"ai/smollm2": [Downloaded(1, 2), Hang()]}, script="fine"
    )
    code = f"""
    def raises(_):
        raise {kind}("mine")
    MODEL = DockerModel("ai/smollm2", pull="missing", on_progress=raises)
    try:
{textwrap.indent(textwrap.dedent(CALLS[call]), " " * 8)}
    except {kind} as error:
        print(*error.args, flush=True)
    print(DockerModel("ai/other").generate("hi"), flush=True)
    """
    with Script(code) as script:
        code, out, err = script.end()
    assert (code, out.split(), err) == (0, ["mine", "fine"], "")
    docker.wait_all_gone()
