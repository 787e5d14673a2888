"""The page at `/`: the files of this folder, which need no build step and nothing from another host.

::

    /                   index.html
    /page/<name>        the modules, the style sheet and the icon in this folder
    /page/colours.css   the groups' colours, from `service.drawing`
    /page/portrait.png  an example image, from `landmarks.golden`
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.drawing import COLOURS, OTHER_COLOUR
from service.errors import ErrorKind, ServiceError

INDEX: Final = "index.html"
COLOURS_CSS: Final = "colours.css"
PORTRAIT: Final = "portrait.png"

HEADERS: Final[Mapping[str, str]] = {
    # browsers revalidate their copy each time, so that an upgraded service never runs with an old page
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    content: bytes
    media_type: str
    etag: str
    """A hash of the content, because the files of an installed package may all have the same date."""

    @classmethod
    def of(cls, name: str, content: bytes) -> Asset:
        digest = hashlib.sha256(content).hexdigest()
        return cls(content, _MEDIA_TYPES[name.rpartition(".")[2]], f'"{digest[:32]}"')


def page_router() -> APIRouter:
    """The routes of the page. All files are in memory, and no path of a request reaches the file system."""
    assets = load_assets()
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"], response_model=None)
    async def index(request: Request) -> Response:
        return respond(request, assets[INDEX])

    @router.api_route("/page/{name}", methods=["GET", "HEAD"], response_model=None)
    async def asset(request: Request, name: str) -> Response:
        if name not in assets:
            raise ServiceError(ErrorKind.NOT_FOUND, "the page has no such file; it starts at /")
        return respond(request, assets[name])

    return router


def load_assets() -> dict[str, Asset]:
    """Every file of the page by its name."""
    folder = files(__package__)
    contents = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name.rpartition(".")[2] in _MEDIA_TYPES
    }
    contents[COLOURS_CSS] = colours_css().encode()
    contents[PORTRAIT] = files("landmarks").joinpath("golden.png").read_bytes()
    return {name: Asset.of(name, content) for name, content in contents.items()}


def colours_css() -> str:
    """Style rules that set `--group`, the colour of an element with the attribute `data-group`."""
    selectors = {"[data-group]": OTHER_COLOUR, **{f'[data-group="{group}"]': rgb for group, rgb in COLOURS.items()}}
    rules = (f"{selector} {{ --group: rgb({r} {g} {b}); }}\n" for selector, (r, g, b) in selectors.items())
    return "".join(rules)


def respond(request: Request, asset: Asset) -> Response:
    """The file, or status 304 when the browser has this version of it."""
    headers = {**HEADERS, "ETag": asset.etag}
    known = (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(","))
    if any(tag in (asset.etag, "*") for tag in known):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, 200, headers, asset.media_type)
