"""The page as people meet it: a real Chromium, real sockets, and a network whose answers are known."""

import asyncio
import json
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from service.images import ImageLimits, decode_image
from service.inference import EngineUnavailable
from tests.contract.doors import open_doors
from tests.e2e.test_gateway import served
from tests.fakes import FakeDetector, FakeEngine, encoded, make_gateway, picture

# a crop of one picture pixel to one crop pixel: the box's 204.8 pixels times 1.25 are the network's 256. Its first
# pixel is picture pixel (-8, -18), and the fake network puts point i at crop pixel (i, 2 i)
BOX = (17.1, 7.1, 221.9, 211.9)
POINT = 64
PLACE = (56, 110)
"""Point 64, in picture pixels."""

BUSY_MACHINE_MS = 60_000
expect.set_options(timeout=BUSY_MACHINE_MS)


class FakeService:
    """A gateway over fakes that tests change; its event loop has a thread of its own, as Playwright occupies theirs."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.detector = FakeDetector((BOX, 0.75))
        self.url = ""

    async def serve(self, started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        stop = asyncio.Event()
        async with open_doors(make_gateway(self.engine, self.detector, max_pixels=10**6, max_bytes=10**6)) as doors:
            self.url = doors["rest"].url
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()


@pytest.fixture(scope="module")
def service(browser: Browser) -> Iterator[FakeService]:
    service = FakeService()
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(service.serve(started)))
    thread.start()
    loop, stop = started.result(BUSY_MACHINE_MS / 1000)
    yield service
    loop.call_soon_threadsafe(stop.set)
    thread.join()


@pytest.fixture(scope="module")
def camera(tmp_path_factory) -> Path:
    """What Chromium's camera films."""
    path = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    path.write_bytes(encoded(picture(), ".jpg") * 4)
    return path


@pytest.fixture(scope="module")
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


class Watch:
    """What a page complains of in its console, and which hosts it asks."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(re.sub(r"^(\w+://[^/]*).*|^(blob:).*", r"\1\2", request.url)))

    def check(self, url: str) -> None:
        refused = [text for text in self.complaints if text.startswith("Failed to load resource")]
        assert self.complaints == refused  # requests may be refused, as the tests of that see on the page itself
        assert self.hosts - {"blob:"} == {url}


@contextmanager
def opened(browser: Browser, url: str, **settings) -> Iterator[Page]:
    """The page, which must ask no other host, and may complain of refused requests alone."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write", "camera"], **settings)
    context.set_default_timeout(BUSY_MACHINE_MS)
    page = context.new_page()
    watch = Watch(page)
    start(page, url)
    try:
        yield page
        watch.check(url)
    finally:
        context.close()


def start(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("#groups label")).to_have_count(9)


@pytest.fixture(scope="module")
def tab(browser: Browser, service: FakeService) -> Iterator[Page]:
    with opened(browser, service.url) as page:
        yield page


@pytest.fixture
def page(tab: Page, service: FakeService) -> Iterator[Page]:
    """The page, fresh, in a tab that stays open: a tab for each test would take seconds."""
    start(tab, service.url)
    yield tab
    tab.unroute_all()
    service.engine.error, service.detector.found = None, ((BOX, 0.75),)


def choose(page: Page, content: bytes, name: str = "a.png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "application/octet-stream", "buffer": content})


def show(page: Page, content: bytes | None = None, faces: int = 1, name: str = "a.png") -> None:
    choose(page, encoded(picture()) if content is None else content, name)
    expect(page.locator("#faces li")).to_have_count(faces)


def screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a place of the picture is in the window."""
    left, top = corner(page)
    at = page.evaluate("(p) => import('/page/stage.js').then((m) => m.viewer.view.toScreen(p))", [x, y])
    return left + at[0], top + at[1]


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """The place of the picture that is there in the window."""
    left, top = corner(page)
    code = "(p) => import('/page/stage.js').then((m) => m.viewer.view.toPicture(p))"
    at: tuple[float, float] = page.evaluate(code, [x - left, y - top])
    return at


def corner(page: Page) -> tuple[float, float]:
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    return box["x"], box["y"]


def centroid(page: Page) -> tuple[float, float]:
    """The middle of what is bright in the viewer, from its centre, in screen pixels; (0, 0) is the centre itself."""
    shot = cv2.imdecode(np.frombuffer(page.locator("#viewer").screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
    height, width = shot.shape
    rows, columns = np.nonzero(shot > 200)
    return float(columns.mean() + 0.5 - width / 2), float(rows.mean() + 0.5 - height / 2)


# ---------------------------------------------------------------- the picture and its points


def test_a_point_is_drawn_exactly_on_its_pixel(page):
    black = np.zeros((240, 320, 3), np.uint8)
    marked = black.copy()
    marked[PLACE[1], PLACE[0]] = 255
    page.emulate_media(color_scheme="dark")  # in which nothing beside the picture is bright
    for part in ("Outlines", "Boxes"):
        page.get_by_role("button", name=part, exact=True).click()
    page.get_by_label("off").check()
    for content, points in ((black, "true"), (marked, "false")):
        show(page, encoded(content))
        page.locator(f'tr[data-index="{POINT}"]').dblclick()
        page.keyboard.press("Escape")
        expect(page.locator("#tip")).to_be_hidden()
        expect(page.get_by_role("button", name="Points", exact=True)).to_have_attribute("aria-pressed", points)
        # zooming to the point has brought it into the middle; so is its dot, and so is the square of its pixel
        assert centroid(page) == pytest.approx((0, 0), abs=0.6)
        page.get_by_role("button", name="Points", exact=True).click()


def test_hovering_a_point_tells_all_about_it(page):
    show(page)
    page.mouse.move(*screen(page, *PLACE))
    # the fake network's covariance [[4, 1], [1, 2]] has the eigenvalues 3 + sqrt 2 and 3 - sqrt 2
    tip = "64 right eye inner cornerx 56.00  y 110.00score 0.66  \u03c3 2.10 \u00d7 1.26 px"
    expect(page.locator("#tip")).to_have_text(tip)
    expect(page.locator("#readout")).to_contain_text(re.compile(r"x 5[56]\.\d\d  y 1(09|10)\.\d\d  rgb \d+ \d+ 40"))


def test_an_ellipse_reaches_as_far_as_its_confidence_says(page):
    show(page)
    for choice, half_width in (("50 %", 2.3548), ("90 %", 4.2919), ("95 %", 4.8955)):
        page.get_by_label(choice).check()
        # sigma x is 2; the pupils are points 96 and 97, one pixel apart in x
        box = page.locator('[data-group="pupils"] .ellipse').last.evaluate("(p) => [p.getBBox().x, p.getBBox().width]")
        assert box == pytest.approx([88 - half_width, 1 + 2 * half_width], abs=0.01)


def test_an_ellipse_of_heavy_tails_reaches_by_the_same_rule_as_everywhere(page):
    # (4 - 2) (0.25^(-1/2) - 1) = 2
    reached = page.evaluate("import('/page/uncertainty.js').then(({ reach }) => reach(0.75, 4))")
    assert reached == pytest.approx(2**0.5)


def test_groups_and_parts_can_be_left_out(page):
    show(page)
    drawn, row = page.locator('#overlay [data-group="nose"]'), page.locator('tr[data-group="nose"]').first
    expect(drawn).to_have_count(1)
    page.locator("#groups label", has_text="nose").click()
    expect(drawn).to_have_count(0)
    expect(row).to_be_hidden()
    page.get_by_role("button", name="All groups").click()
    expect(row).to_be_visible()
    expect(page.locator(".labels text")).to_have_count(0)
    page.keyboard.press("i")
    expect(page.locator(".labels text")).to_have_count(98)


def test_the_wheel_zooms_about_the_cursor_and_dragging_moves(page):
    show(page)
    x, y = map(round, screen(page, 100, 80))  # wheels are told in whole screen pixels
    under = place(page, x, y)
    page.mouse.move(x, y)
    before = page.locator("#zoom").inner_text()
    page.mouse.wheel(0, -600)
    expect(page.locator("#zoom")).not_to_have_text(before)
    assert place(page, x, y) == pytest.approx(under, abs=1e-6)
    page.mouse.down()
    page.mouse.move(x + 30, y - 20, steps=3)
    page.mouse.up()
    assert place(page, x + 30, y - 20) == pytest.approx(under, abs=1e-6)


def test_the_browser_turns_a_picture_as_the_service_does(page, tmp_path):
    for orientation in range(1, 9):
        path = tmp_path / f"turned-{orientation}.jpg"
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(picture()).save(path, exif=exif, quality=95)
        shown = decode_image(path.read_bytes(), ImageLimits(10**6, 10**6))
        height, width = shown.shape[:2]
        with page.expect_response("**/v1/landmarks*"):
            choose(page, path.read_bytes())
        expect(page.locator("#facts")).to_contain_text(f"{width} \u00d7 {height} px")
        expect(page.locator("#notice")).to_be_hidden()
        for x, y in ((20, 20), (width - 20, 20), (20, height - 20)):
            page.mouse.move(*screen(page, x, y))
            colour = re.findall(r"rgb (\d+) (\d+) (\d+)", page.locator("#readout").inner_text())[0]
            assert np.abs(np.array(colour, int) - shown[y, x]).max() <= 6, orientation


def test_a_file_that_the_browser_cannot_show_still_gets_its_points(page):
    show(page, encoded(picture(), ".tif"))
    expect(page.locator("#notice")).to_contain_text("this browser does not show it")
    expect(page.locator("#overlay .dot").first).to_be_attached()


def test_a_crowd_is_walked_through(page, service):
    service.detector.found = tuple(((x, y, x + 60.0, y + 60.0), 0.9) for x in (10.0, 100.0) for y in (10.0, 100.0))
    show(page, faces=4)
    pressed = page.locator('#faces .face[aria-pressed="true"]')
    expect(pressed).to_contain_text("Face 1")
    page.keyboard.press("]")
    expect(pressed).to_contain_text("Face 2")
    expect(page.locator("#points-of")).to_have_text("of face 2")
    page.keyboard.press("[")
    page.keyboard.press("[")
    expect(pressed).to_contain_text("Face 4")
    page.get_by_role("button", name="Leave Face 4 out").click()
    expect(page.locator("#faces li")).to_have_count(3)
    page.get_by_role("button", name="Find faces").click()
    expect(page.locator("#faces li")).to_have_count(4)


# ---------------------------------------------------------------- boxes, answers, options


def test_a_box_drawn_by_hand_is_asked_for(page):
    show(page)
    page.get_by_role("button", name="Draw a box").click()
    page.mouse.move(*screen(page, 100, 20))
    page.mouse.down()
    page.mouse.move(*screen(page, 180, 120), steps=3)
    with page.expect_request("**/v1/landmarks*") as request:
        page.mouse.up()
    boxes = [tuple(map(float, part.split(","))) for part in re.findall(r"box=([^&]+)", request.value.url)]
    assert boxes[0] == pytest.approx(BOX)
    assert boxes[1] == pytest.approx((100, 20, 180, 120), abs=1)
    expect(page.locator("#faces li")).to_have_count(2)
    expect(page.locator("#faces")).to_contain_text("box given")


def test_boxes_and_options_by_keyboard(page):
    show(page)
    page.get_by_text("Box by numbers, options").click()
    page.get_by_label("Box x1, y1, x2, y2").fill("20.5, 30.5, 200.5, 210.5")
    page.keyboard.press("Enter")
    expect(page.locator("#faces li")).to_have_count(2)
    page.get_by_label("Cells").fill("4")
    with page.expect_request("**/v1/landmarks*") as request:
        page.keyboard.press("Enter")
    assert request.value.url.endswith("box=20.5,30.5,200.5,210.5&topk=4")


def test_the_json_is_copied_as_the_service_wrote_it(page):
    with page.expect_response("**/v1/landmarks*") as response:
        show(page)
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.locator("#status")).to_have_text("JSON copied.")
    assert page.evaluate("navigator.clipboard.readText()") == response.value.text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "a.landmarks.json"
    assert download.value.path().read_text() == response.value.text()
    page.get_by_role("button", name="Copy curl").click()
    expect(page.locator("#status")).to_have_text("curl line copied.")
    expected = f"curl --data-binary '@a.png' -H 'Content-Type: application/octet-stream' '{page.url}v1/landmarks'"
    assert page.evaluate("navigator.clipboard.readText()") == expected


def test_pictures_come_by_drop_and_paste(page):
    for way, width in (("drop", 40), ("paste", 50)):
        page.evaluate(
            """([way, bytes]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
                const kind = way === "drop" ? DragEvent : ClipboardEvent;
                const key = way === "drop" ? "dataTransfer" : "clipboardData";
                document.body.dispatchEvent(new kind(way, { [key]: transfer, bubbles: true, cancelable: true }));
            }""",
            [way, list(encoded(picture(width, 30)))],
        )
        expect(page.locator("#facts")).to_contain_text(f"{width} \u00d7 30 px")


# ---------------------------------------------------------------- what goes wrong


def test_a_refused_file_is_told_of_with_its_code(page):
    choose(page, b"hello")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("not_an_image")
    expect(alert).to_contain_text("JPEG, PNG, WebP, BMP or TIFF")
    expect(alert.get_by_role("button", name="Try again")).to_be_hidden()  # it would be refused again
    show(page)
    expect(alert).to_be_hidden()


def test_what_may_pass_can_be_tried_again(page, service):
    service.engine.error = EngineUnavailable("gone")
    page.route("**/v1/landmarks*", lambda route: route.fulfill(status=502, body="<html>"), times=1)
    choose(page, encoded(picture()))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("http_502")  # a proxy's own page is no problem document
    alert.get_by_role("button", name="Try again").click()
    expect(alert).to_contain_text("unavailable")
    service.engine.error = None
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator("#faces li")).to_have_count(1)
    expect(alert).to_be_hidden()


def test_a_key_is_asked_for_when_the_service_wants_one(page):
    problem = {"title": "No valid key", "detail": "send one", "code": "unauthenticated", "status": 401}

    def guard(route):
        if route.request.headers.get("authorization") == "Bearer sesame":
            return route.continue_()
        return route.fulfill(status=401, content_type="application/problem+json", body=json.dumps(problem))

    page.route("**/v1/landmarks*", guard)
    expect(page.get_by_label("API key")).to_be_hidden()
    choose(page, encoded(picture()))
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type("sesame")
    page.keyboard.press("Enter")
    expect(page.locator("#faces li")).to_have_count(1)
    expect(page.get_by_role("alert")).to_be_hidden()


# ---------------------------------------------------------------- camera


def test_the_camera_takes_one_picture(page):
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a picture").click()
    expect(page.locator("#faces li")).to_have_count(1)
    expect(page.locator("#facts")).to_contain_text("320 \u00d7 240 px")
    expect(page.locator("#camera-bar")).to_be_hidden()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the picture").click()
    with Image.open(download.value.path()) as saved:
        assert (saved.format, saved.size) == ("PNG", (320, 240))


def test_live_never_has_two_requests_under_way(page):
    under_way, most, answered = 0, 0, 0

    def count(by):
        nonlocal under_way, most, answered
        under_way += by
        most = max(most, under_way)
        answered += by < 0

    page.on("request", lambda request: count("/v1/landmarks" in request.url))
    page.on("requestfinished", lambda request: count(-("/v1/landmarks" in request.url)))
    page.keyboard.press("c")
    page.get_by_role("button", name="Live").click()
    while answered < 5:
        with page.expect_response("**/v1/landmarks*"):
            pass
    expect(page.locator("#rate")).to_contain_text("per second")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "false")
    assert most == 1


# ---------------------------------------------------------------- keyboard, small screens, schemes


def test_everything_is_reached_by_tab_in_order(page):
    show(page)
    page.locator("#open").focus()
    order = []
    for _ in range(12):
        order.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        page.keyboard.press("Tab")
    assert order == [
        "open", "camera", "portrait", "API", "help", "viewer", "zoom-out", "zoom-in", "fit", "fit-face",
        order[10], "",
    ]  # fmt: skip
    assert order[10].startswith("Face 1")


def test_points_are_walked_through_by_keyboard(page):
    show(page)
    page.locator("#viewer").focus()
    page.keyboard.press("n")
    page.keyboard.press("n")
    said = "right jaw 01, x -7.00  y -16.00, score 0.02  \u03c3 2.10 \u00d7 1.26 px"
    expect(page.locator("#status")).to_have_text(said)
    row = page.locator('tr[aria-selected="true"]')
    expect(row).to_have_attribute("data-index", "1")
    row.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator('tr[aria-selected="true"]')).to_have_attribute("data-index", "2")
    expect(page.locator('tr[data-index="2"]')).to_be_focused()
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator("thead th", has_text="Score")).to_have_attribute("aria-sort", "ascending")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def test_writing_into_a_field_triggers_no_key(page):
    show(page)
    page.get_by_text("Box by numbers, options").click()
    page.get_by_label("Box x1, y1, x2, y2").fill("")
    page.keyboard.type("ncb?")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#camera-bar")).to_be_hidden()
    expect(page.locator('tr[aria-selected="true"]')).to_have_count(0)


def test_a_phone_shows_all_of_it(browser, service):
    with opened(browser, service.url, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True) as page:
        show(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.touchscreen.tap(*screen(page, *PLACE))
        expect(page.locator("#tip")).to_contain_text("x 56.00  y 110.00")
        tip = page.locator("#tip").bounding_box()
        assert tip is not None
        assert tip["x"] >= 0
        assert tip["x"] + tip["width"] <= 360
        before = page.locator("#zoom").inner_text()
        pinch(page)
        expect(page.locator("#zoom")).not_to_have_text(before)


def pinch(page: Page) -> None:
    """Two fingers that part."""
    x, y = screen(page, 160, 120)
    session = page.context.new_cdp_session(page)
    for kind, spread in (("touchStart", 20), ("touchMove", 50), ("touchMove", 80)):
        points = [{"x": x - spread, "y": y, "id": 0}, {"x": x + spread, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_the_scheme_of_the_system_is_followed(page):
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(233, 233, 234)", "rgb(20, 21, 22)"]


# ---------------------------------------------------------------- the whole service


def test_the_portrait_gets_its_points_from_the_shipped_network(browser):
    with served(engine="local") as whole:
        whole.read_announcement()
        with opened(browser, whole.url) as page:
            page.get_by_role("button", name="Try the portrait").last.click()
            expect(page.locator("#faces li")).to_have_count(1)
            pupils = [page.locator(f'tr[data-index="{i}"]').inner_text().split("\t") for i in (96, 97)]
            places = np.array([[float(v) for v in cells[2:4]] for cells in pupils])
            # read off the picture
            assert np.abs(places - [[89.5, 94], [167, 98]]).max() < 4
