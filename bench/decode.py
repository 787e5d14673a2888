"""The time of the decoder over the time of copying its heatmaps, in C and by NumPy alone.

Copying them is what anything takes that hands them on. Rounds are interleaved; each takes the fastest of many calls, by
the CPU time of the thread, so that other processes matter little. The medians over the rounds are printed, and the
smallest and the largest of the ratios.

    python -m bench.decode
    python -m bench.decode --batch 1 8 --topk 9 --rounds 20
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.measuring import machine
from landmarks import compiled
from landmarks.codec import CodecSpec, decode
from landmarks.golden import golden_crop
from landmarks.repository import model_path
from landmarks.runtime import Network

CALLS = 100
"""Calls of a round, of each kind."""


def fastest(call: Callable[[], object]) -> float:
    """CPU seconds of the fastest call."""

    def timed() -> float:
        start = time.thread_time()
        call()
        return time.thread_time() - start

    return min(timed() for _ in range(CALLS))


def measure(maps: NDArray[np.float32], codec: CodecSpec, topk: int | None) -> list[float]:
    """Seconds of a copy, of the decoder, and of the decoder by NumPy."""
    copy = np.empty_like(maps)
    times = [fastest(lambda: np.copyto(copy, maps)), fastest(lambda: decode(maps, codec, topk))]
    library, compiled.library = compiled.library, None
    times.append(fastest(lambda: decode(maps, codec, topk)))
    compiled.library = library
    return times


def main() -> int:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.decode", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="faces of a call [1 8]")
    parser.add_argument("--topk", type=int, help="k of the decoder [that of the model]")
    parser.add_argument("--rounds", type=int, default=9, help="rounds [%(default)s]")
    args = parser.parse_args()
    if compiled.library is None:
        raise SystemExit("landmarks/heatmaps.c was not built: python setup.py build_ext --inplace")

    cv2.setNumThreads(1)
    network = Network(model_path(Path(__file__).parents[1] / "model_repo"))
    codec = network.metadata.codec
    crop = golden_crop(codec.input_size)
    print(machine())
    print("| batch | copy, us | decoder, us | over copy | by NumPy, us | over copy |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for batch in args.batch:
        # faces that differ, as those of requests do
        maps = network(np.stack([np.roll(crop, 3 * i, axis=1) for i in range(batch)])).heatmaps
        seconds = np.array([measure(maps, codec, args.topk) for _ in range(args.rounds)])
        copied, fast, slow = 1e6 * np.median(seconds, axis=0)
        over = [
            f"{np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f})"
            for ratio in (seconds[:, 1:] / seconds[:, :1]).T
        ]
        print(f"| {batch} | {copied:.0f} | {fast:.0f} | {over[0]} | {slow:.0f} | {over[1]} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
