"""The checks of embeddings, memory banks and predictions, on files that are really wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from patchcore_ops.checks import bank, embeddings, predictions
from patchcore_ops.checks.table import every_category_is_there
from patchcore_ops.config.sections import CategoryConfig, CoresetSection
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.stages.raw_embeddings import Grid

GRID = Grid(height=2, width=3, dimension=4, train_images=5, test_images=2)
CONFIG = CategoryConfig(coreset=CoresetSection(percentage=0.2, projection_dimension=4))
SIDE = 8
SOUND = (3, SIDE, SIDE)
PICKS = [3, 29, 0, 7, 12, 20]


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    (tmp_path / "e/0").mkdir(parents=True)
    np.save(tmp_path / "e/0/embeddings.npy", draw(30, 4))
    np.save(tmp_path / "e/0/test_embeddings.npy", draw(12, 4))
    return tmp_path / "e"


@pytest.fixture
def banked(tmp_path: Path, embedded: Path) -> Path:
    (tmp_path / "b/0").mkdir(parents=True)
    write_bank(tmp_path / "b/0", embedded, PICKS)
    return tmp_path / "b"


def write_bank(folder: Path, embedded: Path, rows: list[int]) -> None:
    np.save(folder / "indices.npy", np.array(rows))
    inside = np.clip(rows, 0, 29)
    np.save(folder / "features.npy", np.load(embedded / "0/embeddings.npy")[inside])


def test_sound_embeddings_pass(embedded: Path) -> None:
    assert embeddings.every_patch_has_an_embedding(embedded, [GRID], 5, 2).passed
    finding = embeddings.embeddings_vary(embedded, [GRID])
    assert finding.passed
    assert finding.sentence == "The 42 sampled embeddings are finite and differ from each other."


def test_a_missing_row_is_noticed(embedded: Path) -> None:
    np.save(embedded / "0/test_embeddings.npy", draw(11, 4))
    finding = embeddings.every_patch_has_an_embedding(embedded, [GRID], 5, 2)
    assert (finding.passed, finding.is_error) == (False, True)
    assert finding.facts["arrays"].iloc[1].to_dict() == {  # type: ignore[union-attr]
        "member": 0,
        "split": "test",
        "expected": "12 x 4",
        "found": "11 x 4",
    }


def test_the_only_patch_of_the_only_test_image_differs_from_nothing(embedded: Path) -> None:
    np.save(embedded / "0/test_embeddings.npy", draw(1, 4))
    grid = Grid(height=1, width=1, dimension=4, train_images=30, test_images=1)
    assert embeddings.every_patch_has_an_embedding(embedded, [grid], 30, 1).passed
    assert embeddings.embeddings_vary(embedded, [grid]).passed


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "all the same"), (7.5, "all the same"), (np.nan, "not finite"), (np.inf, "not finite")],
)
def test_embeddings_that_say_nothing_are_an_error(embedded: Path, value: float, said: str) -> None:
    array = np.full((30, 4), value, dtype=np.float32)
    np.save(embedded / "0/embeddings.npy", array)
    finding = embeddings.embeddings_vary(embedded, [GRID])
    assert (finding.passed, finding.is_error) == (False, True)
    assert finding.sentence.startswith(f"The train embeddings of member 0 are {said}")


@pytest.mark.parametrize(
    ("rows", "failing"),
    [
        (PICKS, set()),
        ([3, 29, 0, 7, 12], {"size"}),
        ([3, 29, 0, 7, 12, 3], {"picks", "features"}),
        ([3, 29, 0, 7, 12, 30], {"picks", "features"}),
        ([3, 3, 3, 3, 3, 3], {"picks", "features", "coverage"}),
    ],
)
def test_a_wrong_bank_fails_its_checks(
    embedded: Path, banked: Path, rows: list[int], failing: set[str]
) -> None:
    write_bank(banked / "0", embedded, rows)
    banks = bank.read_banks(embedded, banked, CONFIG)
    findings = {
        "size": bank.bank_has_its_size(banks, CONFIG.coreset),
        "picks": bank.picks_differ(banks),
        "features": bank.features_differ(banks),
        "coverage": bank.bank_covers_the_patches(banks),
    }
    assert {name for name, finding in findings.items() if not finding.passed} == failing
    if not failing:
        every = np.load(embedded / "0/embeddings.npy")
        radius = max(min(np.linalg.norm(row - every[pick]) for pick in rows) for row in every)
        facts = findings["coverage"].facts
        assert facts["coverage_radius"] == pytest.approx(radius, rel=1e-5)
        assert facts["measured_all_patches"] is True


def test_equal_train_patches_make_equal_features(embedded: Path, banked: Path) -> None:
    array = np.load(embedded / "0/embeddings.npy")
    array[29] = array[3]
    np.save(embedded / "0/embeddings.npy", array)
    write_bank(banked / "0", embedded, PICKS)
    banks = bank.read_banks(embedded, banked, CONFIG)
    assert bank.picks_differ(banks).passed
    finding = bank.features_differ(banks)
    assert (finding.passed, finding.is_error) == (False, False)
    assert finding.facts["repeated_features"] == 1


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_repeated_rows_are_counted_as_python_counts_them(dimension: int, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(-1, 2, (200, dimension)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    assert bank.repeated_rows(ArrayFile(tmp_path / "rows.npy")) == 200 - len(
        {row.tobytes() for row in rows}
    )


@pytest.fixture
def images() -> pd.DataFrame:
    return pd.DataFrame({"path": [f"c/test/{name}.png" for name in "abc"]})


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    np.save(tmp_path / "anomaly_maps.npy", draw(3, SIDE, SIDE))
    return tmp_path


def scores_of(images: pd.DataFrame) -> pd.DataFrame:
    return images.assign(score=[1.0, 2.0, 3.0])


def test_sound_predictions_pass(images: pd.DataFrame, predicted: Path) -> None:
    scores = scores_of(images)
    assert predictions.one_prediction_per_image(images, scores, predicted, (SIDE, SIDE)).passed
    assert predictions.predictions_are_finite(scores, predicted).passed


@pytest.mark.parametrize(
    ("change", "shape", "said"),
    [
        (lambda scores: scores[:2], SOUND, "2 scores for 3 test images (c/test/c.png)"),
        (lambda scores: pd.concat([scores, scores[:1]]), SOUND, "4 scores for 3 test images (c/te"),
        (lambda scores: scores.replace("c/test/b.png", "x.png"), SOUND, "(c/test/b.png)"),
        (lambda scores: scores[::-1], SOUND, "not in the order of the embeddings"),
        (lambda scores: scores, (2, SIDE, SIDE), "2 x 8 x 8"),
        (lambda scores: scores, (3, SIDE, SIDE + 1), "3 x 8 x 9"),
    ],
)
def test_predictions_of_other_images_are_noticed(
    images: pd.DataFrame,
    predicted: Path,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    shape: tuple[int, ...],
    said: str,
) -> None:
    np.save(predicted / "anomaly_maps.npy", draw(*shape))
    scores = change(scores_of(images))
    finding = predictions.one_prediction_per_image(images, scores, predicted, (SIDE, SIDE))
    assert (finding.passed, finding.is_error) == (False, True)
    assert said in finding.sentence


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_noticed(
    images: pd.DataFrame, predicted: Path, value: float
) -> None:
    scores = scores_of(images)
    scores.loc[1, "score"] = value
    maps = draw(3, SIDE, SIDE)
    maps[2, 5, 5] = value
    np.save(predicted / "anomaly_maps.npy", maps)
    finding = predictions.predictions_are_finite(scores, predicted)
    assert not finding.passed
    assert finding.facts["scores_not_finite"] == finding.facts["maps_not_finite"] == 1
    assert finding.facts["files"] == ["c/test/b.png"]


def test_missing_categories_are_listed() -> None:
    assert every_category_is_there(["a", "b"], [], {}).passed
    finding = every_category_is_there(["a"], ["b"], {"c": "Its files are damaged."})
    assert (finding.passed, finding.is_error) == (False, False)
    assert finding.sentence.endswith("the mean is over the others: b, c. Its files are damaged.")
