"""Several images at once, and the files that the page makes."""

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from playwright.sync_api import Page, Response, Route, expect

from service.cli.outputs import Csv
from service.engines.port import EngineUnavailable
from tests.e2e.page.browsing import POSITION, show
from tests.fakes import encoded, gradient_image

SVG = "{http://www.w3.org/2000/svg}"


def open_several(page: Page, **contents: bytes) -> None:
    files = [{"name": name, "mimeType": "", "buffer": content} for name, content in contents.items()]
    page.set_input_files("#file", files)  # type: ignore[arg-type]


def image(width: int) -> bytes:
    """An image of this width, by which it is recognised."""
    return encoded(gradient_image(width, 240))


def rows(page: Page):
    return page.locator("#images li")


def downloaded(page: Page, kind: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Download {kind}").click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_several_images_are_answered_one_by_one_and_each_can_be_shown(page):
    held: list[Route] = []
    page.route("**/v1/landmarks*", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request("**/v1/landmarks*"):
        open_several(page, a=image(300), b=b"hello", c=image(310))
    expect(rows(page)).to_have_text(["a\u2026", "bwaiting", "cwaiting"])
    expect(page.locator("#images-count")).to_have_text("0 of 3")
    held[0].continue_()
    expect(rows(page)).to_have_text(["a1 face", "bnot_an_image", "c1 face"])
    expect(page.locator("#images-count")).to_have_text("3 of 3")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    # the first is shown, and the problem of the second is not over it
    expect(page.locator("#facts")).to_contain_text("300 \u00d7 240 px")
    expect(page.get_by_role("alert")).to_be_hidden()
    rows(page).nth(1).click()
    expect(page.get_by_role("alert")).to_contain_text("not_an_image")
    page.keyboard.press(".")
    expect(page.locator("#facts")).to_contain_text("310 \u00d7 240 px")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(rows(page).last.get_by_role("button")).to_have_attribute("aria-pressed", "true")


def test_all_files_that_are_dropped_are_opened(page):
    page.evaluate(
        """(files) => {
            const transfer = new DataTransfer();
            for (const bytes of files) transfer.items.add(new File([new Uint8Array(bytes)], `${bytes.length}.png`));
            const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("drop", options));
        }""",
        [list(image(300)), list(image(310))],
    )
    expect(page.locator("#images-count")).to_have_text("2 of 2")
    expect(page.locator("#facts")).to_contain_text("300 \u00d7 240 px")


def test_boxes_stay_with_their_image(page):
    open_several(page, a=image(300), b=image(310))
    expect(page.locator("#images-count")).to_have_text("2 of 2")
    page.get_by_text("Box coordinates, options").click()
    page.get_by_label("Box x1, y1, x2, y2").fill("20.5, 30.5, 200.5, 210.5")
    page.get_by_label("Box x1, y1, x2, y2").press("Enter")
    expect(rows(page)).to_have_text(["a2 faces", "b1 face"])
    rows(page).nth(1).click()
    expect(page.locator("#faces li")).to_have_count(1)
    rows(page).nth(0).click()
    expect(page.locator("#faces li")).to_have_count(2)


def test_a_service_that_fails_stops_the_work_until_it_is_continued(page, service):
    service.engine.error = EngineUnavailable("gone")
    open_several(page, a=image(300), b=image(310))
    expect(page.get_by_role("alert")).to_contain_text("unavailable")
    expect(page.locator("#status")).to_have_text(f"{page.locator('#problem-title').inner_text()}.")
    expect(rows(page)).to_have_text(["awaiting", "bwaiting"])
    service.engine.error = None
    page.get_by_role("button", name="Continue").click()
    expect(rows(page)).to_have_text(["a1 face", "b1 face"])
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_folder_is_opened_with_its_images_in_order(page, tmp_path: Path):
    for name in ("b10.png", "b9.png", "notes.txt", "inside/A.PNG"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(300))
    page.set_input_files("#folder", tmp_path / "folder")
    expect(page.locator("#images .name")).to_have_text(["folder/b9.png", "folder/b10.png", "folder/inside/A.PNG"])
    expect(page.locator("#images-count")).to_have_text("3 of 3")


def test_the_csv_is_the_one_of_the_command_line(page, service):
    answers: list[Response] = []
    page.on("response", lambda response: answers.append(response) if "/v1/landmarks" in response.url else None)
    service.detector.found = (((17.1, 7.1, 221.9, 211.9), 0.75), ((10.0, 10.0, 90.0, 90.0), 0.5))
    names = {"a, with a comma.png": image(300), "b.png": image(310)}
    open_several(page, **names)
    expect(page.locator("#images-count")).to_have_text("2 of 2")
    name, content = downloaded(page, "CSV")
    assert name == "landmarks.csv"
    form, bodies = Csv(), [response.json() for response in answers]
    pieces = [form.start(), *(form.record(*pair) for pair in zip(names, bodies, strict=True)), form.end()]
    wanted, given = (list(csv.DictReader(io.StringIO(data.decode()))) for data in (b"".join(pieces), content))
    assert len(given) == 4
    for row, other in zip(given, wanted, strict=True):
        assert {key: number(value) for key, value in row.items()} == {key: number(other[key]) for key in row}
        assert set(other) == set(row)


def number(text: str) -> str | float:
    """The number that a cell says, however it is written."""
    return float(text) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", text) else text


def test_the_drawing_is_saved_as_png_and_svg(page):
    page.get_by_label("off").check()
    for part in ("Outlines", "Boxes"):
        page.get_by_role("button", name=part, exact=True).click()
    show(page, encoded(np.zeros((240, 320, 3), np.uint8)), name="folder.of/black.jpg")
    name, content = downloaded(page, "PNG")
    assert name == "black.landmarks.png"
    drawn = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    enlarged = 4  # so that the longer side has about 1200 pixels
    assert drawn.shape == (enlarged * 240, enlarged * 320, 3)
    x, y = (enlarged * (v + 0.5) for v in POSITION)
    rows_lit, columns_lit = np.nonzero(drawn.max(axis=2) > 60)
    assert np.hypot(columns_lit + 0.5 - x, rows_lit + 0.5 - y).min() < 1
    assert drawn[-1, -1].max() == 0
    name, content = downloaded(page, "SVG")
    assert name == "black.landmarks.svg"
    svg = ElementTree.fromstring(content)
    assert (svg.get("width"), svg.get("height")) == ("1280", "960")
    (picture,) = svg.iter(f"{SVG}image")
    assert (picture.get("href") or "").startswith("data:image/jpeg;base64,")
    dots = [path for path in svg.iter(f"{SVG}path") if (path.get("d") or "").startswith("M")]
    assert "M56 110h0" in "".join(path.get("d") or "" for path in dots)
    # it needs no style sheet: every stroke has its own colour and width
    for path in dots:
        assert re.fullmatch(r"rgb\(\d+, \d+, \d+\)", path.get("stroke") or "")
        assert float(path.get("stroke-width") or 0) > 0
    assert b"class=" not in content
