"""What can go wrong that the user can mend; `landmarks-train` prints the message and nothing else.

TrainError
├── ConfigError     the configuration, or an override
├── DataError       a data set's file
└── TrainingError   a run: no checkpoint, another configuration, a loss that is not finite
"""

from __future__ import annotations


class TrainError(Exception):
    """The base of them all; every message says what to do."""


class ConfigError(TrainError):
    """The configuration file or an override is not usable; the message names the key."""


class DataError(TrainError):
    """A data set's file is missing or malformed; the message gives the file, the line and what was expected."""


class TrainingError(TrainError):
    """Training, or work on a run's folder, cannot go on; the message says why."""
