"""How well tracks are smoothed: a table of flicker, swim, blinks, mouths and lag, with the bar of each figure.

Clips with known motion are made of still images: noise, and a pan, a zoom or a rotation; or a blink or a mouth that
opens for three frames. Real clips show what cannot be made.

    python -m bench.shots --data faces300w:/data/faces300w --video /data/video
    python -m bench.shots --video ~/clips --frames 150          clips alone, the beginning of each

- flicker: root mean square of the change from frame to frame in coordinates of the still; smoothed over raw
- swim: deviation from the mean in these coordinates; smoothed over raw
- kept: amplitude of a blink, or of the opening of the mouth, smoothed over raw; and whether its peak is in its frame
- innovation: normalized innovation squared, 1 where the noise is as stated. That of made clips, which move as one and
  whose noise is white, is smaller than that of real ones
- flow: distance to where an optical flow that the method does not use (DIS) carries the points; smoothed over raw.
  `floor` is that of the coherent flow that the method uses
- lag: frames by which the smoothed points are late, for `smooth` and the live filter
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from landmarks.crop import Matrix, invert, transform_points
from landmarks.layout import WFLW98
from service.bootstrap import running_gateway
from service.deadline import Deadline
from service.images.pixels import Pixels
from service.images.raw import RawImage
from service.request import Options
from service.settings import Settings
from shots.coherence import coherent
from shots.finding import Answer, Box, Finder
from shots.flow import Flow
from shots.reading.colour import BuiltIn, Shown, grey
from shots.reading.picture import Picture
from shots.reading.video import Video
from shots.records import FoundFace, Record
from shots.run import DEFAULT_SEARCH_INTERVAL, Run
from shots.smoothing import Observed, OneEuro, smooth
from shots.tracks import Floats, Plate, ShotFrame
from train.datasets.face import AnnotatedFace
from train.datasets.image import read_image
from train.datasets.source import DataSource

FRAMES, EVENT_FRAMES = 10, 9
NOISE = 3.0
"""Grey levels"""
LONGEST = 480
"""Pixels to which stills are reduced."""
EVENT = (0.6, 1.0, 0.6)
"""How far an eye is shut, or a mouth open, in the three frames in the middle."""
SEEN = 0.01
"""Of the inter-ocular distance: amplitude that the network must see of an event that counts."""
LIDS = ((61, 67), (62, 66), (63, 65), (69, 75), (70, 74), (71, 73))
LIPS = ((90, 94),)
SEARCH = 256
"""Longest side of the image in which faces are searched: they are large here."""

Images = list[Pixels]
Track = Callable[[Images, float], Awaitable[list[Record]]]
"""Frames, and the width of their pixels over the height -> what `landmarks track` finds in each."""


@dataclass(frozen=True)
class Clip:
    """Frames, and where the points of a still are in each: the motion from the still [2, 3]."""

    frames: Images
    motions: list[Matrix]


@dataclass(frozen=True)
class Pair:
    """Points through a clip."""

    raw: Floats
    smoothed: Floats
    innovation: float
    flow: list[Flow]
    frames: Images


def opening(points: Floats, pairs: Sequence[tuple[int, int]]) -> Floats:
    """Mean distance between lids or lips in each frame."""
    distances = np.stack([np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in pairs])
    return np.asarray(distances.mean(axis=0), np.float64)


# ---------------------------------------------------------------- clips


def moved(kind: str, at: float, centre: Floats) -> Matrix:
    """The motion of a clip, `at` going from -1 to 1."""
    angle, scale, shift = 0.0, 1.0, np.zeros(2)
    if kind == "pan":
        shift = np.array([30 * at, 10 * np.sin(3 * at)])
    elif kind == "zoom":
        scale += 0.12 * at
    elif kind == "rotation":
        angle = np.radians(9 * at)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    return np.column_stack([linear, centre + shift - linear @ centre])


def blinking(image: Pixels, points: Floats, share: float) -> Pixels:
    """The upper lids drawn down over the eyes."""
    height, width = image.shape[:2]
    x, y = (axis.astype(np.float32) for axis in np.meshgrid(np.arange(width), np.arange(height)))
    for upper, lower in (((60, 61, 62, 63, 64), (60, 67, 66, 65, 64)), ((68, 69, 70, 71, 72), (68, 75, 74, 73, 72))):
        top, bottom = (points[list(line)][points[list(line), 0].argsort()] for line in (upper, lower))
        columns = np.arange(width)
        lid = np.interp(columns, top[:, 0], top[:, 1])
        rim = np.maximum(np.interp(columns, bottom[:, 0], bottom[:, 1]), lid + 0.5)
        crease, lowered = lid - 2 * (rim - lid).max() - 6, lid + 0.92 * share * (rim - lid)
        for column in columns[(columns > top[0, 0]) & (columns < top[-1, 0])]:
            knots = [crease[column], lowered[column], rim[column]]
            sources = [crease[column], lid[column], rim[column]]
            inside = (y[:, column] >= knots[0]) & (y[:, column] < knots[2])
            y[inside, column] = np.interp(y[inside, column], knots, sources)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.uint8)


def opened(image: Pixels, points: Floats, share: float) -> Pixels:
    """The lower jaw drawn down, and a dark mouth."""
    height, width = image.shape[:2]
    x, y = (axis.astype(np.float32) for axis in np.meshgrid(np.arange(width), np.arange(height)))
    eyes = WFLW98.inter_ocular(points)
    between = (points[[88, 89, 90, 91, 92]] + points[[88, 95, 94, 93, 92]]) / 2
    between = between[between[:, 0].argsort()]
    columns = np.arange(width)
    along = np.clip((columns - points[76, 0]) / (points[82, 0] - points[76, 0]), 0, 1)
    gap = 0.3 * share * eyes * np.sin(np.pi * along) ** 0.7
    lip, jaw = np.interp(columns, between[:, 0], between[:, 1]), points[16, 1] + 0.25 * eyes
    dark = np.zeros((height, width), bool)
    for column in columns[gap > 0]:
        start, end = lip[column] + gap[column], jaw + gap[column]
        rest = end + 0.5 * eyes
        below = (y[:, column] >= start) & (y[:, column] < rest)
        dark[(y[:, column] > lip[column]) & (y[:, column] < start), column] = True
        y[below, column] = np.interp(y[below, column], [start, end, rest], [lip[column], jaw, rest])
    result = np.asarray(cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.uint8)
    result[dark] = (20, 15, 25)
    return result


def clip_of(image: Pixels, points: Floats, kind: str, seed: int) -> Clip:
    """`kind`: pan, zoom, rotation, blink or mouth."""
    random = np.random.default_rng(seed)
    count = FRAMES if kind in ("pan", "zoom", "rotation") else EVENT_FRAMES
    frames, motions = [], []
    for t in range(count):
        place = t - count // 2 + 1
        share = EVENT[place] if kind in ("blink", "mouth") and 0 <= place < len(EVENT) else 0.0
        still = image if share == 0 else (blinking if kind == "blink" else opened)(image, points, share)
        motion = moved(kind, 2 * t / (count - 1) - 1, points.mean(axis=0))
        size = (image.shape[1], image.shape[0])
        frame = cv2.warpAffine(still, motion, size, flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
        frames.append(np.clip(frame + random.normal(0, NOISE, frame.shape), 0, 255).astype(np.uint8))
        motions.append(motion)
    return Clip(frames, motions)


def chosen(faces: Sequence[AnnotatedFace], count: int) -> Iterator[tuple[Pixels, Floats]]:
    """Stills of one upright frontal face, spread over the set; reduced, with their points."""
    fitting = []
    images = [str(face.image) for face in faces]
    for face in faces:
        right, left = face.points[60], face.points[72]
        roll = np.degrees(np.arctan2(*(left - right)[::-1]))
        middle = (face.points[54, 0] - right[0]) / (left[0] - right[0])
        is_frontal = abs(roll) < 8 and 0.35 < middle < 0.65
        if is_frontal and 90 < WFLW98.inter_ocular(face.points) < 220 and images.count(str(face.image)) == 1:
            fitting.append(face)
    for face in fitting[:: max(1, len(fitting) // count)][:count]:
        image = read_image(face.image)
        scale = min(1.0, LONGEST / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        yield np.asarray(small, np.uint8), (face.points + 0.5) * scale - 0.5


# ---------------------------------------------------------------- measures


@dataclass(frozen=True)
class FrameSource:
    """Frames as a shot's source."""

    images: Images
    plate: Plate

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(range(len(self.images)))

    @property
    def count(self) -> int:
        return len(self.images)

    def frames(self, is_wanted: Callable[[int], bool]) -> Iterator[tuple[ShotFrame, Picture | None]]:
        for number in filter(is_wanted, self.numbers):
            yield ShotFrame(number), Picture(self.images[number])


async def tracked(frames: Images, track: Track, pixel_aspect: float = 1.0) -> Pair | None:
    """The largest face of the first frame, as long as it is found."""
    found: list[FoundFace] = []
    flow: list[Flow] = []
    place = 0
    for record in await track(frames, pixel_aspect):
        same = [i for i, face in enumerate(record.faces) if not found or is_same(found[-1].points, face.points)]
        if not same or (found and record.flow is None):
            break
        if record.flow is not None:
            flow.append(record.flow[place])
        (place, *_) = same
        found.append(record.faces[place])
    if len(found) < EVENT_FRAMES:
        return None
    greys = [grey(frame) for frame in frames[: len(found)]]
    raw, covariances = (np.stack([getattr(face, name) for face in found]) for name in ("points", "covariances"))
    result = smooth(Observed(raw, covariances, [None, *flow], groups=WFLW98.groups))
    return Pair(raw, result.points, result.innovation, flow, greys)


def is_same(before: Floats, after: Floats) -> bool:
    size = np.sqrt(np.ptp(before, axis=0).prod())
    return bool(np.linalg.norm(after - before, axis=1).mean() < 0.5 * size)


def at_rest(points: Floats, motions: Sequence[Matrix]) -> Floats:
    """The points in coordinates of the still."""
    return np.stack([transform_points(invert(motion), each) for motion, each in zip(motions, points, strict=True)])


def flicker(points: Floats) -> float:
    return float(np.mean(np.diff(points, axis=0) ** 2) / 2)


def swim(points: Floats) -> float:
    return float(np.mean((points - points.mean(axis=0)) ** 2))


def lag(points: Floats, motions: Sequence[Matrix]) -> float:
    """Frames by which points are behind their mean place on the still, carried by the true motion."""
    place = at_rest(points, motions).mean(axis=0)
    truth = np.stack([transform_points(motion, place) for motion in motions])
    speed = np.gradient(truth, axis=0)
    return float((speed * (truth - points)).sum() / (speed * speed).sum())


def live(raw: Floats, rate: float = 24.0) -> Floats:
    one_euro = OneEuro()
    return np.stack([one_euro(points, 1 / rate) for points in raw])


def from_other_flow(pair: Pair) -> tuple[float, float, float]:
    """Median distance to where DIS carries the points: raw, smoothed, and the flow that smoothing uses."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    distances: tuple[list[Floats], ...] = ([], [], [])
    for t, flow in enumerate(pair.flow):
        own = coherent(flow, pair.raw[t], np.zeros(len(flow.points), bool))
        field = np.asarray(dis.calc(pair.frames[t], pair.frames[t + 1], np.empty(0)))
        steps = ((pair.raw[t], pair.raw[t + 1]), (pair.smoothed[t], pair.smoothed[t + 1]), (pair.raw[t], own.points))
        for each, (before, after) in zip(distances, steps, strict=True):
            x, y = before.astype(np.float32).T
            carried = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
            each.append(np.linalg.norm(after - before - carried, axis=1))
    raw, smoothed, floor = (float(np.median(np.concatenate(each))) for each in distances)
    return raw, smoothed, floor


# ---------------------------------------------------------------- the table


def row(what: str, value: float, bar: str = "", *, is_met: bool | None = None, note: str = "") -> None:
    met = "" if is_met is None else "yes" if is_met else "NO"
    print(f"| {what} | {value:.3f} | {bar} | {met} | {note} |", flush=True)


async def synthetic(stills: Sequence[tuple[Pixels, Floats]], track: Track) -> None:
    for kind in ("pan", "zoom", "rotation"):
        sums, lags, innovations = np.zeros(4), [], []
        for seed, (image, points) in enumerate(tqdm(stills, desc=kind, disable=None, leave=False)):
            clip = clip_of(image, points, kind, seed)
            pair = await tracked(clip.frames, track)
            if pair is None or len(pair.raw) < FRAMES:
                continue
            raw, smoothed = (
                at_rest(each, clip.motions) / WFLW98.inter_ocular(points) for each in (pair.raw, pair.smoothed)
            )
            sums += [flicker(raw), flicker(smoothed), swim(raw), swim(smoothed)]
            lags.append((abs(lag(pair.smoothed, clip.motions)), abs(lag(live(pair.raw), clip.motions))))
            innovations.append(pair.innovation)
        ratio = np.sqrt([sums[1] / sums[0], sums[3] / sums[2]])
        note = f"{len(lags)} clips"
        row(f"{kind}: flicker", ratio[0], "at most 0.35", is_met=ratio[0] <= 0.35, note=note)
        row(f"{kind}: swim", ratio[1], "at most 0.5", is_met=ratio[1] <= 0.5, note=note)
        offline, online = np.max(lags, axis=0)
        row(f"{kind}: lag offline, largest", offline, "at most 0.1", is_met=offline <= 0.1)
        row(f"{kind}: lag live, largest", online, "at most 1", is_met=online <= 1)
        row(f"{kind}: innovation", float(np.mean(innovations)), note="a bar for real clips alone")
    for kind, pairs, sign in (("blink", LIDS, -1), ("mouth", LIPS, 1)):
        kept, off = [], 0
        for seed, (image, points) in enumerate(tqdm(stills, desc=kind, disable=None, leave=False)):
            pair = await tracked(clip_of(image, points, kind, seed).frames, track)
            if pair is None or len(pair.raw) < EVENT_FRAMES:
                continue
            raw, smoothed = (sign * opening(each, pairs) for each in (pair.raw, pair.smoothed))
            peak, rest = EVENT_FRAMES // 2, [0, 1, -2, -1]
            amplitudes = [float(each[peak] - each[rest].mean()) for each in (raw, smoothed)]
            if amplitudes[0] < SEEN * WFLW98.inter_ocular(points) or int(raw.argmax()) != peak:
                continue
            kept.append(amplitudes[1] / amplitudes[0])
            off += int(smoothed.argmax()) != peak
        note = f"{len(kept)} clips in which the network sees it; median {np.median(kept):.3f}"
        row(f"{kind}: kept, least", min(kept), "at least 0.9", is_met=min(kept) >= 0.9, note=note)
        row(f"{kind}: peaks in another frame", off, "0", is_met=off == 0)


async def real(folder: Path, track: Track, most_frames: int | None) -> None:
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".mp4", ".mkv", ".mov", ".gif")):
        video = Video(path)
        pictures = islice(video.frames(lambda _: True), most_frames)
        frames = [picture.samples for _, picture in pictures if picture is not None]
        pair = await tracked(frames, track, video.plate.pixel_aspect)
        if pair is None:
            print(f"| {path.name} | no face | | | |")
            continue
        eyes = WFLW98.inter_ocular(pair.raw[0])
        for what, pairs in (("eyes", LIDS), ("mouth", LIPS)):
            raw, smoothed = (float(np.ptp(opening(each, pairs))) for each in (pair.raw, pair.smoothed))
            note = f"raw {raw:.2f} px, {raw / eyes:.3f} of the inter-ocular distance"
            row(
                f"{path.name}: {what}, range kept",
                smoothed / raw,
                "at least 0.9",
                is_met=smoothed >= 0.9 * raw,
                note=note,
            )
        row(f"{path.name}: innovation", pair.innovation, "0.5 to 2", is_met=0.5 <= pair.innovation <= 2)
        off, off_smoothed, floor = from_other_flow(pair)
        note = f"raw {off:.3f} px; floor {floor / off:.3f}"
        row(f"{path.name}: flow", off_smoothed / off, "at most 0.5", is_met=off_smoothed <= 0.5 * off, note=note)


async def run(stills: Sequence[tuple[Pixels, Floats]], video: Path | None, most_frames: int | None) -> None:
    async with running_gateway(Settings(engine="local", detection_size=SEARCH)) as gateway:

        async def track(images: Images, pixel_aspect: float) -> list[Record]:
            async def ask(image: Shown, box: Box | None) -> list[Answer]:
                options = Options(boxes=(box,)) if box else Options(pixel_aspect=pixel_aspect)
                faces = (await gateway.pipeline.detect(RawImage.of(image), options, Deadline.after(60))).faces
                return [Answer(float(face.score), face.points, face.covariances) for face in faces]

            height, width = images[0].shape[:2]
            source = FrameSource(images, Plate("clip", "clip", width, height, pixel_aspect))
            finder = Finder(ask, BuiltIn(), WFLW98, SEARCH, pixel_aspect)
            run = Run(source, finder, search_interval=DEFAULT_SEARCH_INTERVAL)
            return [record async for record in run.records(lambda _: True)]

        print("| figure | value | bar | met | |\n| --- | --- | --- | --- | --- |")
        if stills:
            await synthetic(stills, track)
        if video is not None:
            await real(video, track, most_frames)


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.shots", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", metavar="FORMAT:PATH", help="annotated stills, of 98 points")
    parser.add_argument("--stills", type=int, default=24, help="number of stills (default: 24)")
    parser.add_argument("--video", type=Path, help="folder of real clips")
    parser.add_argument("--frames", type=int, help="most frames of each of these (default: all)")
    arguments = parser.parse_args()
    if arguments.data is None and arguments.video is None:
        parser.error("neither --data nor --video says what to measure with")
    stills: list[tuple[Pixels, Floats]] = []
    if arguments.data is not None:
        stills += chosen(DataSource.parse(arguments.data).test_faces(), arguments.stills)
    asyncio.run(run(stills, arguments.video, arguments.frames))
    return 0


if __name__ == "__main__":
    sys.exit(main())
