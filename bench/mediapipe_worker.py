"""MediaPipe's face landmarks, in an environment of its own: `bench.mediapipe_peer` starts this file there.

The first line of standard input names the way, the model file and the images: {"way": WAYS, "model": PATH, "images":
[PATHS of JPEG files]}. Each further line is a number of seconds, for which the images are worked on again and again; it
is answered by a line {"latencies": [seconds of each image], "found": images with a face, "points": of a face}.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Work = Callable[[Any], int]
"""An RGB image -> the number of points found."""


def face_mesh(*, tracking: bool) -> Work:
    """FaceMesh with the models of the wheel. With tracking, an image's face is sought where the last one's was."""
    import mediapipe

    mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=not tracking, max_num_faces=1)

    def work(image: Any) -> int:
        faces = mesh.process(image).multi_face_landmarks
        return len(faces[0].landmark) if faces else 0

    return work


def face_landmarker(model: str, *, tracking: bool) -> Work:
    """FaceLandmarker; with tracking, in its mode for videos."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    mode = vision.RunningMode.VIDEO if tracking else vision.RunningMode.IMAGE
    options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=model), running_mode=mode)
    landmarker = vision.FaceLandmarker.create_from_options(options)
    milliseconds = itertools.count(step=40)

    def work(image: Any) -> int:
        frame = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
        found = landmarker.detect_for_video(frame, next(milliseconds)) if tracking else landmarker.detect(frame)
        return len(found.face_landmarks[0]) if found.face_landmarks else 0

    return work


WAYS: dict[str, Callable[[str], Work]] = {
    "FaceMesh": lambda _: face_mesh(tracking=False),
    "FaceMesh, tracking": lambda _: face_mesh(tracking=True),
    "FaceLandmarker": lambda model: face_landmarker(model, tracking=False),
    "FaceLandmarker, video": lambda model: face_landmarker(model, tracking=True),
}


def main() -> None:
    """Answers until standard input ends."""
    task = json.loads(sys.stdin.readline())
    work = WAYS[task["way"]](task["model"])
    files = itertools.cycle(Path(path).read_bytes() for path in task["images"])
    for line in sys.stdin:
        end, latencies, found, points = time.perf_counter() + float(line), [], 0, 0
        start = time.perf_counter()
        while start < end:
            image = cv2.imdecode(np.frombuffer(next(files), np.uint8), cv2.IMREAD_COLOR)
            points = work(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            found += points > 0
            now = time.perf_counter()
            latencies.append(now - start)
            start = now
        print(json.dumps({"latencies": latencies, "found": found, "points": points}), flush=True)


if __name__ == "__main__":
    main()
