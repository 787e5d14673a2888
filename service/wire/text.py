"""Fields as text: the parameters of a query and the flags of the command line, derived from pydantic models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel

from service.request import Options


def field_schemas(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The JSON schema of each field, without the alternative null: as text, a field without a value is left out."""
    properties: dict[str, dict[str, Any]] = model.model_json_schema()["properties"]
    return {name: _without_null(schema) for name, schema in properties.items()}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" not in schema:
        return schema
    (inner,) = (each for each in schema["anyOf"] if each != {"type": "null"})
    return {**inner, **{name: value for name, value in schema.items() if name != "anyOf"}}


class TextOption(NamedTuple):
    """How one option is written as text."""

    field: str
    """Its name in `Options`."""
    parse: Callable[[str], object]
    """Text -> value, or the text itself where it stands for none: validation then says what is wrong with it."""
    repeated: bool = False
    """Whether it is given once for each element, rather than once."""
    hint: str = ""
    """How several values are written, where it takes several."""


Number = TypeVar("Number", int, float)


def plain_number(convert: Callable[[str], Number], text: str) -> Number:
    """`convert`: int or float, which read 1_0 and digits of other scripts too. Raises ValueError for these."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return convert(text)


_FROM_TEXT: Final[Mapping[str, Callable[[str], object]]] = {
    "integer": partial(plain_number, int),
    "number": partial(plain_number, float),
    "boolean": {"true": True, "false": False}.__getitem__,
    "string": str,
}


def _converted(convert: Callable[[str], object], text: str) -> object:
    try:
        return convert(text)
    except (ValueError, KeyError):
        return text


def _box(text: str) -> list[object]:
    return [_converted(_FROM_TEXT["number"], part) for part in text.split(",")]


def _text_option(field: str, schema: Mapping[str, Any]) -> TextOption:
    if schema["type"] != "array":
        convert = _FROM_TEXT[schema["type"]]
        return TextOption(field, lambda text: _converted(convert, text))
    if schema["items"]["type"] == "array":
        return TextOption(field, _box, repeated=True, hint="Give x1,y1,x2,y2 once for each face.")
    return TextOption(field, lambda text: text.split(","), hint="Separate several by commas.")


TEXT_OPTIONS: Final[Mapping[str, TextOption]] = {
    "box" if field == "boxes" else field: _text_option(field, schema)
    for field, schema in field_schemas(Options).items()
}
"""By the name of the parameter or flag."""
