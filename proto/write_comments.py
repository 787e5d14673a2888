"""Writes what the client and the service take from the schema's comments: python write_comments.py SCHEMA CLIENT_FOLDER

SCHEMA is a descriptor set with source information (protoc --include_source_info --descriptor_set_out). Written are
`options.py`, the options of a request as a TypedDict, and `pb/comments.py`, the comments by message and field.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

REQUEST = "DetectRequest"
WIDTH = 120

F = FieldDescriptorProto
PYTHON_TYPES = {
    F.TYPE_STRING: "str",
    F.TYPE_UINT32: "int",
    F.TYPE_FLOAT: "float",
    F.TYPE_BOOL: "bool",
    F.TYPE_MESSAGE: "Sequence[float]",  # Box: a message of numbers
}


def main() -> None:
    """Reads the schema and writes both files."""
    schema, client = Path(sys.argv[1]), Path(sys.argv[2])
    (file,) = FileDescriptorSet.FromString(schema.read_bytes()).file
    comments = dict(_comments(file))
    (request,) = (message for message in file.message_type if message.name == REQUEST)
    (client / "options.py").write_text(_options_module(request, comments), encoding="utf-8")
    (client / "pb" / "comments.py").write_text(_comments_module(comments), encoding="utf-8")


def _comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """The name of every message and field that has a comment ("Face", "Face.points"), and the comment on one line."""
    texts = {tuple(place.path): " ".join(place.leading_comments.split()) for place in file.source_code_info.location}
    for number, message in enumerate(file.message_type):
        # the paths of the schema's own schema: message_type is field 4 of a file, field is field 2 of a message
        paths: dict[str, tuple[int, ...]] = {message.name: (4, number)}
        paths |= {f"{message.name}.{field.name}": (4, number, 2, i) for i, field in enumerate(message.field)}
        yield from ((name, texts[path]) for name, path in paths.items() if texts.get(path))


def _options_module(request: DescriptorProto, comments: dict[str, str]) -> str:
    fields = [field for field in request.field if field.proto3_optional or field.label == F.LABEL_REPEATED]
    body = "\n".join(_option(field, comments[f"{REQUEST}.{field.name}"]) for field in fields)
    return f'''\
"""The options of a request. proto/generate.sh writes this file from the schema and its comments; do not edit it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class Options(TypedDict, total=False):
    """What a request may choose. Every option may be left out."""

{body}'''


def _option(field: FieldDescriptorProto, comment: str) -> str:
    element = PYTHON_TYPES[field.type]
    kind = f"Sequence[{element}]" if field.label == F.LABEL_REPEATED else element
    text = textwrap.fill(comment, WIDTH - 8, break_long_words=False, break_on_hyphens=False)
    one_line = len(text) + len('    """"""') <= WIDTH and "\n" not in text
    docstring = f'"""{text}"""' if one_line and not text.endswith('"') else f'"""{text}\n"""'
    return textwrap.indent(f"{field.name}: {kind}\n{docstring}\n", "    ")


def _comments_module(comments: dict[str, str]) -> str:
    items = "\n".join(f"    {name!r}: {comment!r}," for name, comment in comments.items())
    return f'''\
"""The comments of the schema, by message and field. proto/generate.sh writes this file; do not edit it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COMMENTS: Final[Mapping[str, str]] = {{
{items}
}}
'''


if __name__ == "__main__":
    main()
