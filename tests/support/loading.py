"""A simulated runner that loads its model until its list of running models is requested."""

import threading

from docker_model.testing import Reply, SimulatedDocker, Sleep, Text

MODEL = "ai/smollm2"
ENTRY = {"backend_name": "llama.cpp", "model_name": MODEL, "mode": "completion", "loading": True}


def loading_docker():
    """Return a simulation that starts its answer 1.5 seconds after `GET /engines/ps`."""
    requested = threading.Event()

    def list_running(_request):
        requested.set()
        return Reply(200, [ENTRY])

    def answer(_prompt):
        assert requested.wait(60)
        return [Sleep(1.5), Text("Yes.")]

    return SimulatedDocker({MODEL: answer}, replies={"GET /engines/ps": list_running})
