"""Builds `landmarks/heatmaps.c`, for which pyproject.toml has no stable words yet. All else is in pyproject.toml."""

import os

from setuptools import Extension, setup

HEATMAPS = Extension(
    "landmarks._heatmaps",
    ["landmarks/heatmaps.c"],
    # without a compiler the package installs all the same: docs/decisions/0056
    optional=True,
    extra_compile_args=[
        "-O3",
        # fused operations would change bits of the points
        "-ffp-contract=off",
        # with these, compilers turn the search for a maximum into vector instructions. Linking with -ffast-math instead
        # would change the arithmetic of the whole process
        "-ffinite-math-only",
        "-fno-signed-zeros",
        "-fno-trapping-math",
    ],
    libraries=["m"] if os.name == "posix" else [],
    py_limited_api=True,
)

# the library has nothing of Python's, so that one wheel serves every version
setup(ext_modules=[HEATMAPS], options={"bdist_wheel": {"py_limited_api": "cp310"}})
