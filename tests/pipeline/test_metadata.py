"""What a materialisation shows: pictures in the event log, their size, and tables that fit."""

from __future__ import annotations

import base64
import io
import json
import math
import platform
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pipeline_kit import (
    BY_CATEGORY,
    GRID,
    SIDE,
    TEST_IMAGES,
    TRAIN_IMAGES,
    Finished,
    Metadata,
)

from patchcore_assets.step.presentation import (
    MAX_MATERIALISATION_BYTES,
    MAX_PICTURE_BYTES,
    picture,
    table,
)
from patchcore_ops.stages.illustrations import best_threshold, most_wrong

PHOTOGRAPHS = {
    "image_manifest": ["train_contact_sheet"],
    "test_predictions": ["most_anomalous_pictures", "most_wrong_pictures"],
}
CHARTS = {
    "test_predictions": {"score_histogram": 1},
    "category_metrics": {"roc_and_pro": 3},
    "metrics": {"charts_against_published": 3},
}
IN_PLACE = {
    "image_manifest": ["labels"],
    "test_predictions": ["most_anomalous", "most_wrong"],
    "category_metrics": ["defect_types"],
    "metrics": ["against_published"],
}
PICTURE = re.compile(r"!\[([^]]+)]\(data:image/(jpeg|svg\+xml);base64,([^)]+)\)")


def pictures(shown: dg.MetadataValue[object]) -> Iterator[tuple[str, bytes]]:
    """Decode the pictures of a markdown entry as a browser would."""
    assert isinstance(shown, dg.MarkdownMetadataValue)
    for title, kind, data in PICTURE.findall(shown.value):
        assert title
        yield kind, base64.b64decode(data, validate=True)


def markdown(metadata: Metadata) -> dict[str, str]:
    return {
        name: value.value or ""
        for name, value in metadata.items()
        if isinstance(value, dg.MarkdownMetadataValue)
    }


def test_pictures_stay_within_the_stated_limits(finished_metadata: dict[str, Metadata]) -> None:
    for asset, metadata in finished_metadata.items():
        sizes = {name: len(text.encode()) for name, text in markdown(metadata).items()}
        assert all(size <= MAX_PICTURE_BYTES for size in sizes.values()), (asset, sizes)
        assert sum(sizes.values()) <= MAX_MATERIALISATION_BYTES, (asset, sizes)


def test_noise_too_is_compressed_to_the_limit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 700, 3), dtype=np.uint8)
    shown = picture(noise, "Noise")
    assert len(shown.value or "") <= MAX_PICTURE_BYTES
    ((_, content),) = pictures(shown)
    image = Image.open(io.BytesIO(content))
    assert abs(image.width / image.height - 7 / 9) < 0.01


def test_photographs_can_be_decoded(finished_metadata: dict[str, Metadata]) -> None:
    for asset, names in PHOTOGRAPHS.items():
        for name in names:
            ((kind, content),) = pictures(finished_metadata[asset][name])
            assert kind == "jpeg"
            image = Image.open(io.BytesIO(content))
            image.load()
            assert min(image.size) >= 150, name
            assert np.asarray(image.convert("L")).std() > 10, f"{name} is blank"


def test_charts_are_complete_drawings(finished_metadata: dict[str, Metadata]) -> None:
    for asset, expected in CHARTS.items():
        for name, count in expected.items():
            drawings = list(pictures(finished_metadata[asset][name]))
            assert len(drawings) == count, name
            for kind, content in drawings:
                assert kind == "svg+xml"
                assert len(list(ET.fromstring(content).iter())) > 5


def test_tables_that_shall_be_seen_whole_have_four_columns_at_most(
    finished_metadata: dict[str, Metadata],
) -> None:
    for asset, names in IN_PLACE.items():
        for name in names:
            shown = finished_metadata[asset][name]
            assert isinstance(shown, dg.TableMetadataValue)
            assert shown.records, name
            assert len(shown.schema.columns) <= 4, name


def test_a_plan_of_every_stage_is_shown_in_place(finished_metadata: dict[str, Metadata]) -> None:
    shown = finished_metadata["image_manifest"]["plan"].value
    assert isinstance(shown, str)
    assert len(shown) < 1000, "Dagster's pages show longer markdown behind a link"
    rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("|")]
    later = [asset for asset in BY_CATEGORY if asset != "image_manifest"]
    assert [row[0] for row in rows[2:]] == later
    assert rows[2][1] == f"{(TRAIN_IMAGES + TEST_IMAGES) * GRID**2:,}"
    assert platform.node() in shown


def test_figures_are_numbers_that_can_be_plotted(finished_metadata: dict[str, Metadata]) -> None:
    plotted = {
        asset: {
            name
            for name, value in metadata.items()
            if isinstance(value, dg.FloatMetadataValue | dg.IntMetadataValue)
        }
        for asset, metadata in finished_metadata.items()
    }
    assert {"train_images", "test_images", "defective_images"} <= plotted["image_manifest"]
    assert "images_per_second" in plotted["raw_embeddings"]
    assert {"picks", "picks_per_second"} <= plotted["memory_bank"]
    assert {
        "mean_score_good",
        "mean_score_defective",
        "images_per_second",
    } <= plotted["test_predictions"]
    assert {"instance_auroc", "aupro"} <= plotted["category_metrics"]
    assert {"mean_instance_auroc", "mean_aupro"} <= plotted["metrics"]
    assert "mean_instance_auroc" in plotted["benchmark_report"]
    assert all({"seconds", "bytes"} <= names for names in plotted.values())


def test_most_wrong_images_are_those_farthest_beyond_the_threshold(
    finished: Finished, finished_metadata: dict[str, Metadata]
) -> None:
    scores = pd.read_parquet(finished.folder("test_predictions") / "scores.parquet")
    f1_of = {
        threshold: 2 * hits / ((scores["score"] >= threshold).sum() + scores["is_anomaly"].sum())
        for threshold in scores["score"]
        for hits in [(scores["is_anomaly"] & (scores["score"] >= threshold)).sum()]
    }
    threshold = best_threshold(scores)
    assert f1_of[threshold] == pytest.approx(max(f1_of.values()))
    errors = {
        "/".join(path.split("/")[-2:]): (threshold - score if is_anomaly else score - threshold)
        for path, score, is_anomaly in zip(
            scores["path"], scores["score"], scores["is_anomaly"], strict=True
        )
    }
    shown = finished_metadata["test_predictions"]["most_wrong"]
    assert isinstance(shown, dg.TableMetadataValue)
    listed = [(record.data["image"], record.data["error"]) for record in shown.records]
    expected = sorted(errors.items(), key=lambda entry: -entry[1])
    assert [name for name, _ in listed] == [name for name, _ in expected]
    np.testing.assert_allclose(
        [float(error) for _, error in listed], [error for _, error in expected], atol=1e-3
    )


def test_with_one_class_only_the_extremes_count_as_most_wrong() -> None:
    good = pd.DataFrame({"score": [1.0, 3.0, 2.0], "is_anomaly": False})
    assert math.isnan(best_threshold(good))
    assert most_wrong(good, 2)["score"].tolist() == [3.0, 2.0]
    assert most_wrong(good.assign(is_anomaly=True), 2)["score"].tolist() == [1.0, 2.0]


def test_full_size_pictures_are_files_that_do_not_count_in_the_data_version(
    finished: Finished, finished_metadata: dict[str, Metadata]
) -> None:
    folder = finished.folder("test_predictions")
    shown = finished_metadata["test_predictions"]["full_size_pictures"]
    assert shown == dg.MetadataValue.path(str(folder / "pictures"))
    files = sorted((folder / "pictures").iterdir())
    assert [file.name for file in files] == ["most_anomalous.jpg", "most_wrong.jpg"]
    for file in files:
        assert Image.open(file).size == (3 * SIDE + 8, 4 * (SIDE + 26) - 4)
    sidecar = json.loads((folder / "artefact.json").read_text())
    assert sorted(sidecar["unversioned"]) == [f"pictures/{file.name}" for file in files]


def test_how_to_save_pictures_of_all_images_is_said(
    finished_metadata: dict[str, Metadata],
) -> None:
    hint = finished_metadata["test_predictions"]["pictures_of_all_images"].value
    assert "runtime.save_segmentation_images" in str(hint)


def test_the_report_names_everything_it_was_made_from(finished: Finished) -> None:
    page = (finished.folder("benchmark_report") / "index.html").read_text(encoding="utf-8")
    lineage = json.loads((finished.folder("category_metrics") / "artefact.json").read_text())
    for key, value in lineage["provenance"].items():
        if key.endswith("made"):
            assert f"{value[:16].replace('T', ' ')} UTC" in page, key
        elif not key.endswith("made_from"):
            assert value in page, key
    assert lineage["data_version"] in page
    for package in ("torch", "dagster", "numpy", "patchcore-assets", "python"):
        assert f">{package}<" in page


def test_a_table_without_rows_still_has_its_columns() -> None:
    shown = table(pd.DataFrame({"path": [], "score": []}))
    assert shown.records == []
    assert [column.name for column in shown.schema.columns] == ["path", "score"]
