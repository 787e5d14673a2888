"""Visibility: what is known of it, fitted, and from a run to the exported network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training dependencies are not installed")

from torch import nn  # noqa: E402

from landmarks.golden import check_golden_answer  # noqa: E402
from landmarks.layout import WFLW98, PointLayout  # noqa: E402
from landmarks.repository import model_path  # noqa: E402
from landmarks.runtime import Network  # noqa: E402
from tests.train.command import landmarks_train  # noqa: E402
from tests.train.miniature import write_miniature  # noqa: E402
from train.backbones.refinement import RefinedNetwork, Visibility  # noqa: E402
from train.commands.command_line import parse  # noqa: E402
from train.config import Config, Stage  # noqa: E402
from train.datasets.face import AnnotatedFace  # noqa: E402
from train.datasets.registry import FORMATS  # noqa: E402
from train.datasets.training_data import TrainingData  # noqa: E402
from train.datasets.visible import asymmetry, labels_of  # noqa: E402
from train.errors import DataError, TrainingError  # noqa: E402
from train.evaluation.metrics import visibility_figures  # noqa: E402
from train.evaluation.trained import open_export, open_run  # noqa: E402
from train.export.torch_to_onnx import golden_answer  # noqa: E402
from train.samples.augment import at_pixels  # noqa: E402
from train.visibility import OCCLUDED_WEIGHT, Samples, batches, evenly, fit, with_mirrored  # noqa: E402

TRIANGLE = PointLayout("triangle", ("right", "left", "middle"), (1, 0, 2), {"all": (0, 1, 2)}, "box")


def face(points: object, visible: object = None) -> AnnotatedFace:
    seen = None if visible is None else np.array(visible, np.bool_)
    return AnnotatedFace(Path("a.png"), np.array(points, np.float64), np.zeros(4), visible=seen)


# ---------------------------------------------------------------- what is known


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[-3, 0], [3, 0], [0, 4]], 0.0),
        ([[10, 7], [10, 1], [14, 4]], 0.0),  # turned by a quarter
        # the mirror image of (-3, 0), (3, 0), (2, 4) that fits best is rotated
        ([[0, 0], [0, 0], [0, 0]], np.inf),
    ],
)
def test_asymmetry_by_hand(points: object, expected: float) -> None:
    assert asymmetry(np.array(points, np.float64), TRIANGLE) == pytest.approx(expected, abs=1e-9)


def test_asymmetry_grows_as_a_head_turns() -> None:
    """The middle lies before the other two, and moves to the side."""
    values = [asymmetry(np.array([[-3.0, 0], [3, 0], [x, 4]]), TRIANGLE) for x in (0, 0.5, 1, 2)]
    assert values == sorted(values)
    assert values[3] > 0.1


def test_labels_are_those_of_the_data_set_or_of_a_frontal_face() -> None:
    frontal, turned = [[-3, 0], [3, 0], [0, 4]], [[-3, 0], [3, 0], [3, 4]]
    missing = [[-3, 0], [3, 0], [np.nan, np.nan]]
    for points, visible, seen, known in (
        (frontal, None, [1, 1, 1], [1, 1, 1]),
        (turned, None, [1, 1, 1], [0, 0, 0]),
        (turned, [1, 0, 1], [1, 0, 1], [1, 1, 1]),
        (missing, None, [1, 1, 1], [0, 0, 0]),
        (missing, [0, 1, 1], [0, 1, 1], [1, 1, 0]),
    ):
        labels = labels_of(face(points, visible), TRIANGLE)
        assert [each.astype(int).tolist() for each in labels] == [seen, known]


def test_points_below_what_is_pasted_are_covered() -> None:
    mask = np.zeros((8, 8), np.bool_)
    mask[2:4, 5:7] = True
    points = np.array([[5.0, 2.0], [6.4, 3.4], [6.6, 3.0], [2.0, 5.0], [-0.1, 3.0], [7.0, 7.0], [np.nan, 1.0]])
    inside, covered = at_pixels(mask, points)
    assert covered.tolist() == [True, True, False, False, False, False, False]
    assert inside.tolist() == [True, True, True, True, False, True, False]


def test_a_file_states_which_points_are_seen(tmp_path: Path) -> None:
    root = write_miniature(tmp_path / "faces", train=2, val=0)
    path = root / "annotations.jsonl"
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    first["faces"][0]["visible98"] = [0] * 33 + [1] * 65
    path.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    faces = FORMATS["faces300w"].load(root, "train")
    assert faces[0].visible is not None
    assert faces[0].visible.tolist() == [False] * 33 + [True] * 65
    assert faces[1].visible is None
    for wrong in ([1] * 97, [2] * 98, "seen"):
        first["faces"][0]["visible98"] = wrong
        path.write_text(f"{json.dumps(first)}\n")
        with pytest.raises(DataError, match="line 1"):
            FORMATS["faces300w"].load(root, "train")


def test_each_face_is_shown_whole_and_with_something_over_it(tmp_path: Path) -> None:
    faces = FORMATS["faces300w"].load(write_miniature(tmp_path / "faces", train=3, val=0), "train")
    faces = [replace(each, visible=np.arange(98) >= 33) for each in faces]
    config = Config(stages=(Stage(epochs=1, input_size=64),))
    crops, seen, weights = (np.concatenate(each) for each in zip(*batches(faces, config, WFLW98), strict=True))
    assert crops.shape == (6, 64, 64, 3)
    # as many of the jaw's points are on either side of the mirror
    assert (~seen[::2]).sum(axis=1).tolist() == [33] * 3
    assert ((~seen[1::2]).sum(axis=1) >= 33).all()
    assert (~seen[1::2]).sum() > 3 * 33
    assert (weights[::2] == 1).mean() > 0.95
    assert (weights[1::2] == OCCLUDED_WEIGHT).mean() > 0.95


# ---------------------------------------------------------------- figures


def test_figures_by_hand() -> None:
    visibility = np.array([0.95, 0.95, 0.95, 0.95, 0.05, 0.05, 0.55, 0.55])
    seen = np.array([1, 1, 1, 0, 0, 0, 1, 0], np.bool_)
    found = visibility_figures(visibility, seen)
    assert found is not None
    assert (found.points, found.hidden) == (8, 50.0)
    # of 16 pairs, in 12.5 the hidden point has less: ties count half
    assert found.auroc == pytest.approx((3 * (2 + 1 + 0.5) + (2 + 0.5)) / 16)
    assert found.calibration == pytest.approx(20.0)  # 0.95 said, three of four seen
    assert visibility_figures(np.zeros(0), np.zeros(0, np.bool_)) is None


# ---------------------------------------------------------------- the fit


def network(points: int) -> RefinedNetwork:
    refined = RefinedNetwork(nn.Identity(), points, visibility=True)
    with torch.no_grad():
        refined.tilt.directions.normal_(generator=torch.Generator().manual_seed(1))
    return refined


def test_the_fit_finds_the_probabilities_by_which_points_were_drawn() -> None:
    """Point 0 is seen the more, the further the third point lies to the left; its mirror image, to the right."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4000, 9, generator=generator) * 0.3
    truth = torch.full((4000, 3), 0.9)
    truth[:, 0], truth[:, 1] = (-6 * features[:, 2]).sigmoid(), (6 * features[:, 2]).sigmoid()
    seen = (torch.rand(4000, 3, generator=generator) < truth).float()
    refined = network(3)
    fit(refined, with_mirrored(Samples(features, seen, torch.ones(4000, 3)), TRIANGLE.flip))
    assert refined.visibility is not None
    with torch.no_grad():
        stated = refined.visibility(features)
    assert (stated - truth).abs().mean() < 0.03


def test_samples_of_unknown_points_do_not_count() -> None:
    features = torch.randn(200, 9, generator=torch.Generator().manual_seed(0))
    seen, weights = torch.ones(200, 3), torch.ones(200, 3)
    seen[:100], weights[:100] = 0.0, 0.0
    refined = network(3)
    fit(refined, Samples(features, seen, weights))
    assert refined.visibility is not None
    with torch.no_grad():
        assert refined.visibility(features).min() > 0.9


def test_limits_are_those_of_each_set_or_of_all() -> None:
    data = TrainingData(("a", "b"), [face([[0, 0]])] * 9, extra=[[face([[0, 0]])] * 4])
    for limits, counts in ((None, (9, 4)), ([5], (5, 4)), ([2, 3], (2, 3))):
        chosen = evenly(data, limits)
        assert (len(chosen.faces), *map(len, chosen.extra)) == counts


def test_the_same_samples_give_the_same_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = Samples(torch.randn(50, 9, generator=generator), torch.ones(50, 3), torch.ones(50, 3))
    first, second = network(3), network(3)
    fit(first, samples)
    torch.manual_seed(7)
    fit(second, samples)
    assert first.visibility is not None
    assert second.visibility is not None
    for one, other in zip(first.visibility.parameters(), second.visibility.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_new_layer_does_not_know() -> None:
    assert Visibility(3)(torch.randn(2, 27)).tolist() == [[0.5] * 3] * 2


# ---------------------------------------------------------------- from a run to the exported network


def command(*words: object) -> None:
    parse([str(word) for word in words]).execute()


def labelled(root: Path) -> Path:
    """Drawn faces whose jaw is hidden."""
    path = write_miniature(root) / "annotations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["faces"][0]["visible98"] = [0] * 33 + [1] * 65
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_from_a_run_to_the_exported_network_and_back(
    tmp_path: Path, repository_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"faces300w:{labelled(tmp_path / 'faces')}"
    config = "seed = 1\nbatch_size = 2\nprecision = 'float32'\nstages = [{ epochs = 1, input_size = '96x64' }]\n"
    (tmp_path / "tiny.toml").write_text(config)
    command("fit", "--data", data, "--config", tmp_path / "tiny.toml", "--out", tmp_path / "run", "--workers", 0)
    with pytest.raises(TrainingError, match="run fit-shape first"):
        command("fit-visibility", "--data", data, "--run", tmp_path / "run", "--out", tmp_path / "seen")
    command("fit-shape", "--data", data, "--run", tmp_path / "run", "--out", tmp_path / "shaped")
    capsys.readouterr()
    arguments = ("fit-visibility", "--data", data, "--run", tmp_path / "shaped", "--limit", 4)
    command(*arguments, "--out", tmp_path / "seen")
    assert json.loads(capsys.readouterr().out)["auroc"] > 0.9
    with pytest.raises(TrainingError, match="has the layer already"):
        command("fit-visibility", "--data", data, "--run", tmp_path / "seen", "--out", tmp_path / "again")
    with pytest.raises(TrainingError, match="choose another --out"):
        command(*arguments, "--out", tmp_path / "seen")
    for wrong in (("0",), ("4", "4")):
        with pytest.raises(TrainingError, match="one number of at least 1, or one for each of the 1 data"):
            command(*arguments[:-1], *wrong, "--out", tmp_path / "none")
    command("calibrate", "--run", tmp_path / "seen", "--data", data, "--held-out", 2)
    done = landmarks_train("export", "--run", tmp_path / "seen", "--repository", repository_copy)
    assert done.returncode == 0, done.stderr

    # the file states and answers it, in the runtime that serves as well, and the points are those of the run before
    path = model_path(repository_copy)
    served, exported, before = Network(path), open_export(path), open_run(tmp_path / "shaped")
    assert served.metadata.has_visibility
    answer = golden_answer(served, served.metadata.codec)
    check_golden_answer(served.metadata, answer)
    assert answer.visibility[0, :33].mean() < answer.visibility[0, 33:].mean()
    assert np.allclose(golden_answer(before.network, before.codec).points, answer.points, atol=0.05)
    for name, lines in (("heatmap", 1), ("decode", 0), ("landmarks", 3)):
        assert (repository_copy / name / "config.pbtxt").read_text().count('"visibility" ') == lines
    capsys.readouterr()
    command("evaluate", "--model", path, "--data", data, "--occlude")
    figures = json.loads(capsys.readouterr().out)["visibility"]
    assert figures["points"] > 300
    assert figures["hidden"] > 33 / 98 * 100

    # a run is made of the file again, and training continues from it without the layer
    command("import-onnx", "--model", path, "--data", data, "--out", tmp_path / "imported", "--samples", 4)
    imported = open_run(tmp_path / "imported")
    crops = np.random.default_rng(0).integers(0, 256, (1, 96, 64, 3), np.uint8)
    assert np.allclose(imported.network(crops).visibility, exported.network(crops).visibility, atol=1e-3)
    weights = ("--weights", tmp_path / "imported" / "checkpoint.pt")
    command(
        "fit", "--data", data, "--config", tmp_path / "tiny.toml", "--out", tmp_path / "on", "--workers", 0, *weights
    )
    assert open_run(tmp_path / "on").network(crops).visibility.shape == (1, 0)
