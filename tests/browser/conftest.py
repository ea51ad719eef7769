"""A headless Chromium of the system, driven by selenium. Where there is none the tests are skipped with the reason.

`make test-browser` installs both, and sets `ISC_BROWSER=required`: then a missing browser is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser.driving import wait

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
WIDTHS = {"wide": 1280, "narrow": 390}
HEIGHT = 900


def _missing() -> str:
    """What is missing for these tests, or nothing."""
    try:
        import selenium  # noqa: F401
    except ModuleNotFoundError:
        return "selenium is not installed"
    for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)):
        if not any(map(shutil.which, names)):
            return f"no {names[0]} on PATH"
    return ""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all tests."""
    missing = _missing()
    if missing and os.environ.get("ISC_BROWSER") == "required":
        pytest.fail(missing)
    if missing:
        pytest.skip(f"{missing}: make test-browser installs it")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver") or ""))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(params=WIDTHS)
def opened(chromium: Chrome, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Chrome]]:
    """Open a page in a window of one of two widths and wait until it is whole; afterwards nothing was complained of."""

    def opener(page: str, theme: str = "light") -> Chrome:
        place = tmp_path / "page.html"
        place.write_text(page, encoding="utf-8")
        size = {"width": WIDTHS[request.param], "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        chromium.get(place.as_uri())
        wait(chromium, "document.documentElement.dataset.ready")
        return chromium

    yield opener
    if not chromium.current_url.startswith("file:"):
        return
    assert [entry["message"] for entry in chromium.get_log("browser")] == []  # type: ignore[no-untyped-call]
    assert chromium.execute_script("return performance.getEntriesByType('resource').length") == 0
