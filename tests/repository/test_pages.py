"""The documentation: its reference, and its pages on a phone in a browser."""

import functools
import http.server
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from docker_model import errors, management, options, types
from docker_model.http import Client
from docker_model.testing import steps
from tests.support.browser import launch, needs_chromium

pytest.importorskip("mkdocs")

ROOT = Path(__file__).parents[2]
PHONE = {"width": 390, "height": 844}
WIDTHS = "() => [document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
WITHOUT_ALT = "() => [...document.querySelectorAll('.md-content img:not([alt])')].map(i => i.src)"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.fixture
def site(folder):
    """The pages, and the address of a server of them."""
    handler = functools.partial(_Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        pages = [path.parent.relative_to(folder) for path in folder.rglob("index.html")]
        yield pages, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(
    ("page", "module"),
    [
        ("core", management),
        ("core", options),
        ("core", types),
        ("core", errors),
        ("testing", steps),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_the_reference_has_every_public_name_and_no_other(folder, page, module):
    text = (folder / "reference" / page / "index.html").read_text("utf-8")
    headings = set(re.findall(rf'<h\d id="{module.__name__}\.(\w+)"', text))
    # An alias has another name, or none.
    public = {n for n in module.__all__ if getattr(getattr(module, n), "__name__", "") == n}
    assert public
    assert headings == public


def test_the_reference_has_every_method_of_the_http_client(folder):
    text = (folder / "reference" / "http" / "index.html").read_text("utf-8")
    headings = set(re.findall(r'<h\d id="docker_model\.http\.Client\.(\w+)"', text))
    fields = Client.__dataclass_fields__.keys()
    assert headings == {name for name in vars(Client) if name[0] != "_"} - fields


@needs_chromium
@pytest.mark.filterwarnings("default")
def test_every_page_fits_a_phone_and_stays_on_its_host(site):
    pages, address = site
    too_wide, without_alt, foreign, errors = [], [], [], []
    with launch() as browser:
        page = browser.new_page(viewport=PHONE)
        page.on("request", lambda sent: foreign.append(sent.url))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        for name in pages:
            page.goto(f"{address}{name.as_posix()}/")
            width, seen = page.evaluate(WIDTHS)
            too_wide += [name] if width > seen else []
            without_alt += page.evaluate(WITHOUT_ALT)
    assert len(pages) > 20
    assert (too_wide, without_alt, errors) == ([], [], [])
    assert [url for url in foreign if not url.startswith((address, "data:"))] == []
