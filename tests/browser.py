"""A real browser for tests of pages: Chromium, driven by Playwright, and the checks that every page must pass."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
PHONE_PX, DESK_PX = 390, 1280


@dataclass
class OpenedPage:
    """A page in the browser with everything that went wrong in it.

    Attributes
    ----------
    page
        Page of Playwright.
    messages
        Messages of the console and uncaught errors.
    requests
        Addresses that were requested, without data URIs.
    """

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return what no page may have: messages, requests, sideways scrolling, faults for screen readers."""
        width, visible = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        scrolling = [f"{width} px wide in {visible} px"] if width > visible else []
        unnamed = self.page.evaluate(
            "[...document.querySelectorAll('img, [role=img]')]"
            ".filter((e) => !(e.getAttribute('alt') || e.getAttribute('aria-label')))"
            ".map((e) => e.outerHTML.slice(0, 80))"
        )
        faults = [
            f"{fault['id']}: {fault['nodes'][0]['html'][:120]}"
            for fault in Axe().run(self.page).response["violations"]
            if fault["impact"] in {"serious", "critical"}
        ]
        return self.messages + self.requests[1:] + scrolling + unnamed + faults


@contextmanager
def launch_browser() -> Iterator[Browser]:
    """Lend Chromium for the time of the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: Browser, file: Path, width: int = DESK_PX, is_dark: bool = False, has_scripts: bool = True
) -> Iterator[OpenedPage]:
    """Lend a page that shows a file, in a browser window without history."""
    context: BrowserContext = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if is_dark else "light",
        java_script_enabled=has_scripts,
    )
    opened_page = OpenedPage(context.new_page())
    opened_page.page.on("console", lambda message: opened_page.messages.append(message.text))
    opened_page.page.on("pageerror", lambda error: opened_page.messages.append(str(error)))
    opened_page.page.on("request", lambda request: opened_page.requests.append(request.url))
    opened_page.page.on(
        "dialog", lambda dialog: (opened_page.messages.append(f"dialog: {dialog.message}"), dialog.dismiss())
    )
    opened_page.page.goto(file.as_uri())
    yield opened_page
    context.close()
