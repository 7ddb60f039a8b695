"""`patchcore predict`: what it writes, says and returns."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_kit import SIDE, Benchmarked
from PIL import Image
from png_kit import png_of

from patchcore_assets.commands.main import main
from patchcore_ops import Model
from patchcore_ops.inspection.heat_map import heat_map
from patchcore_ops.model import read_model, write_model
from patchcore_ops.model.description import ModelDraft

COLUMNS = ["path", "score", "p_value", "is_anomaly", "probability", "regions", "reason", "heat_map"]


def predict(model: Path, *arguments: str | Path) -> int:
    return main(["predict", "--model", str(model), *map(str, arguments)])


def tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    csv = pd.read_csv(folder / "predictions.csv")
    return csv, pd.read_parquet(folder / "predictions.parquet")


def test_test_images_get_the_scores_of_the_benchmark_and_their_pictures(
    single: Benchmarked, model: Path, tmp_path: Path
) -> None:
    folder = single.root / "fabric_a" / "test"
    assert predict(model, folder, "--output", tmp_path / "out", "--tiff") == 0
    csv, parquet = tables(tmp_path / "out")
    assert list(parquet.columns) == list(csv.columns) == COLUMNS
    expected = single.scores.assign(path=[str(path) for path in single.images])
    both = parquet.merge(expected, on="path", suffixes=("", "_expected"), validate="1:1")
    assert len(both) == len(parquet) == len(expected)
    np.testing.assert_allclose(both["score"], both["score_expected"], rtol=1e-5)
    np.testing.assert_array_equal(csv["score"], parquet["score"])
    assert csv["regions"].tolist() == parquet["regions"].tolist()

    for prediction in Model.load(model).predict(single.images):
        row = parquet.set_index("path").loc[prediction.name]
        assert (row["p_value"], row["is_anomaly"]) == (prediction.p_value, prediction.is_anomaly)
        assert len(json.loads(row["regions"])) == len(prediction.regions)
        with Image.open(tmp_path / "out" / row["heat_map"]) as overlay:
            assert overlay.size == (SIDE, SIDE)
            np.testing.assert_array_equal(np.asarray(overlay), heat_map(prediction))
        name = Path(row["heat_map"]).stem
        with Image.open(tmp_path / "out" / "anomaly_maps" / f"{name}.tiff") as stored:
            np.testing.assert_array_equal(np.asarray(stored), prediction.anomaly_map)


def test_unreadable_images_are_rows_with_their_reason(
    single: Benchmarked, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    (images / "bomb.png").write_bytes(png_of(60_000, 60_000, b""))
    Image.fromarray(noise).convert("CMYK").save(images / "cmyk.jpg")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(images / "deep.png")
    (images / "empty.png").touch()
    with (images / "huge.png").open("wb") as huge:
        huge.truncate(200_000_000)
    (images / "text.png").write_text("no image")
    Image.fromarray(noise).save(images / "wide.png")
    out = tmp_path / "out"
    assert predict(model, images, tmp_path / "gone.png", single.images[0], "--output", out) == 1
    csv, parquet = tables(out)
    reasons = dict(zip([Path(path).stem for path in csv["path"]], csv["reason"], strict=True))
    expected = {
        "bomb": "pixels, more than",
        "empty": "is empty (0 bytes)",
        "huge": "is none of PNG, JPEG",
        "text": "is none of PNG, JPEG",
        "gone": "no such file",
    }
    for name, reason in reasons.items():
        assert name in expected if isinstance(reason, str) else name not in expected
        assert isinstance(reason, float) or expected[name] in reason
    assert parquet["score"].notna().sum() == 4
    assert parquet["score"].isna().tolist() == parquet["reason"].notna().tolist()
    said = capsys.readouterr()
    assert said.err.count("\n") == 5
    assert "images:    9, of which 5 could not be used" in said.out


def test_a_list_on_standard_input_becomes_json_and_no_files(
    single: Benchmarked,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [*map(str, single.images[:2]), "gone.png"]
    stdin = io.TextIOWrapper(io.BytesIO("\n".join(names).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert predict(model, "--json") == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in rows] == names
    assert [list(row) for row in rows] == [COLUMNS] * 3
    expected = single.scores["score"][:2]
    np.testing.assert_allclose([row["score"] for row in rows[:2]], expected, rtol=1e-5)
    assert list(tmp_path.iterdir()) == []


def test_only_changed_images_are_scored_again(
    single: Benchmarked, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for name, source in zip("abc", single.images[:3], strict=True):
        (images / f"{name}.png").write_bytes(source.read_bytes())
    assert predict(model, images, "--output", out) == 0
    before = tables(out)[1].set_index("path")

    scored: list[str] = []
    attempt = Model.attempt

    def watched(self: Model, paths: list[Path]) -> object:
        return attempt(self, (scored.append(path.name) or path for path in paths))

    monkeypatch.setattr(Model, "attempt", watched)
    (images / "a.png").write_bytes(single.images[3].read_bytes())
    (out / "heat_maps" / "b.png").unlink()
    (images / "d.png").write_bytes(single.images[4].read_bytes())
    assert predict(model, images, "--output", out) == 0
    assert scored == ["a.png", "b.png", "d.png"]
    after = tables(out)[1].set_index("path")
    assert list(after.index) == [str(images / f"{name}.png") for name in "abcd"]
    pd.testing.assert_frame_equal(after.iloc[1:3], before.iloc[1:])
    np.testing.assert_allclose(after["score"].iloc[0], single.scores["score"][3], rtol=1e-5)
    # Maps that were not asked for before are missing.
    scored.clear()
    assert predict(model, images, "--output", out, "--tiff") == 0
    assert len(scored) == 4


def copy_with(model: Path, folder: Path, **changes: object) -> None:
    """Copy a model whose description says something else."""
    shutil.copytree(model, folder)
    content = read_model(model).model_dump(exclude={"files", "format"})
    write_model(folder, ModelDraft.model_validate({**content, **changes}))


def test_a_model_without_thresholds_gives_scores_and_no_verdicts(
    single: Benchmarked, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_with(model, tmp_path / "imported", calibration=None)
    out = tmp_path / "out"
    assert predict(tmp_path / "imported", single.images[0], "--output", out) == 0
    said = capsys.readouterr().out
    assert "verdicts:  none, for this model has no thresholds; one of the benchmark has" in said
    csv, _ = tables(out)
    assert csv["score"].notna().all()
    assert csv[["is_anomaly", "p_value", "probability"]].isna().all(axis=None)
    assert csv["regions"].tolist() == ["[]"]


def test_predictions_of_another_model_are_refused_or_replaced(
    single: Benchmarked, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(model, single.images[0], "--output", out, "--no-heat-maps") == 0
    assert sorted(file.suffix for file in out.iterdir()) == [".csv", ".jsonl", ".parquet"]
    assert predict(model, single.images[0], "--output", out, "--tiff") == 0
    copy_with(model, tmp_path / "other", provenance={"made": "again"})
    capsys.readouterr()
    assert predict(tmp_path / "other", single.images[0], "--output", out) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "holds predictions of another model (fabric_a, " in said
    assert predict(tmp_path / "other", single.images[1], "--output", out, "--again") == 0
    assert tables(out)[1]["path"].tolist() == [str(single.images[1])]
    assert len(list((out / "heat_maps").iterdir())) == 1
    assert list((out / "anomaly_maps").iterdir()) == []


def test_a_folder_that_holds_something_else_is_left_alone(
    single: Benchmarked, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert predict(model, single.images[0], "--output", tmp_path) == 2
    assert "holds something already" in capsys.readouterr().err
    assert predict(model, single.images[0], "--output", tmp_path / "mine.txt") == 2
    assert "mine.txt: is no folder; name an empty or a new one\n" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
