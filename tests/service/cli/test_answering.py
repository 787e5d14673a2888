"""What asking a service from the command line leaves behind in its process."""

from __future__ import annotations

import logging

import pytest

from service.cli.answering import answering
from service.cli.command_line import ServiceArguments
from service.settings import Settings

pytestmark = pytest.mark.anyio


async def test_the_loggers_that_are_quiet_meanwhile_have_their_levels_back_afterwards() -> None:
    logger = logging.getLogger("httpx")
    before = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        remote = ServiceArguments(url="http://127.0.0.1:9", ca=None, cert=None, key=None)
        async with answering(remote, Settings()):
            assert logger.level == logging.WARNING
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)
