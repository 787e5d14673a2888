"""What the documents say of files that lie beside them."""

import hashlib
import re

from landmarks.detection import DetectorMetadata
from landmarks.repository import model_path
from landmarks.runtime import DetectorNetwork, Network
from tests.conftest import ROOT

CARD = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")


def test_the_card_is_that_of_the_shipped_networks() -> None:
    """A clone whose user has exported a network of their own has to write its card, too."""
    landmarks = model_path(ROOT / "model_repo")
    detector = model_path(ROOT / "model_repo", kind=DetectorMetadata)
    assert f"sha256:{hashlib.sha256(landmarks.read_bytes()).hexdigest()}" in CARD
    assert f"| run | `{Network(landmarks).metadata.run_id}`" in CARD
    assert f"run `{DetectorNetwork(detector).metadata.run_id}`" in CARD


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
