"""Ways out that concern the whole process: Ctrl-C, its end by every door, and fork."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from playing import player

from docker_model import DockerModel, GenerationTimeoutError, Timeouts
from docker_model.testing import Downloaded, Hang, Sleep, Text

SOON = 1.0
ENDLESS = [Text("some", 4), Hang()]
DRIPPING = [Text("x"), Sleep(0.02)] * 3000

PROLOGUE = """
import asyncio, atexit, gc, os, signal, sys, threading, time, warnings
from docker_model import DockerModel
MODEL = DockerModel("ai/smollm2")
async def exhaust(stream):
    async for _ in stream:
        pass
"""


class Script(subprocess.Popen):
    """A Python process that uses the model; what it prints, line by line."""

    def __init__(self, code, prologue=PROLOGUE, **settings):
        super().__init__(
            [sys.executable, "-W", "error", "-c", prologue + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **settings,
        )

    def __exit__(self, kind, *args):
        self.kill()  # it has ended, unless the test has failed
        if kind is not None and not self.stderr.closed:
            sys.stderr.write(self.stderr.read())
        super().__exit__(kind, *args)

    def line(self):
        return self.stdout.readline().rstrip()

    def end(self, timeout=10):
        """Its exit code, and the rest of both its outputs."""
        out, err = self.communicate(timeout=timeout)
        return self.returncode, out.rstrip(), err.rstrip()


# -- Ctrl-C ----------------------------------------------------------------------------------

CALLS = {
    "generate": "MODEL.generate('hi')",
    "stream": "list(MODEL.stream('hi'))",
    "asyncio": "asyncio.run(MODEL.agenerate('hi'))",
    "astream": "asyncio.run(exhaust(MODEL.astream('hi')))",
    "in a loop": """
async def main():
    MODEL.generate('hi')
asyncio.run(main())
""",
}


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c(name, simulate):
    """The process goes on afterwards, and nothing of the call does."""
    docker = simulate(script=ENDLESS)
    code = "try:\n" + textwrap.indent(CALLS[name], "    ")
    code += "\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\nsys.stdin.read()"
    with Script(code) as script:
        docker.wait_prompts()
        began = time.monotonic()
        script.send_signal(signal.SIGINT)
        if name == "in a loop":  # asyncio takes the first one for its task, which blocks
            time.sleep(0.05)
            script.send_signal(signal.SIGINT)
        assert script.line() == "interrupted"
        assert time.monotonic() - began < SOON
        docker.wait_gone(timeout=SOON)
        docker.wait_all_gone()
        assert script.end() == (0, "", "")


# A finalizer that Ctrl-C hits cannot pass it on: Python says so, and goes on.
SWALLOWED = re.compile(
    r"^Exception ignored in.*\n(Traceback.*\n(  .*\n|\n)+)?KeyboardInterrupt: ?\n", re.MULTILINE
)


@pytest.mark.parametrize("name", ["generate", "stream", "asyncio", "astream"])
def test_ctrl_c_again_and_again(name, simulate, tmp_path):
    """Two signals in a row, at any distance: they end calls, and none is left running."""
    docker = simulate(script=ENDLESS)
    # Not over stdin: what a signal takes out of a read line is lost.
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
            docker.wait_gone(i + 1, timeout=SOON)
            docker.wait_all_gone()
            (tmp_path / str(i)).touch()
        code, out, err = script.end()
    assert (code, out) == (0, "")
    if "asyncio.run" not in CALLS[name]:  # it warns of its own loop when interrupted twice
        assert SWALLOWED.sub("", f"{err}\n").strip() == ""


@pytest.mark.parametrize("name", ["generate", "stream", "asyncio"])
def test_ctrl_c_without_a_handler_ends_the_process(name, simulate):
    docker = simulate(script=ENDLESS)
    with Script(CALLS[name]) as script:
        docker.wait_prompts()
        script.send_signal(signal.SIGINT)
        code, out, err = script.end()
    assert (code, out) == (-signal.SIGINT, "")
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    docker.wait_gone(timeout=SOON)


# -- the end of the interpreter --------------------------------------------------------------

BEGIN = "stream = MODEL.stream('hi')\nnext(stream)\n"
ENDS = {
    "at the end of the file": ("", 0, ""),
    "sys.exit": ("sys.exit(3)", 3, ""),
    "an error": ("1/0", 1, "ZeroDivisionError"),
    "an error that holds the stream": ("raise ValueError(stream)", 1, "ValueError"),
    "with a loop that was never closed": (
        """
loop = asyncio.new_event_loop()
other = MODEL.astream('hi')
loop.run_until_complete(anext(other))
warnings.simplefilter('ignore')
""",
        0,
        "",
    ),
    "by a handler of SIGTERM": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))\nos.kill(os.getpid(), 15)",
        4,
        "",
    ),
    "with calls at exit, before ours": ("atexit.register(lambda: next(stream, None))", 0, ""),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_interpreters_end(name, simulate):
    docker = simulate(script=DRIPPING)
    ending, code, error = ENDS[name]
    with Script(BEGIN + ending) as script:
        got = script.end()
    assert got[:2] == (code, "")
    if error:
        assert error in got[2]
    else:
        assert got[2] == ""
    docker.wait_gone(timeout=SOON)
    docker.wait_all_gone()


@pytest.mark.parametrize("script", [[Text("a"), Hang()], DRIPPING], ids=["waiting", "reading"])
def test_the_interpreters_end_in_daemon_threads(script, simulate):
    """One that waits is not woken by its child's end; one that comes to wait is told why not."""
    docker = simulate(script=script)
    code = f"""{BEGIN}
def read(call, *args):
    call(*args)
    print("nobody is to think that this was all", flush=True)
threading.Thread(target=read, args=(list, stream), daemon=True).start()
threading.Thread(target=read, args=(MODEL.generate, "hi"), daemon=True).start()
time.sleep(0.1)
"""
    with Script(code) as process:
        code, out, err = process.end()
    assert (code, out) == (0, "")
    # The thread may be stopped for good while it prints its error.
    assert err == "" or (script is DRIPPING and err.startswith("Exception in thread"))
    docker.wait_gone(timeout=SOON)
    docker.wait_all_gone()


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_leaving_a_stream_as_the_last_deed(transport, simulate):
    """What is being closed when the interpreter ends is closed: no word of a pending task."""
    docker = simulate(script=ENDLESS)
    code = f"""
for _ in DockerModel("ai/smollm2", transport={transport!r}).stream("hi"):
    break
"""
    with Script(code) as script:
        assert script.end() == (0, "", "")
    docker.wait_gone(timeout=SOON)
    docker.wait_all_gone()


def test_the_end_while_a_process_is_being_started():
    """It is waited for and killed: one that nobody knew of would outlive its owner."""
    code = """
import subprocess
begun = threading.Event()
class Slow(subprocess.Popen):
    def __init__(self, *args, **settings):
        super().__init__(["sleep", "60"], **settings)
        print(self.pid, flush=True)
        begun.set()
        time.sleep(0.3)
subprocess.Popen = Slow
threading.Thread(target=lambda: next(MODEL.stream('hi'), None), daemon=True).start()
begun.wait()
"""
    with Script(code) as script:
        pid = int(script.line())
        assert script.end() == (0, "", "")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_thread_that_is_no_daemon_reads_to_the_end(simulate):
    simulate(script=[Text("all of it")])
    code = "threading.Thread(target=lambda: print(MODEL.generate('hi'), flush=True)).start()"
    with Script(code) as script:
        assert script.end() == (0, "all of it", "")


@pytest.mark.parametrize("call", ["MODEL.generate('hi')", "list(MODEL.stream('hi'))"])
def test_a_call_after_our_own_farewell_is_an_error_and_does_not_hang(call, simulate):
    simulate()
    prologue = f"import atexit\natexit.register(lambda: say())\n{PROLOGUE}"
    code = f"""
    def say():
        try:
            {call}
        except Exception as error:
            print(type(error).__name__, flush=True)
    MODEL.generate('hi')
    """
    with Script(code, prologue) as script:
        assert script.end() == (0, "GenerationError", "")


@pytest.mark.parametrize(
    "ending", ["os._exit(0)", "os.kill(os.getpid(), 15)", "os.kill(os.getpid(), 9)"]
)
def test_an_end_that_nobody_can_notice_is_noticed_by_a_child_that_writes(ending, simulate):
    docker = simulate(script=DRIPPING)
    with Script(BEGIN + ending) as script:
        script.wait(10)
    docker.wait_gone(timeout=SOON)
    docker.wait_all_gone()


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("call", CALLS)
def test_a_callback_that_ends_the_program_ends_no_thread_of_ours(call, kind, simulate):
    """It runs on the I/O thread, which others need."""
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


# -- fork ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_in_the_middle_of_a_stream(simulate):
    """The parent's stream goes on; the forked process has calls of its own, and a clear error."""
    docker = simulate(
        {"ai/smollm2": [Text("12345678", 1), Sleep(0.3), Text("end")], "ai/other": "own"}
    )
    code = """
    warnings.simplefilter("ignore")
    stream = MODEL.stream("hi")
    text = next(stream)
    pid = os.fork()
    if pid == 0:
        try:
            list(stream)
        except Exception as error:
            print(type(error).__name__, flush=True)
        del stream
        print(DockerModel("ai/other").generate("hi"), flush=True)
        sys.exit(5)  # with all that runs at exit
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text + "".join(stream))
    """
    with Script(code) as script:
        code, out, err = script.end()
    assert (code, err) == (0, "")
    assert out.splitlines() == ["GenerationError", "own", "5 12345678end"]
    docker.wait_all_gone()
    assert docker.gone == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes(method, simulate, tmp_path):
    """A model goes to them by pickle, or by fork in the middle of a stream of its own."""
    simulate()
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, warnings
            from concurrent.futures import ProcessPoolExecutor
            from docker_model import DockerModel
            MODEL = DockerModel("ai/smollm2", standby=1)
            def ask(model, prompt):
                return str(model.generate(prompt))
            if __name__ == "__main__":
                warnings.simplefilter("ignore")
                stream = MODEL.stream("main")
                text = next(stream)
                context = multiprocessing.get_context({method!r})
                with ProcessPoolExecutor(2, mp_context=context) as pool:
                    print(*pool.map(ask, [MODEL] * 3, "abc"), sep="|")
                print(text + "".join(stream))
            """
        )
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(program)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answers = "You said: a|You said: b|You said: c\nYou said: main\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, answers, "")


# -- half a prompt ---------------------------------------------------------------------------


BIG = 10_000_000
# It reads nothing at first; if it ever came to the end of its input, it would say so.
SLOW_READER = player(["here"], ["sleep", 0.6], ["read"], ["here"])


def said_until_dead(connection):
    said = b""
    while data := connection.recv(16):
        said += data
    return said


@pytest.mark.parametrize("door", ["cancel", "timeout", "task"])
def test_half_a_prompt_never_seems_whole(door, liveness):
    timeout = Timeouts(total=0.3 if door == "timeout" else None)
    model = DockerModel("ai/smollm2", command=SLOW_READER, env=liveness.env, timeout=timeout)

    async def cancel_task():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.agenerate("y" * BIG), 0.3)

    if door == "timeout":
        with pytest.raises(GenerationTimeoutError):
            model.generate("y" * BIG)
    elif door == "task":
        asyncio.run(cancel_task())
    else:
        stream = model.stream("y" * BIG)
        thread = threading.Thread(target=list, args=(stream,))
        thread.start()
        connection = liveness.accept()
        assert connection.recv(1) == b"!"
        stream.cancel()
        thread.join()
        assert said_until_dead(connection) == b""
        return
    assert said_until_dead(liveness.accept()) == b"!"


def test_half_a_prompt_never_seems_whole_at_the_interpreters_end(liveness):
    code = f"""
    model = DockerModel("ai/smollm2", command={SLOW_READER!r})
    threading.Thread(target=model.generate, args=("y" * {BIG},), daemon=True).start()
    sys.stdin.read()
    """
    with Script(code, env=liveness.env) as script:
        connection = liveness.accept()
        assert connection.recv(1) == b"!"
        assert script.end() == (0, "", "")
        assert said_until_dead(connection) == b""


def test_half_a_prompt_is_never_sent(simulate):
    """At many moments of its writing, with the real command too."""
    docker = simulate(script=lambda prompt: [Hang()] if len(prompt) == BIG else "fine")
    model = DockerModel("ai/smollm2")
    for i in range(25):
        model.generate("is it there?")
        stream = model.stream("y" * BIG)
        thread = threading.Thread(target=list, args=(stream,))
        thread.start()
        time.sleep(i * 0.005)
        stream.cancel()
        thread.join()
    docker.wait_all_gone()
    assert {len(prompt) for prompt in docker.prompts} <= {len("is it there?"), BIG}
