"""The command `landmarks tune`: measures which settings answer the most faces on this machine, and writes them down.

One setting after the other: each of its values is measured with the best ones of those before, by a gateway that is
started for it, in interleaved rounds. A value replaces the default only where it gains clearly, because small
differences are chance.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final, NamedTuple

import cv2
from tqdm import tqdm

from landmarks.control_groups import cores
from landmarks.golden import golden_crop
from landmarks.parallelism import MAX_STREAMS
from landmarks.repository import model_path
from landmarks.size import Size
from service.bootstrap import running_gateway
from service.cli.answering import warnings_only
from service.cli.arguments.tune import Tune, TuneArguments
from service.cli.interrupt import INTERRUPTED, AsyncioInterrupt
from service.deadline import Deadline
from service.gateway import Gateway
from service.model_files import model_repository
from service.request import Options
from service.settings import Settings, variable

MARGIN: Final = 0.03
"""By which a value must be faster than the one it replaces."""
IMAGE_SIZE: Final = Size.square(512)
FACE_BOX: Final = (92.0, 70.0, 424.0, 456.0)
"""Of the golden crop at that size."""

Values = dict[str, int | str]
"""Of settings, by name."""


class Stage(NamedTuple):
    """A setting and the values that are tried, the default first."""

    setting: str
    values: Sequence[int]


class Speed(NamedTuple):
    """Of one measurement."""

    per_second: float
    """Faces of all clients together."""
    latency: float
    """Seconds until a lone client is answered, the median."""


@dataclass
class Row:
    """What was measured with some values."""

    values: Values
    speeds: list[Speed]

    @property
    def per_second(self) -> float:
        return median(speed.per_second for speed in self.speeds)


Measure = Callable[[Settings], Awaitable[Speed]]


async def tune(command: Tune) -> int:
    """Returns the exit status: 0, 1 where the file exists or cannot be written, 130 for Ctrl-C, which leaves none."""
    arguments = command.arguments
    if problem := refusal(arguments):
        sys.stderr.write(f"landmarks: {arguments.out} {problem}\n")
        return 1
    with AsyncioInterrupt() as interrupt, warnings_only() if command.settings.log_level == "info" else nullcontext():
        is_busy = os.getloadavg()[0] > 0.25 * cores()
        state = "busy, so that the figures will mean little" if is_busy else "idle, as it should be"
        sys.stderr.write(f"landmarks: this takes minutes; the machine was {state}\n")
        sys.stderr.flush()
        try:
            text = await find_best(command.settings, arguments.rounds, partial(speed_of, arguments=arguments))
        except asyncio.CancelledError:
            if not interrupt.came:
                raise
            sys.stderr.write("landmarks: interrupted: nothing was written\n")
            return INTERRUPTED
    try:
        arguments.out.write_text(text, encoding="utf-8")
    except OSError as error:  # what was measured is not lost
        sys.stderr.write(f"landmarks: {arguments.out} cannot be written: {error.strerror}\n")
        sys.stdout.write(text)
        return 1
    sys.stderr.write(
        f"landmarks: wrote {arguments.out}. Use it by: set -a; . {arguments.out.absolute()}; set +a; landmarks serve\n"
    )
    return 0


def refusal(arguments: TuneArguments) -> str | None:
    """Why the file cannot be written, before minutes are spent on measuring."""
    if arguments.out.exists():
        return None if arguments.overwrite else "exists: add --overwrite to replace it"
    return None if os.access(arguments.out.parent, os.W_OK) else "cannot be written: its folder is missing or read-only"


# ---------------------------------------------------------------- the search


def stages(settings: Settings, count: int) -> list[Stage]:
    """What can be tuned on a machine of so many cores. What the command line or the environment sets stays as it is."""
    fractions = sorted({1, max(1, count // 4), max(1, count // 2), count})
    runs_network = settings.triton_url is None
    asks_triton = not (runs_network and settings.engine == "local")
    usual_threads, usual_streams = min(count, 8), min(count, MAX_STREAMS)
    known = [
        (runs_network, "network_threads", fractions),
        (runs_network, "network_streams", [each for each in (1, 2, 4, 8) if each <= count and each != usual_streams]),
        (asks_triton, "triton_calls", [1, 2, 3, 4]),
        (True, "threads", [each for each in (*fractions, 2 * count) if each != usual_threads]),
    ]
    return [
        Stage(name, [default(name), *(each for each in values if each != default(name))])
        for applies, name, values in known
        if applies and name not in settings.model_fields_set
    ]


def default(setting: str) -> int:
    """Of a setting that is a number."""
    return int(Settings.model_fields[setting].default)


async def find_best(settings: Settings, rounds: int, measure: Measure) -> str:
    """Prints a table of what was measured. Returns the content of the file."""
    tuned, other = stages(settings, cores()), other_precision(settings)
    best = Row({}, [])
    rows: list[Row] = []
    total = sum(len(stage.values) for stage in tuned) + len(finalists(best, other))
    with tqdm(total=rounds * total, unit="measurement", leave=False, disable=None) as bar:

        async def compare(candidates: Sequence[Row]) -> None:
            for _ in range(rounds):
                for row in candidates:
                    row.speeds.append(await measure(settings.model_copy(update=row.values)))
                    bar.update()
            rows.extend(candidates)

        for stage in tuned:
            bar.set_description(variable(stage.setting))
            candidates = [Row(best.values | {stage.setting: value}, []) for value in stage.values]
            await compare(candidates)
            best = choose(candidates)
        bar.set_description("the best beside the defaults")
        final = finalists(best, other)
        await compare(final)
    print_table(rows)
    return content(*final)


def finalists(best: Row, other: str | None) -> list[Row]:
    """Measured once more, beside each other: the defaults, the best values, and these with the other precision."""
    precisions: list[Values] = [{"precision": other}] if other else []
    return [Row({}, []), Row(best.values, []), *(Row(best.values | each, []) for each in precisions)]


def choose(candidates: Sequence[Row]) -> Row:
    """The fastest, but the first unless another one is faster by MARGIN."""
    best = max(candidates, key=lambda row: row.per_second)
    return best if best.per_second > (1 + MARGIN) * candidates[0].per_second else candidates[0]


def other_precision(settings: Settings) -> str | None:
    """int8, where it is there beside the float32 that nobody asked for by name."""
    if settings.triton_url is not None or "precision" in settings.model_fields_set:
        return None
    return "int8" if model_path(model_repository(settings), precision="int8").is_file() else None


# ---------------------------------------------------------------- what is told


def print_table(rows: Sequence[Row]) -> None:
    """A line for each combination of values."""
    sys.stdout.write(f"{'faces/s':>8} {'least':>8} {'most':>8} {'ms alone':>9}\n")
    for row in rows:
        rates = [speed.per_second for speed in row.speeds]
        alone = 1e3 * median(speed.latency for speed in row.speeds)
        values = " ".join(f"{name}={value}" for name, value in row.values.items())
        sys.stdout.write(f"{row.per_second:8.1f} {min(rates):8.1f} {max(rates):8.1f} {alone:9.1f}  {values}\n")


def content(defaults: Row, best: Row, precise: Row | None = None) -> str:
    """The lines of the file: those of the best values that are not the defaults, if they are faster; and as a comment
    the precision of the last row, if that is faster still.
    """
    return "".join(f"{line}\n" for line in _lines(defaults, best, precise))


def _lines(defaults: Row, best: Row, precise: Row | None) -> Iterator[str]:
    yield f"# Settings for a machine of {cores()} cores, measured by `landmarks tune`."
    changed = {name: value for name, value in best.values.items() if value != default(name)}
    if choose([defaults, best]) is defaults or not changed:
        yield "# The defaults are the fastest here, so that there is nothing to set."
    else:
        gain = 100 * (best.per_second / defaults.per_second - 1)
        yield f"# They answer {gain:.0f} % more faces a second than the defaults."
        for name, value in changed.items():
            yield f"{variable(name)}={value}"
    if precise and choose([best, precise]) is precise:
        times = precise.per_second / best.per_second
        yield f"# The 8-bit network answers {times:.1f} times as many, hardly less accurately:"
        yield f"#{variable('precision')}={precise.values['precision']}"


# ---------------------------------------------------------------- a measurement


async def speed_of(settings: Settings, arguments: TuneArguments) -> Speed:
    """That of a gateway with these settings, which is started for it. Raises StartError."""
    image = cv2.imencode(".jpg", golden_crop(IMAGE_SIZE)[..., ::-1])[1].tobytes()
    async with running_gateway(settings) as gateway:
        await _keep_busy(gateway, image, arguments.clients, arguments.seconds / 4)  # warms up
        answered = await _keep_busy(gateway, image, arguments.clients, arguments.seconds)
        alone = await _keep_busy(gateway, image, 1, arguments.seconds / 4)
    return Speed(len(answered) / max(end for end, _ in answered), median(latency for _, latency in alone))


async def _keep_busy(gateway: Gateway, image: bytes, clients: int, seconds: float) -> list[tuple[float, float]]:
    """When each request was answered, in seconds since the first, and how long it took. Each client sends the next as
    soon as the last is answered.
    """
    start, answered, options = time.perf_counter(), [], Options(boxes=[FACE_BOX])

    async def client() -> None:
        while (sent := time.perf_counter()) < start + seconds:
            await gateway.pipeline.detect(image, options, Deadline.after(60))
            now = time.perf_counter()
            answered.append((now - start, now - sent))

    await asyncio.gather(*(client() for _ in range(clients)))
    return answered
