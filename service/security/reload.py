"""API keys and certificates that are replaced while the service runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.observability.metrics import Metrics
from service.security.api_keys import Protection, read_digests
from service.security.files import read_file
from service.settings import Settings

logger = logging.getLogger(__name__)

SECONDS: Final = 2.0
"""Between two looks at the files."""

_State = tuple[tuple[int, int, int, int] | None, ...]


class WatchedFiles:
    """Files that are loaded again when they have changed; what cannot be loaded leaves what was loaded before."""

    def __init__(self, paths: Sequence[Path], load: Callable[[], None], lost: Callable[[], None] | None = None) -> None:
        """`lost`: called instead when one of them cannot be read at all; without it, they count as unusable."""
        self._paths, self._load, self._lost = paths, load, lost
        self._loaded = self._seen = self._state()
        self._failed: _State | None = None

    def look(self) -> None:
        """Loads the files if they have changed, and not since the last look: a file that is being written is empty at
        first, and then holds a part. Logs once what is wrong with them, and tries again each time.
        """
        before, state = self._seen, self._state()  # before loading: a change meanwhile is noticed next time
        self._seen = state
        if state == self._loaded or state != before:
            return
        names = ", ".join(map(str, self._paths))
        try:
            self._load()
        except (OSError, ValueError) as error:  # also SecurityError
            if self._lost is not None and not all(map(_is_readable, self._paths)):
                self._lost()
                self._loaded = state  # they are loaded again once they are back, even unchanged
            elif state != self._failed:
                logger.error("%s cannot be used, and what was read before remains in use: %s", names, error)
            self._failed = state
        else:
            logger.info("%s was read again", names)
            self._loaded = state

    def _state(self) -> _State:
        return tuple(map(_state, self._paths))


def _is_readable(path: Path) -> bool:
    try:
        read_file(path)
    except OSError:
        return False
    return True


def _state(path: Path) -> tuple[int, int, int, int] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode
    return None


def watched(protection: Protection, settings: Settings, metrics: Metrics) -> list[WatchedFiles]:
    """The files of keys and of TLS, as far as the settings name them."""
    files = []
    if settings.api_keys_file is not None:

        def load_keys() -> None:
            protection.keys.digests = read_digests(settings)
            if not protection.keys:
                logger.warning("%s holds no key any more: every request is refused", settings.api_keys_file)

        def lose_keys() -> None:
            """Whoever deletes the file wants its keys to be refused; a file that is being written is there."""
            remaining = read_digests(settings.model_copy(update={"api_keys_file": None}))
            if protection.keys.digests != remaining:
                logger.error("%s cannot be read any more: its keys are refused", settings.api_keys_file)
            protection.keys.digests = remaining

        files.append(WatchedFiles([settings.api_keys_file], load_keys, lose_keys))
    tls = protection.tls
    if tls is not None:
        metrics.certificate_expiry.set(tls.expires)

        def load_tls() -> None:
            tls.load()
            metrics.certificate_expiry.set(tls.expires)

        files.append(WatchedFiles([path for path in (tls.certificate, tls.key, tls.client_ca) if path], load_tls))
    return files


async def keep_loaded(files: Sequence[WatchedFiles]) -> None:
    """Looks at the files until it is cancelled."""
    while True:
        await asyncio.sleep(SECONDS)
        for each in files:
            await asyncio.to_thread(each.look)
