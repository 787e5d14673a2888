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


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
