"""The requests of the page, what it does with the answers, and what it says when there are none."""

import re

import pytest
from playwright.sync_api import expect

from service.engines.port import EngineTimeout, EngineUnavailable
from service.security.api_keys import ApiKeys, Protection, new_key
from tests.e2e.page.browsing import BOX, GROUPS, POINT, FakeService, open_file, opened, running, screen, show
from tests.fakes import encoded, gradient_image


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
    page.get_by_text("Box coordinates, options").click()
    page.get_by_label("Box x1, y1, x2, y2").fill("20.5, 30.5, 200.5, 210.5")
    page.keyboard.press("Enter")
    expect(page.locator("#faces li")).to_have_count(2)
    page.get_by_label("Cells").fill("4")
    page.get_by_label("Second pass").select_option("always")
    with page.expect_request("**/v1/landmarks*") as request:
        page.get_by_role("button", name="Apply").click()
    assert request.value.url.endswith("box=20.5,30.5,200.5,210.5&topk=4&refine=always")


def test_the_json_is_copied_as_the_service_wrote_it(page):
    with page.expect_response("**/v1/landmarks*") as response:
        show(page)
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.locator("#status")).to_have_text("JSON copied.")
    assert page.evaluate("navigator.clipboard.readText()") == response.value.text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    assert download.value.suggested_filename == "a.landmarks.json"
    assert download.value.path().read_text() == response.value.text()
    page.get_by_role("button", name="Copy curl").click()
    expect(page.locator("#status")).to_have_text("curl command copied.")
    expected = f"curl --data-binary '@a.png' -H 'Content-Type: application/octet-stream' '{page.url}v1/landmarks'"
    assert page.evaluate("navigator.clipboard.readText()") == expected


def test_images_are_dropped_and_pasted(page):
    for way, width in (("drop", 40), ("paste", 50)):
        page.evaluate(
            """([way, bytes]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
                const kind = way === "drop" ? DragEvent : ClipboardEvent;
                const key = way === "drop" ? "dataTransfer" : "clipboardData";
                document.body.dispatchEvent(new kind(way, { [key]: transfer, bubbles: true, cancelable: true }));
            }""",
            [way, list(encoded(gradient_image(width, 30)))],
        )
        expect(page.locator("#facts")).to_contain_text(f"{width} \u00d7 30 px")


# ---------------------------------------------------------------- what goes wrong


def test_a_refused_file_is_reported_with_its_code(page):
    open_file(page, b"hello")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("not_an_image")
    expect(alert).to_contain_text("JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC")
    expect(alert.get_by_role("button", name="Try again")).to_be_hidden()  # it would be refused again
    show(page)
    expect(alert).to_be_hidden()


def test_a_new_image_is_not_shown_under_the_error_of_the_one_before(page):
    open_file(page, b"hello")
    expect(page.get_by_role("alert")).to_be_visible()
    held = []
    page.route("**/v1/landmarks*", lambda route: held.append(route))
    with page.expect_request("**/v1/landmarks*"):
        open_file(page, encoded(gradient_image()))
    expect(page.get_by_role("alert")).to_be_hidden()
    held[0].continue_()
    expect(page.locator("#faces li")).to_have_count(1)


def test_an_image_without_a_face_shows_no_empty_table_and_what_to_do(page, service):
    service.detector.found = ()
    show(page, faces=0)
    expect(page.locator("#status")).to_have_text("No face was found.")
    expect(page.locator("#no-face")).to_contain_text("Draw a box around one")
    expect(page.locator("#points")).to_be_hidden()
    page.get_by_text("Box coordinates, options").click()
    page.get_by_label("Box x1, y1, x2, y2").fill("20.5, 30.5, 200.5, 210.5")
    page.keyboard.press("Enter")
    expect(page.locator("#points")).to_be_visible()


def test_a_problem_says_once_what_to_do(page, service):
    cut = encoded(gradient_image())[:-200]
    large = encoded(gradient_image(1100, 1000))
    for content, words in (
        (b"hello", "Send "),
        (cut, "send "),
        (large, "hrink"),
        (encoded(gradient_image()), "smaller image"),
    ):
        service.engine.error = EngineTimeout("late")
        with page.expect_response("**/v1/landmarks*") as response:
            open_file(page, content)
        expect(page.locator("#problem-code")).to_have_text(response.value.json()["code"])
        assert page.get_by_role("alert").inner_text().lower().count(words.lower()) == 1
    page.route("**/v1/landmarks*", lambda route: route.abort())
    open_file(page, encoded(gradient_image()))
    expect(page.get_by_role("alert")).to_contain_text("Check that it runs")  # the page's own problems have an action


def test_what_may_pass_can_be_tried_again(page, service):
    service.engine.error = EngineUnavailable("gone")
    page.route("**/v1/landmarks*", lambda route: route.fulfill(status=502, body="<html>"), times=1)
    open_file(page, encoded(gradient_image()))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("http_502")  # a proxy's page is not a problem document
    alert.get_by_role("button", name="Try again").click()
    expect(alert).to_contain_text("unavailable")
    service.engine.error = None
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator("#faces li")).to_have_count(1)
    expect(alert).to_be_hidden()


@pytest.fixture(scope="module")
def key():
    return new_key("ana")


@pytest.fixture(scope="module")
def protected(browser, key):
    """A service that requires a key."""
    name, digest = key[1].split(":")
    with running(FakeService(Protection(ApiKeys({name: bytes.fromhex(digest)})))) as service:
        yield service


@pytest.mark.parametrize("order", ["key first", "image first"])
def test_the_page_asks_for_a_key_when_the_service_requires_one(browser, protected, key, order):
    with opened(browser, protected.url, groups=0) as page:
        expect(page.get_by_label("API key")).to_be_focused()
        # a question: nothing has failed yet
        expect(page.locator("#status")).to_have_text("This service needs an API key.")
        expect(page.locator("#problem-code")).to_be_empty()
        expect(page.locator("#problem")).to_have_class("question")
        if order == "image first":
            page.get_by_role("button", name="Not now").click()
            open_file(page, encoded(gradient_image()))
            expect(page.get_by_label("API key")).to_be_focused()
        page.keyboard.type("wrong")
        with page.expect_response("**/v1/*"):
            page.keyboard.press("Enter")
        expect(page.locator("#problem-code")).to_have_text("unauthenticated")
        expect(page.get_by_label("API key")).to_be_focused()
        page.get_by_label("API key").fill(key[0])
        page.keyboard.press("Enter")
        expect(page.locator("#groups label")).to_have_count(GROUPS)
        if order == "key first":
            expect(page.locator("#status")).to_have_text("Ready.")
            open_file(page, encoded(gradient_image()))
        sees_points(page)


@pytest.mark.parametrize("way", ["image", "live"])
def test_a_start_that_failed_is_repeated(page, way):
    page.route("**/v1/layout", lambda route: route.fulfill(status=502, body="<html>"), times=1)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("http_502")
    expect(page.get_by_role("button", name="All groups")).to_be_disabled()
    expect(page.get_by_role("button", name="Find faces")).to_be_hidden()  # before any box was drawn
    if way == "image":
        open_file(page, encoded(gradient_image()))
    else:
        page.keyboard.press("c")
        page.get_by_role("button", name="Live").click()
    sees_points(page)
    expect(page.get_by_role("button", name="All groups")).to_be_enabled()


def test_an_image_may_be_opened_before_the_layout_is_there(page):
    held = []
    page.route("**/v1/models", lambda route: held.append(route))
    page.reload()
    open_file(page, encoded(gradient_image()))
    expect(page.locator("#status")).to_have_text("Detecting faces \u2026")
    (only,) = held
    only.continue_()
    sees_points(page)


def sees_points(page):
    expect(page.locator("#overlay .dot").first).to_be_attached()
    expect(page.locator(f'tr[data-index="{POINT}"]')).to_contain_text("56.00")
    expect(page.locator("#groups label")).to_have_count(GROUPS)
    expect(page.get_by_role("alert")).to_be_hidden()
