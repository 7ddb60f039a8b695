"""Fixtures of the tests that need a browser; without one they skip and say what to install."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALLED = ("chromium", "chromium-browser", "google-chrome")
# The sandbox cannot start as root, and the rest keeps the browser from calling anyone.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOW_TO_INSTALL = (
    'browser tests need playwright and a chromium: pip install -e ".[dev]", then '
    "`apt install chromium` or `playwright install chromium`"
)

Screenshot = Callable[[Any, str], Path]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Start a browser for one test file: the system's chromium, or else playwright's own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason=HOW_TO_INSTALL)
    executable = next(filter(None, map(shutil.which, INSTALLED)), None)
    # Not for the whole session: while it runs, its event loop occupies the main thread.
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=executable, args=list(ARGUMENTS), timeout=60_000
            )
        except sync_api.Error as error:
            why = f" ({str(error).splitlines()[0]})" if executable else ""
            pytest.skip(HOW_TO_INSTALL + why)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """Open an empty page of desktop size in a fresh profile."""
    context = chromium.new_context(viewport={"width": 1360, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def screenshot() -> Screenshot:
    """Return a function that keeps a screenshot of a page under a name, for people to look at.

    They go to the folder that PATCHCORE_TEST_ARTIFACTS names, by default `test-artifacts`.
    """
    folder = Path(os.environ.get("PATCHCORE_TEST_ARTIFACTS") or REPOSITORY / "test-artifacts")

    def keep(page: Any, name: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.png"
        page.screenshot(path=file)
        return file

    return keep
