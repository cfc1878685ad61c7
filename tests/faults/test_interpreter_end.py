"""Every kind of exit of the interpreter ends its calls."""

import os
import sys

import pytest

from docker_model.testing import Hang, Sleep, Text
from tests.faults.scripts import PROLOGUE, Script
from tests.support.platforms import posix

DISCONNECT_TIMEOUT = 60  # seconds until the runner must have seen the client disconnect
ENDLESS = [Text("some", 4), Hang()]
DRIPPING = [Text("x"), Sleep(0.02)] * 3000

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


POSIX_ENDS = {"by a handler of SIGTERM"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=posix if name in POSIX_ENDS else ()) for name in ENDS]
)
def test_the_exit_of_the_interpreter_ends_the_child(name, simulate):
    docker = simulate(script=DRIPPING)
    ending, code, error = ENDS[name]
    with Script(BEGIN + ending) as script:
        got = script.end()
    assert got[:2] == (code, "")
    if error:
        assert error in got[2]
    else:
        assert got[2] == ""
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone()


@pytest.mark.parametrize("script", [[Text("a"), Hang()], DRIPPING], ids=["waiting", "reading"])
def test_daemon_threads_get_no_cut_answer_at_the_exit_of_the_interpreter(script, simulate):
    """A waiting thread is not woken; a thread that then starts to wait gets an error."""
    docker = simulate(script=script)
    code = f"""{BEGIN}
def read(call, *args):
    call(*args)
    print("this must not seem to be all", flush=True)
threading.Thread(target=read, args=(list, stream), daemon=True).start()
threading.Thread(target=read, args=(MODEL.generate, "hi"), daemon=True).start()
time.sleep(0.1)
"""
    with Script(code) as process:
        code, out, err = process.end()
    assert (code, out) == (0, "")
    # The thread may be stopped while it prints its error.
    assert err == "" or (script is DRIPPING and err.startswith("Exception in thread"))
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone()


@pytest.mark.parametrize("transport", ["cli", "http"])
def test_leaving_a_stream_just_before_the_exit_prints_nothing(transport, simulate):
    """A close that is in progress at the exit is completed without a warning."""
    docker = simulate(script=ENDLESS)
    code = f"""
for _ in DockerModel("ai/smollm2", transport={transport!r}).stream("hi"):
    break
"""
    with Script(code) as script:
        assert script.end() == (0, "", "")
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone()


@posix
def test_a_process_that_is_being_started_at_the_exit_is_killed():
    """The exit waits for the start and kills its process, or it would outlive its owner."""
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


# Starts no thread after its main thread has ended: python/cpython#113964.
ENDS_EARLY = (3, 12) <= sys.version_info < (3, 12, 2)


@pytest.mark.skipif(ENDS_EARLY, reason="python/cpython#113964")
def test_a_thread_that_is_not_a_daemon_reads_to_the_end(simulate):
    simulate(script=[Text("all of it")])
    code = "threading.Thread(target=lambda: print(MODEL.generate('hi'), flush=True)).start()"
    with Script(code) as script:
        assert script.end() == (0, "all of it", "")


def test_a_first_call_at_the_exit_answers_or_names_the_reason(simulate):
    simulate(script=[Text("all of it")])
    code = """
    def say():
        try:
            print(MODEL.generate('hi'), flush=True)
        except Exception as error:
            print(error, flush=True)
    atexit.register(say)
    """
    with Script(code) as script:
        code, output, errors = script.end()
    assert (code, errors) == (0, "")
    assert "the interpreter is shutting down" in output if ENDS_EARLY else output == "all of it"


@pytest.mark.parametrize("call", ["MODEL.generate('hi')", "list(MODEL.stream('hi'))"])
def test_a_call_after_the_shutdown_is_an_error_and_does_not_hang(call, simulate):
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
def test_a_writing_child_ends_when_python_dies(ending, simulate):
    docker = simulate(script=DRIPPING)
    with Script(BEGIN + ending) as script:
        script.wait(60)
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone()
