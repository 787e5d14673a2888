"""Videos on the page: every frame is tracked, and is shown with its own points."""

import json
import re
from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from landmarks.detection import Detections
from tests.e2e.page.browsing import BOX, POINT, POSITION, FakeService, open_file, opened, show
from tests.fakes import gradient_image

av: Any = pytest.importorskip("av", reason="the extra `vfx` is not installed")

TIMES = (0, 40, 80, 200, 240, 257, 274, 291, 1500, 1540)
"""Milliseconds: a variable rate, with bursts and a still of more than a second."""
NO_FACE = {4, 7}
"""Frames without one."""
LIGHTEST, STEP = 30, 20
MARK = 60
"""Side of a square in the corner of each frame, whose grey is the frame's number."""
SHIFT = 4
"""Pixels by which the face moves from frame to frame."""


def clip(times: tuple[int, ...] = TIMES, **options: str) -> bytes:
    """WebM with VP8, which every Chromium plays."""
    buffer = BytesIO()
    with av.open(buffer, "w", format="webm", options=options) as container:
        stream = container.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            image = gradient_image()
            image[:MARK, :MARK] = LIGHTEST + STEP * number
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


CLIP = clip()


def number_of(grey: float) -> int:
    return round((grey - LIGHTEST) / STEP)


async def face_of_the_frame(image: np.ndarray, **options: object) -> Detections:
    """A face whose place says which frame it is in."""
    number = number_of(float(image[10 : MARK - 10, 10 : MARK - 10].mean()))
    box = np.array(BOX) + SHIFT * number * np.array([1, 0, 1, 0])
    found = 0 if number in NO_FACE else 1
    return Detections(np.array([box] * found).reshape(-1, 4), np.array([0.75] * found))


@pytest.fixture(autouse=True)
def moving_face(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.detector, "detect", face_of_the_frame)


def track(page: Page, content: bytes = CLIP, frames: int = len(TIMES)) -> None:
    open_file(page, content, "clip.webm")
    expect(page.locator("#video-count")).to_have_text(f"{frames} frames")
    expect(page.locator("#video-pause")).to_be_hidden()


def sees_frame(page: Page, number: int, of: int = len(TIMES)) -> None:
    """The frame's counter, its picture and its points belong together."""
    scrubber = page.get_by_role("slider", name="Frame that is shown")
    time = f"{TIMES[number] / 1000:.3f} s"
    expect(scrubber).to_have_attribute("aria-valuetext", f"Frame {number + 1} of {of}, {time}")
    expect(page.locator("#frame-number")).to_have_text(f"Frame {number + 1} of {of}")
    expect(page.locator("#frame-time")).to_have_text(time)
    box = page.locator("#overlay .box.edge")
    if number in NO_FACE:
        expect(box).to_have_count(0)
    else:
        expect(box).to_have_attribute("d", re.compile(f"M{BOX[0] + SHIFT * number:.1f}"))
    assert picture_number(page) == number


def is_refused(page: Page, *texts: str) -> None:
    """The page says so, and goes on showing the image that was open."""
    for text in texts:
        expect(page.get_by_role("alert")).to_contain_text(text)
    expect(page.locator("#faces li")).to_have_count(1)
    expect(page.locator("#timeline")).to_be_hidden()


def picture_number(page: Page) -> int:
    colour = page.evaluate("() => import('/page/stage.js').then(({ viewer }) => viewer.colour([30, 30]))")
    return number_of(float(np.mean(colour)))


def test_every_frame_of_a_video_is_answered_plotted_and_saved(page):
    sent: list[bytes] = []
    page.on("request", lambda request: sent.append(request.url) if "/v1/landmarks" in request.url else None)
    track(page)
    assert len(sent) == len(TIMES)
    expect(page.locator("#status")).to_have_text("10 frames, 2 faces.")
    first, second = (page.locator(f'#scores [data-face="{face}"]') for face in (1, 2))
    # 4 and 7 are gaps; what comes after more than a second is another face
    assert re.sub("[^ML]", "", first.get_attribute("d") or "") == "MLLLML"
    assert re.sub("[^ML]", "", second.get_attribute("d") or "") == "ML"
    x = [float(at) for at in re.findall(r"[ML]([\d.]+)", first.get_attribute("d") or "")]
    assert x == [0, 0.04, 0.08, 0.2, 0.257, 0.274]
    said = page.get_by_role("img", name="Score of each face over time.")
    counts = re.compile("Face 1: .* in 6 frames, 1 gap; Face 2: .* in 2 frames, 0 gaps")
    expect(said).to_have_attribute("aria-label", counts)
    colours = "(path) => getComputedStyle(path).stroke"
    assert first.evaluate(colours) != second.evaluate(colours)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the frames").click()
    assert download.value.suggested_filename == "clip.landmarks.json"
    saved = json.loads(download.value.path().read_text())
    assert {key: saved["video"][key] for key in ("name", "width", "height")} == {
        "name": "clip.webm",
        "width": 320,
        "height": 240,
    }
    frames = saved["frames"]
    assert [frame["frame"] for frame in frames] == list(range(1, len(TIMES) + 1))
    assert [frame["time"] for frame in frames] == [time / 1000 for time in TIMES]
    assert [[face["id"] for face in frame["faces"]] for frame in frames] == [
        *[[1]] * 4, [], [1], [1], [], [2], [2],
    ]  # fmt: skip
    for number, frame in enumerate(frames):
        points = [face["points"][POINT] for face in frame["answer"]["faces"]]
        assert points == ([] if number in NO_FACE else [[pytest.approx(POSITION[0] + SHIFT * number), POSITION[1]]])


def test_the_scrubber_the_plot_and_the_list_show_a_frame_with_its_points(page):
    track(page)
    sees_frame(page, 9)  # the last is shown as they come
    scrubber = page.get_by_role("slider")
    expect(scrubber).to_be_focused()
    for key, number in (
        ("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("ArrowRight", 4), ("ArrowLeft", 3),
        ("End", 9), ("PageDown", 0), (".", 1), (",", 0), (",", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        sees_frame(page, number)
    plot = page.locator("#plot").bounding_box()
    assert plot is not None
    duration = float(scrubber.get_attribute("max") or 0)
    page.mouse.click(plot["x"] + plot["width"] * 0.265 / duration, plot["y"] + 20)
    sees_frame(page, 5)
    cursor, thumb = page.locator("#cursor").bounding_box(), scrubber.bounding_box()
    assert cursor is not None
    assert thumb is not None
    share = 0.257 / duration
    assert cursor["x"] == pytest.approx(thumb["x"] + 8 + share * (thumb["width"] - 16), abs=1.5)
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    sees_frame(page, 9)  # played to the end
    faces = page.locator("#faces li")
    expect(faces).to_have_count(2)
    expect(faces.nth(0)).to_contain_text("not in this frame")
    button = faces.nth(0).get_by_role("button").first
    button.click()
    sees_frame(page, 6)
    expect(page.locator(f'tr[data-index="{POINT}"] td').nth(1)).to_have_text(f"{POSITION[0] + SHIFT * 6:.2f}")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_be_focused()
    expect(faces.nth(1)).to_contain_text("not in this frame")


# ---------------------------------------------------------------- what stops it


def test_the_work_is_stopped_with_what_is_there_and_continued(page):
    held: list[Route] = []
    asked = []

    def hold(route: Route) -> None:
        asked.append(route)
        if len(asked) > 4:
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/landmarks*", hold)
    open_file(page, CLIP, "clip.webm")
    expect(page.locator("#video-count")).to_have_text("4 frames")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped after 4 frames, 1 face.")
    assert len(asked) <= 6  # two are in flight at most
    sees_frame(page, 3, of=4)
    page.unroute_all()
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#video-count")).to_have_text("10 frames")
    expect(page.locator("#status")).to_have_text("10 frames, 2 faces.")
    expect(page.get_by_role("progressbar", name="Video")).to_have_js_property("position", 1)
    page.locator("#scrubber").press("End")
    sees_frame(page, 9)


def test_a_busy_service_is_asked_again(page):
    busy = {"status": 429, "headers": {"Retry-After": "0"}, "body": "{}"}
    page.route("**/v1/landmarks*", lambda route: route.fulfill(**busy), times=3)
    track(page)
    expect(page.locator("#status")).to_have_text("10 frames, 2 faces.")


def test_a_frame_that_fails_is_a_gap_and_the_others_go_on(page):
    answered = 0

    def fail_once(route: Route) -> None:
        nonlocal answered
        answered += 1
        route.fulfill(status=504, body="<html>") if answered == 3 else route.continue_()

    page.route("**/v1/landmarks*", fail_once)
    track(page)
    expect(page.locator("#status")).to_have_text("10 frames, 2 faces. 1 frame has no answer.")
    page.get_by_role("slider").press("Home")
    page.keyboard.press("ArrowRight")
    sees_frame(page, 1)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#no-face")).to_have_text("This frame has no answer: HTTP status 504.")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the frames").click()
    frame = json.loads(download.value.path().read_text())["frames"][2]
    assert (frame["frame"], frame["problem"]["code"], frame["faces"]) == (3, "http_504", [])


def test_a_service_that_is_gone_stops_the_work_until_it_is_tried_again(page):
    page.route("**/v1/landmarks*", lambda route: route.abort())
    open_file(page, CLIP, "clip.webm")
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#video-count")).to_have_text("10 frames")
    expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize("content", [b"hello", CLIP[:300]], ids=["text", "head alone"])
def test_a_file_that_the_browser_cannot_decode_is_told_and_leaves_what_is_open(page, service, monkeypatch, content):
    monkeypatch.undo()
    show(page)
    open_file(page, content, "clip.mp4")
    is_refused(page, "This browser cannot decode the video", "MP4 with H.264")


AS_ASKED = """HTMLVideoElement.prototype.requestVideoFrameCallback = function (tell) {
    this.addEventListener("seeked", () => tell(0, { mediaTime: this.currentTime }), { once: true });
}"""
"""As Firefox does."""


@pytest.mark.parametrize(
    "lack", [AS_ASKED, "delete HTMLVideoElement.prototype.requestVideoFrameCallback"], ids=["times", "calls"]
)
def test_where_the_browser_does_not_tell_when_frames_begin_videos_are_refused(page, service, monkeypatch, lack):
    monkeypatch.undo()
    page.evaluate(f"() => {{ {lack} }}")
    show(page)
    open_file(page, CLIP, "clip.webm")
    is_refused(page, "does not tell when the frames of a video begin", "landmarks track")


# ---------------------------------------------------------------- parts, lengths, screens


def test_a_part_of_a_video_is_tracked_again(page):
    track(page)
    page.get_by_text("Part of the video", exact=True).click()
    page.get_by_label("From (s)").fill("0.2")
    page.get_by_label("To (s)").fill("0.28")
    page.get_by_role("button", name="Track again").click()
    expect(page.locator("#status")).to_have_text("4 frames, 1 face.")
    expect(page.locator("#frame-number")).to_have_text("Frame 4 of 4")
    assert picture_number(page) == 6
    page.get_by_label("To (s)").fill("0.1")
    page.get_by_role("button", name="Track again").click()
    message = page.get_by_label("To (s)").evaluate("(field) => field.validationMessage")
    assert message == "The end is after the beginning"
    expect(page.locator("#video-count")).to_have_text("4 frames")


def test_a_video_that_was_written_live_states_no_length_and_an_image_takes_its_place(page):
    track(page, clip((0, 40, 80), live="1"), frames=3)
    expect(page.locator("#frame-time")).to_have_text("0.080 s")
    show(page)
    expect(page.locator("#timeline")).to_be_hidden()
    expect(page.locator("#video-section")).to_be_hidden()
    expect(page.get_by_role("button", name="Draw a box")).to_be_enabled()


def test_a_phone_shows_the_player(browser, service):
    with opened(browser, service.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True) as page:
        track(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        for part in ("#viewer", "#plot", "#scrubber", "#play", "#frame-number", "#frame-time"):
            expect(page.locator(part)).to_be_in_viewport(ratio=1)
        viewer = page.locator("#viewer").bounding_box()
        assert viewer is not None
        assert viewer["height"] > 200


def test_faces_keep_their_numbers_by_the_overlap_of_their_boxes(page):
    ids = page.evaluate(
        """(frames) => import("/page/tracks.js").then(({ Tracks }) => {
            const tracks = new Tracks();
            for (const [time, boxes] of frames) {
                const faces = boxes.map((box) => ({ box, score: 1 }));
                tracks.add({ time, at: time }, { text: "", answer: { faces } });
            }
            return tracks.frames.map(({ faces }) => faces.map(({ id }) => id));
        })""",
        [
            [0, [[0, 0, 10, 10], [100, 0, 110, 10]]],
            [0.1, [[101, 0, 111, 10], [1, 0, 11, 10]]],  # in another order
            [0.2, [[2, 0, 12, 10]]],
            [0.9, [[102, 0, 112, 10], [3, 0, 13, 10]]],  # back within a second
            [2.1, [[102, 0, 112, 10], [30, 0, 40, 10]]],  # later, and elsewhere
        ],
    )
    assert ids == [[1, 2], [2, 1], [1], [2, 1], [3, 4]]
