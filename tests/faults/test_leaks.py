"""Many generations that end at random moments leave no resource open."""

import random
import threading

from docker_model import DockerModel
from docker_model._runtime import io_thread, tasks
from tests.support.platforms import open_descriptors

GENERATIONS = 200


def standing():
    return open_descriptors(), threading.active_count()


def test_generations_leave_no_descriptors_threads_or_children(docker):
    model = DockerModel("ai/smollm2")
    chance = random.Random(500)

    def generate(number):
        stream = model.stream(str(number))
        for _ in range(chance.choice((0, 1, 2, 99))):
            if next(stream, None) is None:
                break
        if chance.random() < 0.5:
            stream.cancel()

    for number in range(3):
        generate(number)
    docker.wait_all_gone()
    before = standing()
    numbers = iter(range(GENERATIONS))
    workers = [
        threading.Thread(target=lambda: [generate(number) for number in numbers]) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    docker.wait_all_gone()

    async def all_ended():
        for child in list(io_thread.current().children):
            await child.ended

    tasks.run_blocking(all_ended())
    after = standing()
    assert after[0] <= before[0] + 2  # the simulated runner may be closing a connection
    assert after[1] <= before[1] + 2
    assert not io_thread.current().children
