"""A child that does what it is told: `python -S -E player.py '[["write", 1, "hi"], …]'`.

Steps: read, write FD TEXT [TIMES], sleep S, close FD, exit N, signal N (to itself), ignore N,
fork (a grandchild goes on with the rest, the child exits), setsid, here (says so to LIVENESS).
With LIVENESS=host:port, every process keeps a connection there: its end proves their death.
"""

import json
import os
import signal
import socket
import sys
import time

alive = None
if address := os.environ.get("LIVENESS"):
    host, port = address.split(":")
    alive = socket.create_connection((host, int(port)))
    os.set_inheritable(alive.fileno(), True)

for step in json.loads(sys.argv[1]):
    match step:
        case ["read"]:
            while os.read(0, 1 << 16):
                pass
        case ["write", fd, text, *times]:
            data = text.encode("latin-1")
            for _ in range(times[0] if times else 1):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
        case ["sleep", seconds]:
            time.sleep(seconds)
        case ["close", fd]:
            os.close(fd)
        case ["exit", code]:
            os._exit(code)
        case ["signal", number]:
            os.kill(os.getpid(), number)
        case ["ignore", number]:
            signal.signal(number, signal.SIG_IGN)
        case ["fork"]:
            if os.fork():
                os._exit(0)
        case ["setsid"]:
            os.setsid()
        case ["here"]:
            alive.sendall(b"!")
