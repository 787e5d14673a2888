"""Errors that the user can correct. `landmarks-train` prints the message alone, and exits with status 1.

TrainError
├── ConfigError     the configuration, or an override
├── DataError       a data set's file
└── TrainingError   a run: no checkpoint, another configuration, a loss that is not finite
    └── UncalibratedError   its covariances were not fitted to errors
"""

from __future__ import annotations


class TrainError(Exception):
    """The base class. Every message says what to do."""


class ConfigError(TrainError):
    """The configuration file or an override is not usable; the message names the key."""


class DataError(TrainError):
    """A data set's file is missing or malformed; the message gives the file, the line and what was expected."""


class TrainingError(TrainError):
    """Training, or work on a run's folder, cannot continue; the message says why."""


class UncalibratedError(TrainingError):
    """The covariances of a run were not fitted to its errors."""
