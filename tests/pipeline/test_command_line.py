"""What the dagster command line leaves behind, against the contract of the files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import dagster as dg
import faiss
import numpy as np
import pandas as pd
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    DIMENSION,
    GRID,
    OTHER,
    OVER_ALL,
    SIDE,
    TEST_IMAGES,
    TRAIN_IMAGES,
    Finished,
    Metadata,
)

CONTRACT = {
    "image_manifest": {"manifest.parquet"},
    "raw_embeddings": {
        "0/embeddings.npy",
        "0/test_embeddings.npy",
        "0/grid.json",
        "images.parquet",
        "settings.json",
    },
    "memory_bank": {"0/features.npy", "0/indices.npy", "settings.json"},
    "faiss_index": {"0/index.faiss", "settings.json"},
    "test_predictions": {
        "scores.parquet",
        "images.parquet",
        "settings.json",
        "anomaly_maps.npy",
        "ranges.json",
        "pictures/most_anomalous.jpg",
        "pictures/most_wrong.jpg",
    },
    "category_metrics": {"metrics.json", "compared_scores.parquet", "settings.json"},
    "score_calibration": {"calibration.json", "normal_scores.parquet", "settings.json"},
    "model": {
        "model.json",
        "sample.png",
        "settings.json",
        "0/index.faiss",
        "0/network.xml",
        "0/network.bin",
        "0/network.json",
    },
    "metrics": {
        "metrics.csv",
        "metrics.parquet",
        "history.parquet",
        "settings_by_category.json",
        "notes.txt",
    },
    "benchmark_report": {"index.html"},
}


def load(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / name, allow_pickle=False)


def test_both_commands_succeed_and_stay_in_the_history(
    finished: Finished, finished_history: dg.DagsterInstance
) -> None:
    runs = finished_history.get_runs()
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 2
    for process in (finished.everything, finished.metrics_alone):
        assert "Traceback" not in process.stdout + process.stderr
    assert not Path("/nowhere").exists(), "the environment wins over the file's roots"


def test_every_artefact_holds_exactly_the_files_of_the_contract(finished: Finished) -> None:
    for asset, files in CONTRACT.items():
        folder = finished.folder(asset)
        found = {
            file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
        }
        assert found - {"artefact.json"} == files, asset
        empty = {file for file in files if not (folder / file).stat().st_size}
        assert empty <= {"notes.txt"}, asset


def test_only_the_asked_for_category_was_made(finished: Finished) -> None:
    for asset in BY_CATEGORY:
        assert [entry.name for entry in (finished.site.storage / asset).iterdir()] == [CATEGORY]


def test_manifest_lists_train_then_test_images_of_the_folder(
    finished: Finished, tiny_dataset: Path
) -> None:
    manifest = pd.read_parquet(finished.folder("image_manifest") / "manifest.parquet")
    assert list(manifest["split"]) == ["train"] * TRAIN_IMAGES + ["test"] * TEST_IMAGES
    for split in ("train", "test"):
        on_disk = sorted((tiny_dataset / CATEGORY / split).rglob("*.png"))
        listed = list(manifest.loc[manifest["split"] == split, "path"])
        assert listed == [file.relative_to(tiny_dataset).as_posix() for file in on_disk]
    masked = manifest["mask_path"].notna()
    assert masked.equals(manifest["label"] != "good")
    assert all((tiny_dataset / path).is_file() for path in manifest.loc[masked, "mask_path"])


def test_embeddings_have_one_row_per_image_and_grid_cell(finished: Finished) -> None:
    folder = finished.folder("raw_embeddings") / "0"
    grid = json.loads((folder / "grid.json").read_text())
    assert (grid["height"], grid["width"]) == (GRID, GRID)
    for name, images in (("embeddings.npy", TRAIN_IMAGES), ("test_embeddings.npy", TEST_IMAGES)):
        rows = load(folder, name)
        assert rows.dtype == np.float32
        assert rows.shape == (images * GRID * GRID, DIMENSION)
        assert np.isfinite(rows).all()
        # No two images embed alike, as they would if a batch were written twice.
        assert len(np.unique(rows.reshape(images, -1), axis=0)) == images


def test_memory_bank_is_the_picked_rows_of_the_embeddings(finished: Finished) -> None:
    embeddings = load(finished.folder("raw_embeddings") / "0", "embeddings.npy")
    features = load(finished.folder("memory_bank") / "0", "features.npy")
    indices = load(finished.folder("memory_bank") / "0", "indices.npy")
    assert indices.dtype == np.int64
    assert indices.shape == (int(len(embeddings) * 0.1),)
    assert len(np.unique(indices)) == len(indices)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, embeddings[indices])


def test_index_holds_every_feature_of_the_bank_in_order(finished: Finished) -> None:
    features = load(finished.folder("memory_bank") / "0", "features.npy")
    index = faiss.read_index(str(finished.folder("faiss_index") / "0" / "index.faiss"))
    assert index.ntotal == len(features)
    assert index.metric_type == faiss.METRIC_L2
    np.testing.assert_array_equal(index.reconstruct_n(0, index.ntotal), features)


def test_scores_have_the_columns_of_the_contract_in_manifest_order(finished: Finished) -> None:
    scores = pd.read_parquet(finished.folder("test_predictions") / "scores.parquet")
    assert list(scores.columns) == ["path", "label", "is_anomaly", "score", "score_0"]
    manifest = pd.read_parquet(finished.folder("image_manifest") / "manifest.parquet")
    tests = manifest[manifest["split"] == "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        scores[["path", "label", "is_anomaly"]], tests[["path", "label", "is_anomaly"]]
    )
    assert scores["is_anomaly"].dtype == bool
    assert scores["score"].equals(scores["score_0"].rename("score"))
    assert (scores["score"] > 0).all()


def test_anomaly_maps_are_in_the_order_of_the_scores(finished: Finished) -> None:
    folder = finished.folder("test_predictions")
    maps = load(folder, "anomaly_maps.npy")
    scores = pd.read_parquet(folder / "scores.parquet")["score"].to_numpy()
    assert maps.dtype == np.float32
    assert maps.shape == (TEST_IMAGES, SIDE, SIDE)
    # Resizing and smoothing average patch scores, so no map exceeds the score of its own image.
    peaks = maps.max(axis=(1, 2))
    assert (peaks <= scores * (1 + 1e-5)).all()
    assert np.corrcoef(peaks, scores)[0, 1] > 0.8


def test_the_table_repeats_the_metrics_of_its_category(finished: Finished) -> None:
    figures = json.loads((finished.folder("category_metrics") / "metrics.json").read_text())
    text = (finished.folder("metrics") / "metrics.csv").read_text(encoding="utf-8")
    of_category, mean = csv.DictReader(text.splitlines())
    columns = list(of_category)
    names = ["instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc", "aupro"]
    assert columns[0] == "category"
    assert set(names) <= set(columns)
    assert (of_category["category"], mean["category"]) == (CATEGORY, "Mean")
    for name in columns[1:]:
        assert float(of_category[name]) == figures[name], name
    for name in names:
        assert 0 <= figures[name] <= 1
        assert mean[name] == of_category[name], f"the mean of one category, {name}"
    stored = pd.read_parquet(finished.folder("metrics") / "metrics.parquet")
    assert list(stored.columns) == columns
    assert list(stored["category"]) == [CATEGORY, "Mean"]
    for name in columns[1:]:
        assert stored[name].dtype == np.float64
        assert stored.loc[0, name] == figures[name]


def test_metrics_need_no_partition_and_name_what_is_missing(
    finished: Finished,
    finished_history: dg.DagsterInstance,
    finished_metadata: dict[str, Metadata],
) -> None:
    metadata = finished_metadata["metrics"]
    assert metadata["missing_categories"].value == [OTHER]
    assert metadata["categories"].value == 1
    event = finished_history.get_latest_materialization_event(dg.AssetKey("metrics"))
    assert event is not None
    assert event.run_id == finished_history.get_runs(limit=1)[0].run_id
    assert f"the mean is over the others: {OTHER}" in (
        finished.metrics_alone.stdout + finished.metrics_alone.stderr
    )


def test_dagster_knows_the_version_of_the_content(
    finished: Finished, finished_history: dg.DagsterInstance
) -> None:
    for asset in (*BY_CATEGORY, *OVER_ALL):
        event = finished_history.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        sidecar = json.loads((finished.folder(asset) / "artefact.json").read_text())
        tags = event.asset_materialization.tags or {}
        assert tags["dagster/data_version"] == sidecar["data_version"], asset
        assert sidecar["provenance"]["run_id"] == event.run_id, asset


def test_asset_list_names_every_computed_asset(finished: Finished) -> None:
    listed = finished.site.dagster("asset", "list", "-m", "patchcore_assets")
    assert listed.returncode == 0, listed.stderr
    assert sorted(listed.stdout.split()) == sorted((*BY_CATEGORY, *OVER_ALL))
