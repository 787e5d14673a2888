"""Options as query parameters and as JSON: types are checked here, meanings in `service.request`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.datastructures import QueryParams

from service.errors import ErrorKind, ServiceError
from service.request import Options

_Read = Callable[[str, Any], Any]


def parse_options(values: Mapping[str, object]) -> Options:
    """Raises ServiceError of kind INVALID_REQUEST or INVALID_BOX."""
    unknown = sorted(set(values) - set(_READ))
    if unknown:
        raise invalid(f"unknown option {unknown[0][:40]!r}: there are box (boxes in JSON), {', '.join(_OTHERS)}")
    return Options(**{name: _READ[name](name, value) for name, value in values.items() if value is not None})


def query_options(query: QueryParams) -> Options:
    """`?box=x1,y1,x2,y2` for each face, every other option once. Raises as `parse_options` does."""
    values: dict[str, Any] = {}
    for name, text in query.multi_items():
        if name == "box":
            values.setdefault("boxes", []).append([_converted(float, part) for part in text.split(",")])
        elif name in values or name == "boxes":
            raise invalid("give ?box=x1,y1,x2,y2 once for each face, and every other option once")
        else:
            values[name] = _converted(_FROM_TEXT.get(name, str), text)
    return parse_options(values)


def invalid(message: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_REQUEST, message)


def _converted(convert: Callable[[str], object], text: str) -> object:
    """The value, or the text itself where it is none: `parse_options` says what is wrong with it."""
    try:
        return convert(text)
    except (ValueError, KeyError):
        return text


_FROM_TEXT: Final[Mapping[str, Callable[[str], object]]] = {
    "topk": int,
    "max_faces": int,
    "detector_threshold": float,
    "flip": {"true": True, "false": False}.__getitem__,
    "omit": lambda text: text.split(","),
}


def _boxes(name: str, value: object) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list):
        raise invalid(f"{name} must be a list of [x1, y1, x2, y2]")
    return tuple(_box(i, box) for i, box in enumerate(value))


def _box(number: int, box: object) -> tuple[float, ...]:
    if not isinstance(box, list) or len(box) != 4 or not all(type(v) in (int, float) for v in box):
        raise ServiceError(ErrorKind.INVALID_BOX, f"box {number} is not four numbers x1, y1, x2, y2")
    return tuple(float(v) for v in box)


def _names(name: str, value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(type(each) is str for each in value):
        raise invalid(f"{name} must be a list of names of fields")
    return frozenset(value)


def _of_type(what: str, *types: type) -> _Read:
    def read(name: str, value: Any) -> Any:
        if type(value) not in types:  # a bool is an int to isinstance
            raise invalid(f"{name} must be {what}")
        return value

    return read


_READ: Final[Mapping[str, _Read]] = {
    "boxes": _boxes,
    "topk": _of_type("a whole number", int),
    "max_faces": _of_type("a whole number", int),
    "detector_threshold": _of_type("a number", int, float),
    "model": _of_type("a name", str),
    "decoder": _of_type("a name", str),
    "flip": _of_type("true or false", bool),
    "omit": _names,
}
_OTHERS: Final = [name for name in _READ if name != "boxes"]
