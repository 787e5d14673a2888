"""Takes page.png, the README's screenshot of the page: `python -m docs.images.page` in a checkout, with Chromium."""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from bench.services import started

POINT = 60
"""Index of the point under the pointer: the right eye's outer corner."""


def main() -> None:
    """Shows the examples' first image. The status names the face rather than the time, which depends on the machine."""
    with started() as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 880}, color_scheme="dark")
        page.goto(f"http://127.0.0.1:{service.rest}/")
        page.locator("#welcome-examples").click()
        page.get_by_text("3 of 3").wait_for()
        page.get_by_label("90 %").check()
        page.keyboard.press("f")
        page.keyboard.press("]")
        page.locator(f'tr[data-index="{POINT}"]').click()
        page.locator("#tip").wait_for()
        page.screenshot(path=Path(__file__).with_suffix(".png"))
        browser.close()


if __name__ == "__main__":
    main()
