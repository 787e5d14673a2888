"""The documents agree with the files and the code that they describe."""

import hashlib
import re
import shlex
from pathlib import Path

import pytest

from landmarks.decoders import DECODERS
from landmarks.detector import DetectorMetadata
from landmarks.repository import model_path
from landmarks.runtime import DetectorNetwork, Network
from landmarks_client import Options
from service.cli.arguments.detect import Detect
from service.cli.arguments.doctor import Doctor
from service.cli.arguments.keys import NewKey
from service.cli.arguments.serve import Serve
from service.cli.arguments.tune import Tune
from service.cli.command_line import parse as service_parse
from service.images.decode import FIRST_FRAME_ONLY, PROFILE_IGNORED
from tests.conftest import ROOT
from train.commands.command_line import parse as train_parse

CARD = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")


def test_the_card_is_that_of_the_shipped_networks() -> None:
    """A clone whose user has exported a network of their own has to write its card, too."""
    landmarks = model_path(ROOT / "model_repo")
    detector = model_path(ROOT / "model_repo", kind=DetectorMetadata)
    assert f"sha256:{hashlib.sha256(landmarks.read_bytes()).hexdigest()}" in CARD
    assert f"| run | `{Network(landmarks).metadata.run_id}`" in CARD
    assert f"run `{DetectorNetwork(detector).metadata.run_id}`" in CARD


def test_the_reference_lists_every_option_decoder_and_warning() -> None:
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`.* \|$", reference, re.MULTILINE)
    warnings = {each.code for each in (FIRST_FRAME_ONLY, PROFILE_IGNORED)}
    assert Options.__annotations__.keys() | DECODERS.keys() | warnings <= set(rows)


def test_the_commands_of_the_readme_can_be_parsed() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"\.venv/bin/landmarks(-train)? ([^#`\n]*[^#`\n ])", readme)
    assert [arguments.split()[0] for _, arguments in commands] == [
        "detect",
        "serve",
        "doctor",
        "tune",
        "keys",
        "fit",
        "calibrate",
        "export",
    ]
    kinds = {"detect": Detect, "doctor": Doctor, "tune": Tune, "serve": Serve, "keys": NewKey}
    for training, arguments in commands:
        words = shlex.split(arguments)
        if training:
            assert train_parse(words).name == words[0]
        else:
            assert type(service_parse(words)) is kinds[words[0]]


def test_links_between_documents_lead_to_a_file_and_to_a_heading_of_it() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
            linked = page.parent / target if target else page
            assert linked.exists(), f"{page.relative_to(ROOT)} links to {target}"
            if anchor:
                assert anchor in anchors(linked.read_text(encoding="utf-8")), (
                    f"{page.relative_to(ROOT)} links to {target}#{anchor}"
                )


def anchors(text: str) -> list[str]:
    """The names that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


GUIDES = [ROOT / "docs" / name for name in ("architecture.md", "glossary.md", "extending.md")]
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*(?:/|\.(?:py|md|proto|toml|yml|pbtxt))")
ROOMS = (ROOT, ROOT / "service", ROOT / "train")
"""Diagrams name files as they are called within `service` or `train`."""


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_guides_name_files_that_exist(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    diagrams = re.findall(r"^```$(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    named = {code for code in re.findall(r"`([^`\n]+)`", text) if PATH.fullmatch(code) and "NAME" not in code}
    drawn = {word for diagram in diagrams for word in PATH.findall(diagram)}
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    assert [path for path in sorted(drawn) if not any((room / path).exists() for room in ROOMS)] == []


def test_the_index_lists_every_decision() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| \[(\d{4})\]\((.*)\) \| \w.*\. \|$", index, re.MULTILINE)
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert lines == [(name[:4], name) for name in files]
