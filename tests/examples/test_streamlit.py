"""The Streamlit page of the guide on web apps answers, and remembers the conversation."""

import re
from pathlib import Path

import pytest

from docker_model.testing import SimulatedDocker

pytestmark = pytest.mark.slow
GUIDE = Path(__file__).parents[2] / "docs/web-apps.md"


def test_the_streamlit_page_answers_and_sends_the_conversation():
    testing = pytest.importorskip("streamlit.testing.v1")
    (code,) = re.findall(r"```py\n(import streamlit.*?)```", GUIDE.read_text(), re.DOTALL)
    with SimulatedDocker({"ai/smollm2": "Four."}) as docker:
        page = testing.AppTest.from_string(code).run(timeout=60)
        for question in ("2 + 2?", "Again?"):
            page.chat_input[0].set_value(question).run(timeout=60)
            assert not page.exception
        messages = [(message.name, message.markdown[0].value) for message in page.chat_message]
        sent = docker.requests[-1].body["messages"]
    assert messages == [
        ("user", "2 + 2?"),
        ("assistant", "Four."),
        ("user", "Again?"),
        ("assistant", "Four."),
    ]
    assert [message["content"] for message in sent] == ["2 + 2?", "Four.", "Again?"]
