"""Failed validations of pydantic in this service's words, for both APIs, the settings and the command line."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from typing import Final

from pydantic_core import ErrorDetails

_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    "int_parsing_size": "must be a smaller number",
    "finite_number": "must be a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "string_type": "must be text",
    **dict.fromkeys(("list_type", "tuple_type", "frozen_set_type"), "must be a list"),
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "value_error": "{error}",
    "missing": "is required",
}


def describe(problem: ErrorDetails) -> str:
    """What is wrong with a value, as words that follow its name: "must be a whole number"."""
    context = problem.get("ctx", {})
    if problem["type"] == "literal_error":
        choices = ", ".join(re.findall(r"'([^']*)'", context["expected"]))
        verb = "takes" if len(problem["loc"]) > 1 else "must be one of"  # an element of a list, or the value itself
        return f"{verb} {choices}, not {reprlib.repr(problem['input'])}"
    words = _WORDS.get(problem["type"])
    return words.format(**context) if words else f"is not usable: {problem['msg']}"
