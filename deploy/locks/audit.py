"""Looks for published advisories about what the lock files pin: `make audit`.

Advisories come from pip-audit's service (PYSEC and GitHub's, through the package index). Each has to be answered by a
newer release (`make lock`), or accepted for at most 30 days in accepted.txt beside this file, with the reason. The exit
status is 1 otherwise. Where no advisories can be reached it says so and ends well, unless AUDIT_REQUIRED is set.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent
CANARY: Final = "jinja2==2.4.1\n"
"""A release with advisories: where they are not reported, none can be reached."""
LONGEST: Final = timedelta(days=30)
"""For which an advisory can be accepted."""
SECONDS: Final = 300
"""That the advisories for one lock file may take."""


class Advisory(NamedTuple):
    """About a pinned package, by all of its identifiers."""

    package: str
    ids: frozenset[str]
    fixed_in: str


class Unreachable(Exception):
    """No advisories can be had; the message says why."""


def main() -> int:
    """Audits every lock file. Returns the exit status."""
    try:
        with TemporaryDirectory() as cache:  # pip-audit's own is refused where others may write to the home folder
            if not any(advisory.fixed_in for advisory in advisories(CANARY, cache)):
                raise Unreachable("the service knows of no advisory about a release that has some")
            locks = [path for path in sorted(FOLDER.glob("*.txt")) if is_lock(path)]
            found = {path.name: advisories(path.read_text(), cache) for path in locks}
    except Unreachable as error:
        print(f"the lock files are not audited: {error}")
        return 1 if os.environ.get("AUDIT_REQUIRED") else 0
    try:
        accepted = dict(read_accepted((FOLDER / "accepted.txt").read_text(), date.today()))
    except ValueError as error:
        print(error)
        return 1
    status = 0
    for name, about in found.items():
        for advisory in about:
            until = max((accepted[id_] for id_ in advisory.ids & accepted.keys()), default=None)
            is_accepted = until is not None and until >= date.today()
            status = status or int(not is_accepted)
            remark = f"accepted until {until}" if is_accepted else f"fixed in {advisory.fixed_in or 'no release yet'}"
            print(f"{name}: {advisory.package}: {', '.join(sorted(advisory.ids))}: {remark}")
    print(f"{len(found)} lock files audited, {sum(map(len, found.values()))} advisories")
    return status


def is_lock(path: Path) -> bool:
    return "--hash=" in path.read_text()


def advisories(requirements: str, cache: str) -> list[Advisory]:
    """About the packages that these lines pin. Raises Unreachable."""
    # without hashes, which pip-audit would check by downloading the files; what a local version such as +cpu is of
    pins = re.sub(r"\+\w+(?= *(;|\\|$))", "", re.sub(r"\\\n +--hash=\S+", "", requirements), flags=re.MULTILINE)
    command = [os.environ.get("PIP_AUDIT", "pip-audit"), "--format=json", "--progress-spinner=off", "--timeout=10"]
    command += ["--disable-pip", "--no-deps", "--cache-dir", cache, "--requirement", "/dev/stdin"]
    try:
        done = subprocess.run(  # noqa: S603
            command, input=pins, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"pip-audit gives no answer: {error}") from error
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        said = done.stderr.strip().rpartition("\n")[2]
        raise Unreachable(f"pip-audit gives no answer: {said}") from error
    skipped = [
        Advisory(each["name"], frozenset(["unknown to the service"]), "") for each in answers if "vulns" not in each
    ]
    return skipped + [
        Advisory(
            f"{each['name']} {each['version']}",
            frozenset([advisory["id"], *advisory["aliases"]]),
            " or ".join(advisory["fix_versions"]),
        )
        for each in answers
        for advisory in each.get("vulns", ())
    ]


def read_accepted(text: str, today: date) -> Iterator[tuple[str, date]]:
    """The identifiers and last days of accepted.txt. Raises ValueError for a line that says something else."""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(maxsplit=2)
        if len(words) < 3:
            raise ValueError(f"accepted.txt: {line!r} is not an identifier, a date and a reason")
        try:
            until = date.fromisoformat(words[1])
        except ValueError as error:
            raise ValueError(f"accepted.txt: {words[1]!r} is not a date such as 2026-01-31") from error
        if until > today + LONGEST:
            raise ValueError(f"accepted.txt: {words[0]} is accepted for more than {LONGEST.days} days")
        yield words[0], until


if __name__ == "__main__":
    sys.exit(main())
