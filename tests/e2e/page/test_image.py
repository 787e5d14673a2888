"""The image and its points: what is drawn where, and what the page says of it."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from landmarks.codec import CodecSpec
from service.images.decode import decode_srgb
from service.images.limits import ImageLimits
from tests.e2e.page.browsing import (
    POINT,
    POSITION,
    FakeService,
    image_position,
    open_file,
    opened,
    running,
    screen,
    show,
)
from tests.fakes import MODEL, SYNTHETIC_106, encoded, gradient_image


def centroid(page: Page) -> tuple[float, float]:
    """The middle of what is bright in the viewer, from its centre, in screen pixels; (0, 0) is the centre itself."""
    shot = cv2.imdecode(np.frombuffer(page.locator("#viewer").screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
    height, width = shot.shape
    rows, columns = np.nonzero(shot > 200)
    return float(columns.mean() + 0.5 - width / 2), float(rows.mean() + 0.5 - height / 2)


def test_a_point_is_drawn_exactly_on_its_pixel(page):
    black = np.zeros((240, 320, 3), np.uint8)
    marked = black.copy()
    marked[POSITION[1], POSITION[0]] = 255
    page.emulate_media(color_scheme="dark")  # in which nothing beside the image is bright
    for part in ("Outlines", "Boxes"):
        page.get_by_role("button", name=part, exact=True).click()
    page.get_by_label("off").check()
    for content, points in ((black, "true"), (marked, "false")):
        show(page, encoded(content))
        page.locator(f'tr[data-index="{POINT}"]').dblclick()
        page.keyboard.press("Escape")
        expect(page.locator("#tip")).to_be_hidden()
        expect(page.get_by_role("button", name="Points", exact=True)).to_have_attribute("aria-pressed", points)
        # zooming to the point has moved it to the centre, and so its dot, and the square of its pixel
        assert centroid(page) == pytest.approx((0, 0), abs=0.6)
        page.get_by_role("button", name="Points", exact=True).click()


def test_hovering_a_point_shows_its_values(page):
    show(page)
    page.mouse.move(*screen(page, *POSITION))
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
    radius = page.evaluate("import('/page/uncertainty.js').then(({ ellipseRadius }) => ellipseRadius(0.75, 4))")
    assert radius == pytest.approx(2**0.5)


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


def paths(page: Page, kind: str) -> list[str]:
    """The SVG paths of this kind, without their edges."""
    return [path.get_attribute("d") or "" for path in page.locator(f"#overlay .{kind}:not(.edge)").all()]


def test_a_model_of_another_layout_needs_no_change_of_the_page(browser):
    service = FakeService()
    metadata = replace(MODEL.metadata, layout=SYNTHETIC_106, codec=CodecSpec(points=106))
    service.engine.model = replace(MODEL, metadata=metadata)
    with running(service), opened(browser, service.url, groups=2) as page:
        show(page)
        expect(page.locator("#groups label")).to_have_text(["upper 50", "lower 56"])
        expect(page.locator("tbody tr")).to_have_count(106)
        expect(page.locator('tr[data-index="105"]')).to_contain_text("point 105")
        # one outline of three points in one of the groups; a dot for each point
        drawn = {kind: paths(page, kind) for kind in ("line", "dot")}
        assert [(path.count("M"), path.count("L")) for path in drawn["line"]] == [(1, 2)]
        assert [path.count("M") for path in drawn["dot"]] == [50, 56]
        # without eye corners the service answers the size of the face: the root of 105 times 210
        expect(page.locator("#faces")).to_contain_text("size 148.5 px")


def test_the_wheel_zooms_about_the_cursor_and_dragging_moves(page):
    show(page)
    x, y = map(round, screen(page, 100, 80))  # wheel events are in whole screen pixels
    under = image_position(page, x, y)
    page.mouse.move(x, y)
    before = page.locator("#zoom").inner_text()
    page.mouse.wheel(0, -600)
    expect(page.locator("#zoom")).not_to_have_text(before)
    assert image_position(page, x, y) == pytest.approx(under, abs=1e-6)
    page.mouse.down()
    page.mouse.move(x + 30, y - 20, steps=3)
    page.mouse.up()
    assert image_position(page, x + 30, y - 20) == pytest.approx(under, abs=1e-6)


def test_the_browser_rotates_an_image_as_the_service_does(page, tmp_path):
    for orientation in range(1, 9):
        path = tmp_path / f"turned-{orientation}.jpg"
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(gradient_image()).save(path, exif=exif, quality=95)
        shown = decode_srgb(path.read_bytes(), ImageLimits(10**6, 10**6))
        height, width = shown.shape[:2]
        with page.expect_response("**/v1/landmarks*"):
            open_file(page, path.read_bytes())
        expect(page.locator("#facts")).to_contain_text(f"{width} \u00d7 {height} px")
        expect(page.locator("#notice")).to_be_hidden()
        for x, y in ((20, 20), (width - 20, 20), (20, height - 20)):
            page.mouse.move(*screen(page, x, y))
            colour = re.findall(r"rgb (\d+) (\d+) (\d+)", page.locator("#readout").inner_text())[0]
            assert np.abs(np.array(colour, int) - shown[y, x]).max() <= 6, orientation


def test_a_file_that_the_browser_cannot_show_still_gets_its_points(page):
    show(page, encoded(gradient_image(), ".tif"))
    expect(page.locator("#notice")).to_contain_text("this browser cannot show it")
    expect(page.locator("#overlay .dot").first).to_be_attached()


def test_the_warnings_of_an_answer_are_shown(page, tmp_path):
    path = tmp_path / "pages.tif"
    frame = Image.fromarray(gradient_image())
    frame.save(path, save_all=True, append_images=[frame])
    show(page, path.read_bytes())
    warnings = page.locator("#notice p")
    expect(warnings).to_have_count(2)
    expect(warnings.last).to_have_text("the file holds several images: the first was used")
    show(page)
    expect(page.locator("#notice")).to_be_hidden()


def test_faces_of_a_low_score_are_dimmed(page, service):
    service.detector.found = tuple(((x, 10.0, x + 60.0, 70.0), 0.9) for x in (10.0, 100.0, 190.0))

    def doubt(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        for face, score in zip(answer["faces"], (0.9, 0.5, 0.49), strict=True):
            face["score"] = score
        route.fulfill(response=response, json=answer)

    page.route("**/v1/landmarks*", doubt)
    show(page, faces=3)
    drawn = page.locator("#overlay .face").evaluate_all(
        "all => all.map((face) => Number(getComputedStyle(face).opacity))"
    )
    likely, doubtful, selected = drawn  # the selected face is drawn last
    assert doubtful < likely < selected == 1
    expect(page.locator("#faces li").last).to_contain_text("perhaps not a face")


def test_several_faces_are_stepped_through(page, service):
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
    page.get_by_role("button", name="Remove Face 4").click()
    expect(page.locator("#faces li")).to_have_count(3)
    page.get_by_role("button", name="Find faces").click()
    expect(page.locator("#faces li")).to_have_count(4)
