"""A data set small enough to train on in seconds: drawn faces whose points are known exactly."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98

Points = NDArray[np.float64]


def ellipse(center: tuple[float, float], radii: tuple[float, float], count: int, start: float = np.pi) -> Points:
    angle = start + 2 * np.pi * np.arange(count) / count
    return np.stack([center[0] + radii[0] * np.cos(angle), center[1] + radii[1] * np.sin(angle)], axis=1)


def drawn_shape() -> Points:
    """98 points of a plain face about the origin, the eyes one unit apart at their outer corners."""
    jaw_angle = np.pi - np.pi * np.arange(33) / 32
    jaw = np.stack([0.8 * np.cos(jaw_angle), 1.0 * np.sin(jaw_angle)], axis=1)
    bridge = np.stack([np.zeros(4), np.linspace(-0.1, 0.35, 4)], axis=1)
    nostrils = np.stack([np.linspace(-0.15, 0.15, 5), [0.4, 0.44, 0.46, 0.44, 0.4]], axis=1)
    parts = [
        jaw,
        ellipse((-0.35, -0.35), (0.2, 0.05), 9),
        ellipse((0.35, -0.35), (0.2, 0.05), 9),
        bridge,
        nostrils,
        ellipse((-0.35, -0.1), (0.15, 0.07), 8),
        ellipse((0.35, -0.1), (0.15, 0.07), 8),
        ellipse((0.0, 0.65), (0.3, 0.12), 12),
        ellipse((0.0, 0.65), (0.22, 0.05), 8),
        np.array([[-0.35, -0.1], [0.35, -0.1]]),
    ]
    return np.concatenate(parts)


def write_miniature(root: Path, train: int = 8, val: int = 4, seed: int = 0) -> Path:
    """Writes `train` + `val` images of one face each in the layout of faces300w; returns `root`."""
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    with (root / "annotations.jsonl").open("w") as file:
        for i in range(train + val):
            points = drawn_shape() * rng.uniform(45, 60) + 100 + rng.uniform(-10, 10, 2)
            image = np.full((200, 200, 3), rng.integers(150, 220), np.uint8)
            for outlines in WFLW98.outlines.values():
                for outline in outlines:
                    line = np.round(points[list(outline)]).astype(np.int32)
                    cv2.polylines(image, [line], False, (40, 40, 60), 2)
            name = f"{i:03d}.png"
            cv2.imwrite(str(root / "images" / name), image)
            low, high = points.min(axis=0), points.max(axis=0)
            row = {
                "image": name,
                "split": "train" if i < train else "val",
                "faces": [{"points98": points.round(2).tolist()}],
                "boxes": [{"xyxy": [low[0], low[1] - 15, high[0], high[1]], "score": 0.9}],
            }
            file.write(json.dumps(row) + "\n")
    return root
