"""Camera, keyboard, small screens and schemes, and the page of the whole service."""

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

from tests.e2e.page.browsing import POSITION, open_file, opened, screen, show
from tests.e2e.test_gateway import served

# ---------------------------------------------------------------- camera


def test_the_camera_captures_one_image(page):
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Capture").click()
    expect(page.locator("#faces li")).to_have_count(1)
    expect(page.locator("#facts")).to_contain_text("320 \u00d7 240 px")
    expect(page.locator("#camera-bar")).to_be_hidden()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the image").click()
    with Image.open(download.value.path()) as saved:
        assert (saved.format, saved.size) == ("PNG", (320, 240))


def test_live_detection_never_has_two_requests_in_flight(page):
    in_flight, most, answered = 0, 0, 0

    def count(by):
        nonlocal in_flight, most, answered
        in_flight += by
        most = max(most, in_flight)
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


def test_a_camera_that_is_not_allowed_is_no_failed_request(page):
    show(page)
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError')); }"
    )
    page.keyboard.press("c")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Allow it in the browser's address bar")
    expect(page.locator("#status")).to_have_text("The camera was not allowed.")
    expect(page.locator("#faces li")).to_have_count(1)
    show(page)
    expect(alert).to_be_hidden()


# ---------------------------------------------------------------- keyboard, small screens, schemes


def test_everything_is_reached_by_tab_in_order(page):
    show(page)
    page.locator("#open").focus()
    order = []
    for _ in range(13):
        order.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        page.keyboard.press("Tab")
    assert order == [
        "open", "open-folder", "camera", "examples", "API", "help", "viewer", "zoom-out", "zoom-in", "fit", "fit-face",
        order[11], "",
    ]  # fmt: skip
    assert order[11].startswith("Face 1")


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
    page.get_by_text("Box coordinates, options").click()
    page.get_by_label("Box x1, y1, x2, y2").fill("")
    page.keyboard.type("ncb?")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#camera-bar")).to_be_hidden()
    expect(page.locator('tr[aria-selected="true"]')).to_have_count(0)


def test_a_phone_shows_all_of_it(browser, service):
    with opened(browser, service.url, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True) as page:
        show(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.locator("#faces .figure").evaluate("(e) => e.scrollWidth <= e.clientWidth")  # nothing is cut off
        page.get_by_role("button", name="Help").tap()
        expect(page.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)
        page.get_by_role("button", name="Close").tap()
        page.touchscreen.tap(*screen(page, *POSITION))
        expect(page.locator("#tip")).to_contain_text("x 56.00  y 110.00")
        tip = page.locator("#tip").bounding_box()
        assert tip is not None
        assert tip["x"] >= 0
        assert tip["x"] + tip["width"] <= 360
        before = page.locator("#zoom").inner_text()
        pinch(page)
        expect(page.locator("#zoom")).not_to_have_text(before)


def test_an_error_on_a_phone_leaves_the_image_visible(browser, service):
    with opened(browser, service.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True) as page:
        expect(page.locator("#welcome")).to_be_visible()
        for before in ("welcome", "viewer"):
            open_file(page, b"hello")
            expect(page.get_by_role("alert")).to_be_in_viewport(ratio=1)
            upper, lower = page.locator(f"#{before}").bounding_box(), page.locator("#problem").bounding_box()
            assert upper is not None
            assert lower is not None
            assert upper["height"] > 200
            assert upper["y"] >= 0
            assert upper["y"] + upper["height"] <= lower["y"]
            show(page)


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


def test_pressed_buttons_are_told_apart_in_the_system_s_own_colours(page):
    show(page)
    page.emulate_media(forced_colors="active")
    colours = "(b) => [getComputedStyle(b).backgroundColor, getComputedStyle(b).color]"
    pressed = page.get_by_role("button", name="Outlines", exact=True).evaluate(colours)
    released = page.get_by_role("button", name="Numbers", exact=True).evaluate(colours)
    assert pressed[0] != released[0]
    assert len({*pressed}) == len({*released}) == 2
    face = page.locator("#faces .face")
    assert face.locator("span").evaluate(colours)[1] == face.evaluate(colours)[1] == pressed[1]
    page.emulate_media(forced_colors="none")


def test_without_scripts_the_page_says_what_it_needs(browser, service):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(service.url)
    expect(page.locator("noscript p")).to_contain_text("This page needs JavaScript.")
    expect(page.locator("noscript p")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)  # none that would do nothing
    window, stage = page.viewport_size, page.locator("#stage").bounding_box()
    assert window is not None
    assert stage is not None
    assert (stage["width"], stage["y"] + stage["height"]) == (window["width"], window["height"])  # and no empty panel
    context.close()


# ---------------------------------------------------------------- the whole service


def test_the_examples_get_their_points_from_the_shipped_network(browser):
    with served(engine="local") as whole:
        whole.read_announcement()
        with opened(browser, whole.url) as page:
            page.get_by_role("button", name="Try the examples").click()
            expect(page.locator("#images li")).to_have_text(
                ["portrait.png1 face", "gallery.png4 faces", "landscape.pngno face"]
            )
            pupils = [page.locator(f'tr[data-index="{i}"]').inner_text().split("\t") for i in (96, 97)]
            places = np.array([[float(v) for v in cells[2:4]] for cells in pupils])
            # measured by hand in the image
            assert np.abs(places - [[89.5, 94], [167, 98]]).max() < 4
