"""Fuzzing: inputs drawn by hypothesis and schemathesis for a given time, sent to real processes.

A run fails on a crash, a hang, a fault of the service, and on memory that grows. Not part of `make test`.
"""
