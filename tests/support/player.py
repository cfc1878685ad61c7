"""A child that runs the steps of its argument: `python -S -E player.py "[['write', 1, 'hi'], …]"`.

Steps: read, write FD TEXT [TIMES], drip FD TEXT S (a byte at a time), sleep S, close FD, exit N,
signal N (to itself), ignore N, fork (a grandchild runs the other steps, the child exits),
setsid, nonblocking FD, here (sends a byte to LIVENESS), wait (until the test closes LIVENESS).
With LIVENESS=host:port, every process keeps a connection to that address, which ends when the
process dies. On Windows a grandchild is a new process with its own connection.
As `docker model`, the player confirms that every model exists.
It imports only what is built in: hundreds are started, and `socket` alone doubles the time.
"""

import _signal
import _socket
import os
import sys
import time

if "inspect" in sys.argv:
    sys.exit()

alive = None
if address := os.environ.get("LIVENESS"):
    host, port = address.split(":")
    alive = _socket.socket()
    alive.connect((host, int(port)))
    if os.name == "posix":
        os.set_inheritable(alive.fileno(), True)

steps = eval(sys.argv[1])
for number, step in enumerate(steps, 1):
    match step:
        case ["read"]:
            while os.read(0, 1 << 16):
                pass
        case ["write", fd, text, *times]:
            data = text.encode("latin-1")
            for _ in range(times[0] if times else 1):
                view = memoryview(data)
                while view:
                    try:
                        view = view[os.write(fd, view) :]
                    except BlockingIOError:
                        time.sleep(0.001)
        case ["drip", fd, text, seconds]:
            for byte in text.encode("latin-1"):
                os.write(fd, bytes([byte]))
                time.sleep(seconds)
        case ["sleep", seconds]:
            time.sleep(seconds)
        case ["close", fd]:
            os.close(fd)
        case ["exit", code]:
            os._exit(code)
        case ["signal", which]:
            os.kill(os.getpid(), which)
        case ["ignore", which]:
            _signal.signal(which, _signal.SIG_IGN)
        case ["fork"]:
            if not hasattr(os, "fork"):  # Windows: another process continues
                import subprocess

                argv = [sys.executable, "-S", "-E", __file__, ascii(steps[number:])]
                subprocess.Popen(argv)
                os._exit(0)
            if os.fork():
                os._exit(0)
        case ["setsid"]:
            os.setsid()
        case ["nonblocking", fd]:
            os.set_blocking(fd, False)
        case ["here"]:
            alive.sendall(b"!")
        case ["wait"]:
            alive.recv(1)
