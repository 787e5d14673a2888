"""Ctrl-C in a program that runs an event loop."""

from __future__ import annotations

import asyncio
import signal
from typing import Final

INTERRUPTED: Final = 130
"""What a shell reports of a program that Ctrl-C ended."""


class AsyncioInterrupt:
    """Ctrl-C cancels the current task, rather than raise KeyboardInterrupt anywhere. A second one does that."""

    def __init__(self) -> None:
        self.came = False
        """Whether Ctrl-C was pressed."""

    def __enter__(self) -> AsyncioInterrupt:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def interrupted() -> None:
            self.came = True
            loop.remove_signal_handler(signal.SIGINT)
            if task is not None:
                task.cancel()

        loop.add_signal_handler(signal.SIGINT, interrupted)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
