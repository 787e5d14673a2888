"""Shots: image sequences and videos in, tracks of the points of every face out, for the packages of visual effects.

::

    reading/       sequences and videos -> frames with their numbers, times and windows
    tracks.py      the data model, and its file shot.tracks.json
    selection.py   the named tracks that are chosen of it
    exporters/     tracks -> the files of Nuke, 3DEqualizer and others; docs/vfx.md has the rule of each
    live.py        faces that are followed as their frames come, as gRPC's Track answers them

The package knows neither the service nor its engines: `service.cli.track` joins them. What it needs beside NumPy and
OpenCV is the extra `vfx`, and for USD `usd`; the data model, the exporters of text and `live` need neither.
"""
