"""A real browser without a window."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def browsing(width: int = 1200, height: int = 900) -> Iterator[Page]:
    """A page of it, of this size in CSS pixels."""
    with chromium() as browser:
        yield browser.new_page(viewport={"width": width, "height": height})
