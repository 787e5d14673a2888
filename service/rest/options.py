"""The query of a request -> options."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import QueryParams

from service.request import Options, invalid, read_options
from service.wire.text import TEXT_OPTIONS


def query_options(query: QueryParams) -> Options:
    """`?box=x1,y1,x2,y2` for each face, every other option once. Raises ServiceError as `read_options` does."""
    values: dict[str, Any] = {}
    for name, text in query.multi_items():
        option = TEXT_OPTIONS.get(name)
        if name == "boxes" or name in values:
            raise invalid("give ?box=x1,y1,x2,y2 once for each face, and every other option once")
        if option is None:
            values[name] = text  # `read_options` says which options there are
        elif option.repeated:
            values.setdefault(option.field, []).append(option.parse(text))
        else:
            values[name] = option.parse(text)
    return read_options(values)
