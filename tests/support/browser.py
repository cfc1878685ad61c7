"""Chromium without a window, for tests of pages."""

import contextlib
import shutil

import pytest

sync_api = pytest.importorskip("playwright.sync_api")

_PATH = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
needs_chromium = pytest.mark.skipif(_PATH is None, reason="no Chromium is installed")


@contextlib.contextmanager
def launch():
    """Start Chromium, and close it at the end."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_PATH, args=["--no-sandbox"])
        yield browser
        browser.close()
