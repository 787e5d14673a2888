"""What asking a service from the command line leaves behind in its process."""

from __future__ import annotations

import logging

import pytest

from service.cli.answering import answering
from service.cli.arguments.common import ServiceArguments
from service.settings import Settings

pytestmark = pytest.mark.anyio


async def test_the_log_that_is_quiet_meanwhile_has_its_level_back_afterwards() -> None:
    logger = logging.getLogger("service")
    before = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        here = ServiceArguments(url=None, ca=None, cert=None, key=None)
        async with answering(here, Settings(engine="local")):
            assert logger.level == logging.WARNING
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)
