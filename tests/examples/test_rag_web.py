"""The web page of `examples/rag/` in a headless browser: answers, sources, cancellation.

With `DOCS_IMAGES=1`, a test writes the screenshot for the guide.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docker_model.testing import Fail, Hang, SimulatedDocker, Text
from tests.support.browser import launch, needs_chromium, sync_api

pytest.importorskip("pypdf")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from tests.examples.test_rag import models, scripted_embedding

pytest.importorskip("langchain_chroma")

ROOT = Path(__file__).parents[2]
SCREENSHOT = ROOT / "docs/images/rag-web.png"
SECONDS = 60_000
ANSWER = "The Borealis is the only ship with an elevator, between the car deck and the saloon."
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    needs_chromium,
    pytest.mark.filterwarnings("default"),
]


def says(prompt):
    """Answer as the model, depending on the question."""
    question = prompt.rpartition("Question: ")[2]
    if question == "for ever":
        yield Text("Once upon a time")
        yield Hang()
    elif question == "in vain":
        yield Fail.out_of_memory()
    elif question == "for trouble":
        yield Text("<img src=x onerror=\"document.title='broken'\">")
    else:
        yield Text(ANSWER)


@pytest.fixture(scope="module")
def docker():
    with SimulatedDocker(models(), embed=scripted_embedding(), script=says) as simulation:
        yield simulation


@pytest.fixture(scope="module")
def address(docker, tmp_path_factory):
    """Start the server on a free port, and read the address from its log."""
    folder = tmp_path_factory.mktemp("store")
    server = subprocess.Popen(
        [sys.executable, ROOT / "examples/rag/web.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PORT": "0", "RAG_STORE": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in server.stderr:
            if address_line := re.search(r"running on (http://\S+)", line):
                break
        else:
            pytest.fail("the server ended")
        yield address_line[1]
    finally:
        server.terminate()
        server.communicate(timeout=30)


@pytest.fixture(scope="module")
def browser():
    with launch() as chromium:
        yield chromium


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 900, "height": 720}, device_scale_factor=2)
    page.set_default_timeout(SECONDS)
    sync_api.expect.set_options(timeout=SECONDS)
    page.goto(address)
    yield page
    page.close()


def ask(page, question):
    page.fill("#question", question)
    page.click("#ask")


def test_a_question_is_answered_with_its_sources(page):
    ask(page, "Which ship has an elevator from the car deck?")
    sync_api.expect(page.locator("#state")).to_have_text("Done.")
    assert page.text_content("#answer") == ANSWER
    assert page.locator("#sources li b").first.text_content() == "fleet.md"
    assert "elevator" in page.text_content("#sources")
    assert page.locator("#cancel").is_disabled()
    picture = page.screenshot()
    assert picture.startswith(b"\x89PNG")
    if "DOCS_IMAGES" in os.environ:
        SCREENSHOT.write_bytes(picture)


def test_the_cancel_button_ends_the_work_of_the_model(page, docker):
    gone = len(docker.gone)
    ask(page, "for ever")
    sync_api.expect(page.locator("#answer")).to_have_text("Once upon a time")
    page.click("#cancel")
    sync_api.expect(page.locator("#state")).to_have_text("Canceled.")
    docker.wait_gone(gone + 1)  # the runner saw the client disconnect
    assert page.text_content("#answer") == "Once upon a time"
    assert page.locator("#ask").is_enabled()
    ask(page, "Which ship has an elevator?")
    sync_api.expect(page.locator("#state")).to_have_text("Done.")


def test_closing_the_page_ends_the_work_of_the_model(browser, address, docker):
    gone = len(docker.gone)
    page = browser.new_page()
    page.set_default_timeout(SECONDS)
    page.goto(address)
    ask(page, "for ever")
    sync_api.expect(page.locator("#answer")).to_have_text("Once upon a time")
    page.close()
    docker.wait_gone(gone + 1)


def test_an_error_is_shown_with_its_hint(page):
    ask(page, "in vain")
    sync_api.expect(page.locator("#state")).to_contain_text("Hint:")
    assert page.text_content("#answer") == ""


def test_an_answer_is_never_interpreted_as_html(page):
    ask(page, "for trouble")
    sync_api.expect(page.locator("#state")).to_have_text("Done.")
    assert page.text_content("#answer").startswith("<img")
    assert page.title() == "Ask the ferry handbook"
