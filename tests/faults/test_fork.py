"""Forks in the middle of a call, and worker processes with their own calls."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from docker_model import DockerModel
from docker_model.testing import Hang, Sleep, Text
from tests.faults.scripts import Script
from tests.support.platforms import posix_only

needs_fork = posix_only("forks")
DISCONNECT_TIMEOUT = 60  # seconds until the runner must have seen the client disconnect


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_leaves_a_running_stream_to_the_parent(simulate):
    """The parent's stream continues; the forked process can start calls, and gets a clear error."""
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


methods = pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())


@methods
def test_worker_processes_can_start_their_own_calls(method, simulate, tmp_path):
    """Workers get a model by pickle, or by a fork during a stream of the parent."""
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


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_keeps_no_copy_of_the_stdin_of_standby(simulate):
    """Copies of stdin would keep the standby processes waiting for the end of the prompt."""
    docker = simulate()
    code = """
    warnings.simplefilter("ignore")
    MODEL = DockerModel("ai/smollm2", standby=1)
    MODEL.warm_up()
    pid = os.fork()
    if pid == 0:
        sys.stdin.read()
        os._exit(0)
    print(MODEL.generate("hi"), flush=True)
    MODEL.close()
    os.close(0)
    os.waitpid(pid, 0)
    """
    with Script(code) as script:
        assert script.line() == "You said: hi"
        assert script.end() == (0, "", "")
    docker.wait_all_gone()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_ctrl_c_while_a_fork_waits_for_a_start_breaks_nothing(simulate):
    """The forked process continues without the lock, and does not release the parent's."""
    docker = simulate()
    code = """
    warnings.simplefilter("ignore")
    import subprocess
    begun = threading.Event()
    class Slow(subprocess.Popen):
        def __init__(self, *args, **settings):
            begun.set()
            time.sleep(0.3)
            super().__init__(*args, **settings)

    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    MODEL.generate("hi")
    fork()
    subprocess.Popen = Slow
    thread = threading.Thread(target=lambda: print(MODEL.generate("hi"), flush=True))
    thread.start()
    begun.wait()
    sys.stderr = open(os.devnull, "w")  # the interpreter reports the failed hook
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    fork()
    thread.join()
    print(MODEL.generate("hi"))
    """
    with Script(code) as script:
        assert script.end()[:2] == (0, "You said: hi\nYou said: hi")
    docker.wait_all_gone()


WORKER = """
import multiprocessing, sys, threading, warnings
from docker_model import DockerModel

def parks():
    MODEL.warm_up()

def leaves_a_stream():
    global stream
    stream = MODEL.stream("hi")
    next(stream)

def leaves_a_thread():
    MODEL.warm_up()
    threading.Thread(target=lambda: print(MODEL.generate("hi"), flush=True)).start()

MODEL = DockerModel("ai/smollm2", standby=2)
if __name__ == "__main__":
    warnings.simplefilter("ignore")
    worker = multiprocessing.get_context(sys.argv[1]).Process(target=globals()[sys.argv[2]])
    worker.start()
    worker.join()
    sys.exit(worker.exitcode)
"""


def work(method, name, tmp_path):
    """Return the output of a worker process that runs this function."""
    program = tmp_path / "program.py"
    program.write_text(WORKER)
    done = subprocess.run(
        [sys.executable, str(program), method, name],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@methods
def test_standby_processes_send_no_request_when_their_worker_ends(method, simulate, tmp_path):
    """A worker runs no `atexit` function, and the end of its input must not start an answer."""
    docker = simulate()
    model = DockerModel("ai/smollm2")
    model.warm_up()
    requests = len(docker.requests)
    assert work(method, "parks", tmp_path) == ""
    docker.wait_all_gone(DISCONNECT_TIMEOUT)
    assert len(docker.requests) == 2 * requests


@methods
def test_a_stream_that_a_worker_leaves_open_is_ended(method, simulate, tmp_path):
    docker = simulate(script=[Text("some", 4), Hang()])
    assert work(method, "leaves_a_stream", tmp_path) == ""
    docker.wait_gone(timeout=DISCONNECT_TIMEOUT)
    docker.wait_all_gone(DISCONNECT_TIMEOUT)


@methods
def test_a_thread_of_a_worker_reads_to_the_end(method, simulate, tmp_path):
    docker = simulate(script=[Text("all "), Sleep(0.2), Text("of it")])
    assert work(method, "leaves_a_thread", tmp_path) == "all of it\n"
    docker.wait_all_gone(DISCONNECT_TIMEOUT)
