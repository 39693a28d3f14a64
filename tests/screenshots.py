"""Pictures of every section of pages, light and dark, for a look at them: ``make screenshots``."""

import argparse
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser import DESK_PX, PHONE_PX, launch_browser, open_page

OPEN_ALL = "document.querySelectorAll('details:not(.cell)').forEach((e) => e.open = true)"


def draw_sections(browser: Browser, page: Path, folder: Path) -> list[Path]:
    """Write one PNG file for each section of a page, light and dark, and one of the whole page on a phone."""
    paths = []
    for mode in ("light", "dark"):
        with open_page(browser, page, DESK_PX, is_dark=mode == "dark") as opened_page:
            opened_page.page.evaluate(OPEN_ALL)
            for number, section in enumerate(opened_page.page.locator("main > section").all(), start=1):
                paths.append(folder / f"{page.stem}-{number:02}-{section.get_attribute('id')}-{mode}.png")
                section.screenshot(path=paths[-1])
    with open_page(browser, page, PHONE_PX) as opened_page:
        paths.append(folder / f"{page.stem}-phone.png")
        opened_page.page.screenshot(path=paths[-1], full_page=True)
    return paths


def main() -> None:
    """Draw the sections of the pages that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the PNG files")
    parser.add_argument("pages", type=Path, nargs="+", help="HTML files")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with launch_browser() as browser:
        for page in arguments.pages:
            paths = draw_sections(browser, page.absolute(), arguments.folder)
            print(f"{page}: {len(paths)} pictures in {arguments.folder}")  # noqa: T201 (the output of a command)


if __name__ == "__main__":
    main()
