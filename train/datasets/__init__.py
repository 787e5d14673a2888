"""Annotated faces, read from the files of public data sets."""
