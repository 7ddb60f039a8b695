"""A model evaluated again gives the benchmark's figures on the benchmark's images."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_kit import RUNTIME, Benchmarked, benchmarked, ensemble_config
from PIL import Image

from patchcore_assets.commands.main import main
from patchcore_ops.config.sections import MetricsSection
from patchcore_ops.metrics.category import METRICS
from patchcore_ops.model import Model
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.stages.category_metrics import evaluate
from patchcore_ops.stages.evaluation import Evaluation, evaluate_model, write_evaluations

CATEGORY = "fabric_a"


@pytest.fixture(scope="module")
def category(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmarked:
    folder = tmp_path_factory.mktemp("evaluated")
    made = benchmarked(tiny_dataset, folder, ensemble_config(folder, 2))
    made.assemble(folder / "models" / CATEGORY)
    return made


@pytest.fixture
def other(category: Benchmarked, tmp_path: Path) -> Path:
    """Return a dataset of the test images alone."""
    shutil.copytree(category.root / CATEGORY, tmp_path / "other" / CATEGORY)
    shutil.rmtree(tmp_path / "other" / CATEGORY / "train")
    return tmp_path / "other"


def evaluated(category: Benchmarked, root: Path, folder: Path) -> Evaluation:
    model = Model.load(category.folder / "models" / CATEGORY, RUNTIME)
    return evaluate_model(model, CATEGORY, root, MetricsSection(), RUNTIME, folder)


def test_on_its_own_test_images_it_gives_the_benchmark_s_figures(
    category: Benchmarked, other: Path, tmp_path: Path
) -> None:
    found = evaluated(category, other, tmp_path / "out")
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    pd.testing.assert_frame_equal(
        scores, category.scores[list(scores.columns)], check_exact=False, rtol=1e-5
    )
    maps = np.load(tmp_path / "out" / "anomaly_maps.npy")
    np.testing.assert_allclose(maps, category.maps, rtol=1e-5, atol=1e-6)
    expected = evaluate(
        CATEGORY,
        category.root,
        category.folder / "predictions",
        category.config,
        RUNTIME,
        tmp_path / "metrics",
    )
    for name in METRICS:
        assert found.metrics[name] == pytest.approx(expected[name], abs=1e-6), name
    assert found.ranges_of == "test images"


def without_ranges(model: Path, target: Path) -> Path:
    """Copy a model and forget its members' ranges, as one from elsewhere has none."""
    shutil.copytree(model, target)
    draft = Model.load(target).description
    members = tuple(
        one.model_copy(update={"score_range": None, "map_range": None}) for one in draft.members
    )
    from patchcore_ops.model import write_model
    from patchcore_ops.model.description import ModelDraft

    fields = {**dict(draft), "members": members}
    write_model(target, ModelDraft(**{name: fields[name] for name in ModelDraft.model_fields}))
    return target


def test_members_without_ranges_are_scaled_over_the_evaluated_images(
    category: Benchmarked, other: Path, tmp_path: Path
) -> None:
    bare = without_ranges(category.folder / "models" / CATEGORY, tmp_path / "bare")
    model = Model.load(bare, RUNTIME)
    found = evaluate_model(model, CATEGORY, other, MetricsSection(), RUNTIME, tmp_path / "out")
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    np.testing.assert_allclose(scores["score"], category.scores["score"], rtol=1e-5, atol=1e-7)
    assert found.ranges_of == "these test images"


def test_masks_of_another_size_and_an_empty_test_folder_are_refused(
    category: Benchmarked, other: Path, tmp_path: Path
) -> None:
    mask = next((other / CATEGORY / "ground_truth").rglob("*.png"))
    Image.new("L", (3, 3)).save(mask)
    with pytest.raises(DatasetError, match=r"has 3 x 3 pixels instead of"):
        evaluated(category, other, tmp_path / "out")
    shutil.rmtree(other / CATEGORY / "test")
    with pytest.raises(
        DatasetError, match=r"test: holds no images in folders such as good; so nothing"
    ):
        evaluated(category, other, tmp_path / "out")


def test_a_mean_over_models_of_different_settings_says_so(
    category: Benchmarked, other: Path, tmp_path: Path
) -> None:
    found = evaluated(category, other, tmp_path / "out")
    scoring = {**found.report.config["scoring"], "smoothing_sigma": 6.0}
    config = {**found.report.config, "scoring": scoring}
    smoother = replace(found, report=replace(found.report, config=config))
    write_evaluations({"a": found, "b": smoother}, "both", tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    note = "Mean over categories with different settings: scoring.smoothing_sigma is 4.0 for a, 6.0"
    assert note in page
    write_evaluations({"a": found, "b": found}, "both", tmp_path)
    assert "different settings" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_the_command_writes_scores_table_pictures_and_page(
    category: Benchmarked,
    other: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = category.folder / "models"
    arguments = ["--dataset", str(other), "--output", str(tmp_path / "out" / "put")]
    assert main(["evaluate", "--model", str(models), *arguments]) == 0
    assert f"[1/1] {CATEGORY}" in capsys.readouterr().out
    folder = tmp_path / "out" / "put"
    table = pd.read_csv(folder / "metrics.csv")
    assert table["category"].tolist() == [CATEGORY, "Mean"]
    metrics = json.loads((folder / CATEGORY / "metrics.json").read_text())
    assert table["aupro"][0] == pytest.approx(metrics["aupro"])
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert f">{CATEGORY}</h2>" in page
    assert (folder / CATEGORY / "pictures" / "most_wrong.jpg").is_file()
    assert [entry.name for entry in folder.parent.iterdir()] == ["put"]
    # A second time the folder is there.
    assert main(["evaluate", "--model", str(models), *arguments]) == 2
    assert "put: holds something already; name an empty or a new" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "dataset", "said"),
    [
        ("models", "nowhere", r"nowhere: no such folder; name that of a category"),
        ("networks", "other", r"networks: holds no model; name a folder such as storage/model"),
        ("models", "empty", r"empty: has no folder for any of the models \(fabric_a\)"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(
    category: Benchmarked,
    other: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    dataset: str,
    said: str,
) -> None:
    (other.parent / "empty").mkdir()
    output = other.parent / "out"
    arguments = ["--model", str(category.folder / model), "--dataset", str(other.parent / dataset)]
    assert main(["evaluate", *arguments, "--output", str(output)]) == 2
    [sentence] = capsys.readouterr().err.splitlines()
    import re

    assert re.search(said, sentence)
    assert not output.exists()
