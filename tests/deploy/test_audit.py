"""`make audit`, with a double of pip-audit that knows of what a test says."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY

KNOWN = {"jinja2==2.4.1": ["PYSEC-2014-8"]}
PROGRAM = """#!{python}
import json, sys
known = {known}
pins = [line.split(";")[0].strip() for line in open("/dev/stdin") if "==" in line]
assert not any("hash" in pin or "\\\\" in pin or "+" in pin for pin in pins), pins
vulns = lambda pin: [{{"id": id, "aliases": ["CVE-" + id], "fix_versions": ["9.9"]}} for id in known.get(pin, [])]
print(json.dumps({{"dependencies": [
    dict(zip(("name", "version"), pin.split("==")), vulns=vulns(pin)) for pin in pins if pin not in {unknown}
] + [{{"name": pin, "skip_reason": "not found"}} for pin in pins if pin in {unknown}]}}))
sys.exit(any(pin in known for pin in pins))
"""
LOCK = """# pinned
one==1.0 \\
    --hash=sha256:00 \\
    --hash=sha256:01
torch==2.13.0+cpu ; sys_platform == 'linux' \\
    --hash=sha256:02
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(DEPLOY / "locks/audit.py", tmp_path)
    (tmp_path / "gateway.txt").write_text(LOCK)
    (tmp_path / "accepted.txt").write_text("# nothing\n")
    return tmp_path


def audit(folder: Path, known: dict[str, list[str]], unknown: tuple[str, ...] = (), **settings: str) -> tuple[int, str]:
    """The exit status and the output, where advisories are known about these pins, and nothing about others."""
    program = folder / "pip-audit"
    program.write_text(PROGRAM.format(python=sys.executable, known=json.dumps(known), unknown=repr(list(unknown))))
    program.chmod(0o755)
    environment = {**os.environ, "PIP_AUDIT": str(program), **settings}
    command = [sys.executable, str(folder / "audit.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_lock_without_advisories_passes(folder: Path) -> None:
    assert audit(folder, KNOWN) == (0, "1 lock files audited, 0 advisories\n")


@pytest.mark.parametrize("pin", ["one==1.0", "torch==2.13.0"])
def test_an_advisory_fails_until_it_is_accepted_for_at_most_thirty_days(folder: Path, pin: str) -> None:
    known = {**KNOWN, pin: ["PYSEC-1"]}
    status, printed = audit(folder, known)
    assert (status, printed.splitlines()[0]) == (
        1,
        f"gateway.txt: {pin.replace('==', ' ')}: CVE-PYSEC-1, PYSEC-1: fixed in 9.9",
    )
    for days, expected in ((0, 0), (30, 0), (-1, 1), (32, 1)):
        until = date.today() + timedelta(days=days)
        (folder / "accepted.txt").write_text(f"CVE-PYSEC-1 {until} never called here\n")
        assert audit(folder, known)[0] == expected, days
    (folder / "accepted.txt").write_text("CVE-PYSEC-1 tomorrow never called here\n")
    assert audit(folder, known)[0] == 1


@pytest.mark.parametrize("unreachable", ["nothing known", "canary unknown", "no pip-audit"])
def test_without_advisories_to_reach_it_says_so_and_fails_only_where_it_is_required(
    folder: Path, unreachable: str
) -> None:
    settings = {"PIP_AUDIT": "/nonexistent/pip-audit"} if unreachable == "no pip-audit" else {}
    unknown = ("jinja2==2.4.1",) if unreachable == "canary unknown" else ()
    status, printed = audit(folder, {}, unknown, **settings)
    assert (status, printed.startswith("the lock files are not audited: ")) == (0, True)
    assert audit(folder, {}, unknown, AUDIT_REQUIRED="1", **settings)[0] == 1


def test_what_pip_audit_says_instead_of_an_answer_is_reported(folder: Path) -> None:
    program = folder / "broken"
    program.write_text(f"#!{sys.executable}\nraise SystemExit('the service is down')\n")
    program.chmod(0o755)
    status, printed = audit(folder, KNOWN, PIP_AUDIT=str(program))
    assert (status, printed) == (0, "the lock files are not audited: pip-audit gives no answer: the service is down\n")


def test_a_package_that_the_service_does_not_know_is_no_audited_one(folder: Path) -> None:
    status, printed = audit(folder, KNOWN, unknown=("one==1.0",))
    assert status == 1
    assert "gateway.txt: one==1.0: unknown to the service" in printed


def test_nothing_is_accepted_that_has_no_date_or_is_accepted_for_longer() -> None:
    for line in (DEPLOY / "locks/accepted.txt").read_text().splitlines():
        assert line.startswith("#") or date.fromisoformat(line.split()[1]), line
