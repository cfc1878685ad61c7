"""The documentation in a browser: no page is wider than a phone, and none asks another host."""

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("mkdocs")

ROOT = Path(__file__).parents[2]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
PHONE = {"width": 390, "height": 844}
WIDTHS = "() => [document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
WITHOUT_ALT = "() => [...document.querySelectorAll('.md-content img:not([alt])')].map(i => i.src)"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"),
    pytest.mark.filterwarnings("default"),
]


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path):
    """The pages, and the address of a server of them."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True)
    handler = functools.partial(_Handler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        pages = [path.parent.relative_to(tmp_path) for path in tmp_path.rglob("index.html")]
        yield pages, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_every_page_fits_a_phone_and_stays_on_its_host(site):
    pages, address = site
    too_wide, without_alt, foreign, errors = [], [], [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport=PHONE)
        page.on("request", lambda sent: foreign.append(sent.url))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        for name in pages:
            page.goto(f"{address}{name.as_posix()}/")
            width, seen = page.evaluate(WIDTHS)
            too_wide += [name] if width > seen else []
            without_alt += page.evaluate(WITHOUT_ALT)
        browser.close()
    assert len(pages) > 20
    assert (too_wide, without_alt, errors) == ([], [], [])
    assert [url for url in foreign if not url.startswith((address, "data:"))] == []
