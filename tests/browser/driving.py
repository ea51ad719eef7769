"""How a page is driven: keys, and waiting for what the page does by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


def press(chromium: Chrome, *keys: str) -> None:
    """Press keys, one after another."""
    from selenium.webdriver import ActionChains

    ActionChains(chromium).send_keys(*keys).perform()


def wait(chromium: Chrome, condition: str, seconds: float = 30) -> None:
    """Wait until an expression of JavaScript holds."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(chromium, seconds, 0.05).until(lambda driver: driver.execute_script(f"return Boolean({condition})"))
