"""The commands `landmarks track` and `landmarks merge`: a shot in, the tracks of its faces out.

::

    shots/run.py       a frame after the other
    shots/reading/         its picture, number, time
    shots/finding.py       the faces in it, by the pipeline in this process or by a running service
    shots/flow.py          where the points of the frame before are in it
    shots/records.py   a line in the file of raw tracks (track_files.py)
                       ... and once all frames are there:
    shots/assembly.py  identities, smoothing, report -> shot.tracks.json
    shots/review.py    a video of the result, if it is asked for
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from landmarks.control_groups import cores
from landmarks.golden import golden_crop
from landmarks.layout import PointLayout
from landmarks_client import ClientUsageError
from service.cli.answering import Answering, ImageError, UsageError, answering
from service.cli.arguments.merge import Merge
from service.cli.arguments.track import Track
from service.cli.export_tracks import USAGE_CODES
from service.cli.interrupt import INTERRUPTED, AsyncioInterrupt
from service.cli.outputs import Body, OutputError
from service.cli.track_files import append_line, check_new, open_raw, raw_path, replacing, write_whole
from service.request import Options
from service.settings import Settings
from shots.assembly import assemble
from shots.errors import ShotError
from shots.finding import Answer, Ask, Box, Finder
from shots.reading.colour import BuiltIn, Colour, Shown
from shots.reading.images import Choice
from shots.reading.ocio import Ocio
from shots.reading.picture import Source
from shots.reading.sequences import frame_set, range_text
from shots.reading.source import Reading, open_shot
from shots.records import Header, Record, joined, read_records, record_line
from shots.review import write_review
from shots.run import IsWanted, Run
from shots.tracks import ShotFrame, ShotTracks, write_tracks


@dataclass
class Seen:
    """What a run has come across."""

    missing: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)

    def add(self, frame: ShotFrame) -> None:
        kinds = {"missing": self.missing, "unreadable": self.unreadable, "empty": self.empty}
        if frame.state in kinds:
            kinds[frame.state].append(frame.number)

    def told(self, *, allow_missing: bool) -> int:
        """Says what was not as it should be, and returns the exit status."""
        if self.empty:
            sys.stderr.write(f"landmarks: no picture in the display window: {range_text(self.empty)}\n")
        if self.unreadable:
            sys.stderr.write(f"landmarks: frames that cannot be read: {range_text(self.unreadable)}\n")
        if self.missing:
            advice = "" if allow_missing else "; --allow-missing takes them for gaps"
            sys.stderr.write(f"landmarks: missing frames: {range_text(self.missing)}{advice}\n")
        return 1 if self.unreadable or (self.missing and not allow_missing) else 0


async def track(command: Track) -> int:
    """Tracks a shot. Returns the exit status: 0, 1 for a failure or a frame that could not be read, 2 for arguments
    that make no sense together, 130 for Ctrl-C.
    """
    with AsyncioInterrupt() as interrupt:
        try:
            return await _track(command)
        except ImageError as error:
            status = _told(error)
            if raw_path(command.output).exists():
                sys.stderr.write("landmarks: what was done is kept; continue with --resume\n")
            return status
        except (ShotError, OutputError, UsageError, ClientUsageError) as error:
            return _told(error)
        except asyncio.CancelledError:
            if not interrupt.came:
                raise
            sys.stderr.write("landmarks: interrupted; continue with --resume\n")
            return INTERRUPTED


def merge(command: Merge) -> int:
    """Joins the raw tracks of parts of a shot. Returns the exit status, as `track` does."""
    try:
        check_new(command.output.out, overwrite=command.output.overwrite)
        parts = []
        for path in command.parts:
            with path.open("rb") as file:
                header, records, _ = read_records(file, str(path))
            parts.append((str(path), header, records))
        header, records = joined(parts)
        _check_complete(header, records)
        write_whole(command.output.out, write_tracks(assemble(header, records)))
        seen = Seen()
        for record in records:
            seen.add(record.frame)
        return seen.told(allow_missing=command.output.allow_missing)
    except (ShotError, OutputError) as error:
        return _told(error)
    except OSError as error:
        sys.stderr.write(f"landmarks: {error.filename}: {error.strerror}\n")
        return 1


def _told(error: Exception) -> int:
    code = f" ({error.code})" if isinstance(error, ShotError) else ""
    sys.stderr.write(f"landmarks: {error}{code}\n")
    is_usage = isinstance(error, (UsageError, ClientUsageError)) or getattr(error, "code", "") in USAGE_CODES
    return 2 if is_usage else 1


def _check_complete(header: Header, records: list[Record]) -> None:
    """Raises ShotError of code `parts_missing` where frames of the shot are in no part."""
    present = {record.frame.number for record in records}
    whole = frame_set(header.range) if header.range else range(min(present), max(present) + 1)
    if absent := [number for number in whole if number not in present]:
        raise ShotError(
            "parts_missing", f"these files do not hold all frames of the shot: {range_text(absent)} is absent"
        )


# ---------------------------------------------------------------- one run


async def _track(command: Track) -> int:
    arguments, shot = command.output, command.shot
    if arguments.resume and arguments.overwrite:
        raise UsageError("--resume continues the output, --overwrite replaces it: choose one")
    if arguments.review is not None:
        if arguments.chunk is not None:
            raise UsageError("--review shows a whole shot: leave out --chunk")
        check_new(arguments.review, overwrite=arguments.overwrite)
    chunk = None if arguments.chunk is None else frozenset(frame_set(arguments.chunk))
    raw = raw_path(command.output)
    if chunk is None or not arguments.resume:
        check_new(arguments.out, overwrite=arguments.overwrite)
    colour = await asyncio.to_thread(_colour, command)
    reading = Reading(
        shot.frames,
        shot.first_frame,
        None if shot.rate is None else Fraction(shot.rate),
        command.options.pixel_aspect,
        Choice(shot.layer, shot.part, shot.stereo_view),
    )
    cv2.setNumThreads(1)  # what is done for one frame in threads is done beside what is done for others
    source = await asyncio.to_thread(open_shot, command.name, reading)
    plate = await asyncio.to_thread(lambda: source.plate)
    async with answering(command.service, _shared_cores(command.settings)) as service:
        options = command.options.model_copy(update={"pixel_aspect": _aspect(plate.pixel_aspect)})
        header = Header(
            plate,
            service.layout,
            await _model(service),
            {
                "colour": dict(colour.settings),
                "options": options.model_dump(mode="json", exclude_defaults=True),
                "search_size": command.settings.detection_size,
                "search_interval": arguments.search_interval,
            },
            None if source.numbers is None else range_text(source.numbers),
        )
        file, last = open_raw(raw, header, resume=arguments.resume, overwrite=arguments.overwrite)
        with file:
            finder = Finder(
                _ask(service, options, arguments.concurrency),
                colour,
                service.layout,
                command.settings.detection_size,
                plate.pixel_aspect,
            )
            run = Run(source, finder, search_interval=arguments.search_interval)
            wanted = _after(last, chunk)
            total = source.count if chunk is None else len(chunk)
            with tqdm(total=total, unit="frame", disable=None, leave=False) as bar:
                async with aclosing(run.records(wanted)) as records:
                    async for record in records:
                        append_line(file, record_line(record))
                        bar.update()
    return await asyncio.to_thread(_finish, command, raw, source, colour)


def _finish(command: Track, raw: Path, source: Source, colour: Colour) -> int:
    """Joins the records to tracks, and says which frames there were not."""
    arguments = command.output
    with raw.open("rb") as file:
        header, records, _ = read_records(file, str(raw))
    if not records:
        raise ShotError("no_such_shot", f"{command.name} has none of these frames")
    if arguments.chunk is None:
        shot = assemble(header, records)
        write_whole(arguments.out, write_tracks(shot))
        raw.unlink()
        if arguments.review is not None:
            _write_review(arguments.review, shot, source, colour)
        sys.stderr.write(f"landmarks: {len(shot.faces)} faces in {len(shot.frames)} frames\n")
        for face in shot.report["faces"]:
            raw, smoothed = face["flicker"]["raw"], face["flicker"]["smoothed"]
            told = f"{face['frames']} frames, {len(face['gaps'])} gaps, flicker {raw} -> {smoothed} px"
            sys.stderr.write(f"landmarks: face {face['id']}: {told}\n")
    seen = Seen()
    for record in records:
        seen.add(record.frame)
    return seen.told(allow_missing=arguments.allow_missing)


def _write_review(path: Path, shot: ShotTracks, source: Source, colour: Colour) -> None:
    frames = tqdm(source.frames(lambda _: True), total=source.count, unit="frame", disable=None, leave=False)
    with replacing(path) as new:
        # what was found of a frame, such as a cut, beside what is read of it again
        pictures = ((found, picture) for found, (_, picture) in zip(shot.frames, frames, strict=False))
        write_review(new, shot, pictures, colour)


def _after(last: int | None, chunk: frozenset[int] | None) -> IsWanted:
    return lambda number: (last is None or number > last) and (chunk is None or number in chunk)


def _aspect(pixel_aspect: float) -> float | None:
    """The option of a request; square pixels are left out of it."""
    return None if pixel_aspect == 1 else pixel_aspect


def _shared_cores(settings: Settings) -> Settings:
    """The landmark network has half of the cores, unless the settings say otherwise: the others read frames and follow
    points. A crop that has all cores is answered sooner, but takes more of their time.
    """
    return settings.model_copy(update={"network_threads": settings.network_threads or max(1, cores() // 2)})


async def _model(service: Answering) -> dict[str, str]:
    """The model that answers, which a small request tells. Raises ShotError where its points are not the layout's."""
    body = await service.answer_pixels(golden_crop(), Options(max_faces=1))
    for face in body["faces"]:
        _points(face, service.layout)
    return {name: str(body["model"][name]) for name in ("name", "version", "provenance")}


def _points(face: Any, layout: PointLayout) -> Any:
    if len(face["points"]) != layout.points:
        raise ShotError(
            "other_layout", f"the service answers with {len(face['points'])} points: tracks have {layout.points}"
        )
    return face["points"]


def _ask(service: Answering, options: Options, concurrency: int) -> Ask:
    places = asyncio.Semaphore(concurrency)

    async def ask(image: Shown, box: Box | None) -> list[Answer]:
        # a face that was found in the reduced image is answered whatever its score is then
        about = {"boxes": (box,), "pixel_aspect": None}
        own = options if box is None else options.model_copy(update=about)
        async with places:
            body: Body = await service.answer_pixels(image, own)
        return [
            Answer(
                float(face["score"]),
                np.asarray(_points(face, service.layout), np.float64),
                np.asarray(face["covariances"], np.float64),
            )
            for face in body["faces"]
        ]

    return ask


def _colour(command: Track) -> Colour:
    shot = command.shot
    if shot.in_colorspace is None:
        if shot.ocio or shot.display or shot.view:
            raise UsageError("--ocio, --display and --view need the plate's colour space: --in-colorspace ACEScg")
        return BuiltIn(shot.exposure)
    config = {} if shot.ocio is None else {"config": shot.ocio}
    return Ocio(shot.in_colorspace, display=shot.display, view=shot.view, exposure=shot.exposure, **config)
