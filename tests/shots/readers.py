"""Readers of the exported files that share nothing with the exporters. `test_exporters` tries those of text formats on
files from productions, too. Each gives the tracks by name: a dictionary from frame, as the file counts, to (x, y).
"""

from __future__ import annotations

import re

Keys = dict[int, tuple[float, float]]


def curve(text: str) -> dict[int, float]:
    """The keys of a Nuke curve: `x5` sets the frame of the next value; others follow at the last distance."""
    keys: dict[int, float] = {}
    frame, step, is_stated = 0, 1, False
    for word in text.split():
        if word.startswith("x"):
            stated = int(word[1:])
            step = stated - frame if keys else 1
            frame, is_stated = stated, True
        elif re.fullmatch(r"-?[\d.]+(e-?\d+)?", word):
            frame += 0 if is_stated else step
            keys[frame], is_stated = float(word), False
    return keys


def tracker4(rows: list[str]) -> tuple[dict[str, Keys], dict[str, dict[int, float]]]:
    """Positions and `enable` of each track, of the rows of the table."""
    positions, enabled = {}, {}
    for row in rows:
        match = re.match(r'\s*\{?\s*\{curve K ([^}]*)\} "([^"]+)" \{curve ([^}]*)\} \{curve ([^}]*)\}', row)
        assert match, row[:200]
        xs, ys = curve(match[3]), curve(match[4])
        assert xs.keys() == ys.keys()
        positions[match[2]] = {frame: (xs[frame], ys[frame]) for frame in xs}
        enabled[match[2]] = curve(match[1])
    return positions, enabled


def equalizer(text: str) -> dict[str, Keys]:
    lines = text.split("\n")
    count, at, tracks = int(lines[0]), 1, {}
    for _ in range(count):
        name, _colour, rows = lines[at], int(lines[at + 1]), int(lines[at + 2])
        at += 3
        tracks[name] = {int(f): (float(x), float(y)) for f, x, y in map(str.split, lines[at : at + rows])}
        at += rows
    assert lines[at:] in ([], [""])
    return tracks


def pftrack(text: str, *, has_camera: bool) -> dict[str, Keys]:
    lines = [line for line in text.split("\n") if line.strip()]
    at, tracks = 0, {}
    while at < len(lines):
        name = lines[at].strip().strip('"')
        at += 2 if has_camera else 1
        rows = int(lines[at])
        at += 1
        keys = {}
        for line in lines[at : at + rows]:
            frame, x, y, _residual = line.split()
            keys[int(frame)] = (float(x), float(y))
        tracks[name] = keys
        at += rows
    return tracks


def syntheyes(text: str) -> tuple[dict[str, Keys], dict[str, dict[int, int]]]:
    """Positions and outcomes."""
    tracks: dict[str, Keys] = {}
    outcomes: dict[str, dict[int, int]] = {}
    before = ""
    for line in text.splitlines():
        name, frame, u, v, outcome = line.split()
        assert name == before or name not in tracks, "the lines of a track do not follow each other"
        tracks.setdefault(name, {})[int(frame)] = (float(u), float(v))
        outcomes.setdefault(name, {})[int(frame)] = int(outcome)
        before = name
    return tracks, outcomes


def after_effects(text: str) -> tuple[dict[str, str], list[dict[str, dict[int, list[float]]]]]:
    """The header, and of each layer the keys of its properties."""
    lines = text.splitlines()
    assert re.fullmatch(r"Adobe After Effects [89]\.0 Keyframe Data", lines[0])
    assert lines[-1] == "End of Keyframe Data"
    header: dict[str, str] = {}
    layers: list[dict[str, dict[int, list[float]]]] = []
    keys: dict[int, list[float]] | None = None
    for line in lines[1:-1]:
        words = line.split("\t")
        if line == "Layer":
            layers.append({})
        elif line.startswith("Transform\t"):
            if not layers:
                layers.append({})  # dialect 8.0
            keys = layers[-1].setdefault(words[1], {})
        elif line.startswith("\tFrame"):
            assert keys == {}
        elif line and keys is None:
            header[words[1]] = words[2]
        elif line:
            assert keys is not None
            keys[int(words[1])] = [float(word) for word in words[2:] if word]
    return header, layers
