from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecSpec
from tests.train.command import landmarks_train
from tests.train.miniature import write_miniature
from train.backbones import build
from train.codecs import CellObjective
from train.datasets import DataSource
from train.evaluate import predict, torch_network
from train.tables.topk import errors_by_k
from train.tables.workshop import Table
from train.trained import Trained


def test_a_table_as_markdown_and_csv(tmp_path: Path) -> None:
    Table("table-0", "A title", "A note.", ("k", "64 px"), (("1", "6.45"), ("9", "4.62"))).write(tmp_path / "new")
    assert (tmp_path / "new" / "table-0.md").read_text() == (
        "# A title\n\nA note.\n\n| k | 64 px |\n| --- | ---: |\n| 1 | 6.45 |\n| 9 | 4.62 |\n"
    )
    assert (tmp_path / "new" / "table-0.csv").read_text() == "k,64 px\n1,6.45\n9,4.62\n"


def test_one_search_gives_the_errors_that_evaluation_gives_for_each_k(tmp_path: Path) -> None:
    source = DataSource("faces300w", write_miniature(tmp_path / "faces"))
    network, codec = torch_network(build("compact", 98), CellObjective()), CodecSpec(input_size=64)
    predictions = predict(network, source.test_faces(), codec, 1.25, [1, 3, 9])
    found = errors_by_k(Trained(network, codec, 1.25), source, [1, 3, 9])
    assert found == pytest.approx([predictions.report(k).nme for k in (1, 3, 9)], abs=1e-3)


def test_a_table_without_its_runs_names_the_first_that_is_missing(tmp_path: Path) -> None:
    data = f"faces300w:{write_miniature(tmp_path / 'faces')}"
    done = landmarks_train("table", 8, "--data", data, "--runs", tmp_path, "--reuse-only")
    assert done.returncode == 1
    assert "compact64 holds no finished run" in done.stderr
