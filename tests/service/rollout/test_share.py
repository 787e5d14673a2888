"""The share of a candidate: a number, or what a file holds."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from service.rollout.share import Share, parse_share


def test_the_file_overrides_the_setting_and_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "share"
    path.write_text("0.25\n")
    share = Share(0.0, path)
    assert share() == 0.25
    fresh = tmp_path / "fresh"
    fresh.write_text("1")
    fresh.replace(path)
    share.read()
    assert share() == 1
    assert "the candidate's share is now 1, was 0.25" in caplog.messages


@pytest.mark.parametrize("content", ["", "half", "1.5", "-0.1", "nan", "50%", "0.1 0.2", b"\xff\xfe"])
def test_an_unusable_file_leaves_the_share_unchanged_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | bytes
) -> None:
    path = tmp_path / "share"
    path.write_text("0.5")
    share = Share(0.0, path)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    share.read()
    share.read()
    assert share() == 0.5
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    path.unlink()
    share.read()
    assert share() == 0.5
    path.write_text("0")
    share.read()
    assert share() == 0


def test_without_the_file_the_setting_applies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Share(0.1, tmp_path / "none")() == 0.1
    assert "the candidate's share stays 0.1" in caplog.text


@pytest.mark.anyio
async def test_the_file_is_read_every_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "share"
    path.write_text("0")
    share = Share(0.0, path)
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        assert seconds == 1
        seen.append(share())
        path.write_text(str(len(seen) / 4))
        if len(seen) == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr("service.rollout.share.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await share.follow()
    assert seen == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("text", "value"), [("0", 0), (" 1.0\n", 1), ("1e-3", 0.001)])
def test_a_share_is_a_number_from_0_to_1(text: str, value: float) -> None:
    assert parse_share(text) == value
