"""What several tests share: a headless browser."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from ntm.engine import compiler


def pytest_configure(config: pytest.Config) -> None:
    """Where nothing can be compiled, the package says so once, to whichever test comes first."""
    why = compiler.why_not()
    if why:
        config.addinivalue_line("filterwarnings", f"ignore:{re.escape(why)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is looked at in a browser looks the same on every processor."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("once")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium as the system has it; without one the tests of the pages are skipped, but never in CI."""
    names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None and not os.environ.get("CI"):
        pytest.skip("no Chromium found (on Debian: apt-get install chromium)")
    assert path, f"CI needs a browser: none of {', '.join(names)} is installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
