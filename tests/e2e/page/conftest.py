"""One Chromium, one service and one tab for all tests of the page."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.page.browsing import BOX, BUSY_MACHINE_MS, FakeService, opened, running, start
from tests.fakes import encoded, gradient_image


@pytest.fixture(scope="package")
def service(browser: Browser) -> Iterator[FakeService]:
    with running(FakeService()) as service:
        yield service


@pytest.fixture(scope="package")
def camera(tmp_path_factory) -> Path:
    """The film of Chromium's fake camera."""
    path = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    path.write_bytes(encoded(gradient_image(), ".jpg") * 4)
    return path


@pytest.fixture(scope="package")
def browser(camera: Path) -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine")
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=arguments, timeout=BUSY_MACHINE_MS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def tab(browser: Browser, service: FakeService) -> Iterator[Page]:
    with opened(browser, service.url) as page:
        yield page


@pytest.fixture
def page(tab: Page, service: FakeService) -> Iterator[Page]:
    """The page, loaded again in the same tab: a new tab for each test would take seconds."""
    start(tab, service.url)
    yield tab
    tab.unroute_all()
    service.engine.error, service.detector.found = None, ((BOX, 0.75),)
