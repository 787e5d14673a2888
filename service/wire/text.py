"""Options as text: the parameters of a query and the flags of the command line, derived from `Options`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

from service.request import Options


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


def required(annotation: Any) -> Any:
    """A field's type without `| None`."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    return annotation


def _text_option(field: str) -> TextOption:
    annotation = required(Options.model_fields[field].annotation)
    if get_origin(annotation) is tuple:
        return TextOption(field, _box, repeated=True, hint="Give x1,y1,x2,y2 once for each face.")
    if get_origin(annotation) is frozenset:
        return TextOption(field, lambda text: text.split(","), hint="Separate several by commas.")
    convert = _CONVERTERS.get(annotation, str)
    return TextOption(field, lambda text: _converted(convert, text))


_CONVERTERS: Final[Mapping[Any, Callable[[str], object]]] = {
    int: int,
    float: float,
    bool: {"true": True, "false": False}.__getitem__,
}


def _converted(convert: Callable[[str], object], text: str) -> object:
    try:
        return convert(text)
    except (ValueError, KeyError):
        return text


def _box(text: str) -> list[object]:
    return [_converted(float, part) for part in text.split(",")]


TEXT_OPTIONS: Final[Mapping[str, TextOption]] = {
    "box" if field == "boxes" else field: _text_option(field) for field in Options.model_fields
}
"""By the name of the parameter or flag."""
