"""The asset graph: its names, edges, partitions and what it shows of a finished run."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    DIMENSION,
    GRID,
    MEMBER,
    OTHER,
    OVER_ALL,
    TEST_IMAGES,
    TRAIN_IMAGES,
    Configure,
    Finished,
    Metadata,
)
from staleness_kit import INPUTS

from patchcore_assets.graph import BENCHMARK_JOB, SUMMARY_JOB, define
from patchcore_ops.config.load import MVTEC_CATEGORIES, load_config

# The architecture's picture, and the manifest for whoever looks up images and masks in it.
PARENTS = {
    "image_manifest": {"images"},
    "raw_embeddings": {"image_manifest", "embedding_config"},
    "memory_bank": {"raw_embeddings", "coreset_config"},
    "faiss_index": {"memory_bank", "index_config"},
    "test_predictions": {"faiss_index", "raw_embeddings", "scoring_config"},
    "category_metrics": {"test_predictions", "metrics_config"},
    "score_calibration": {
        "raw_embeddings",
        "memory_bank",
        "faiss_index",
        "test_predictions",
        "calibration_config",
    },
    "model": {"raw_embeddings", "faiss_index", "test_predictions", "score_calibration"},
    "metrics": {"category_metrics"},
    "benchmark_report": {"metrics"},
}
GROUPS = {
    **dict.fromkeys(INPUTS, "inputs"),
    "image_manifest": "dataset",
    "raw_embeddings": "embedding",
    "memory_bank": "memory",
    "faiss_index": "memory",
    "test_predictions": "evaluation",
    "category_metrics": "evaluation",
    "score_calibration": "model",
    "model": "model",
    "metrics": "benchmark",
    "benchmark_report": "benchmark",
}
TABLES = {
    "image_manifest": "labels",
    "test_predictions": "most_anomalous",
    "category_metrics": "per_defect",
    "metrics": "table",
}


def names(keys: object) -> set[str]:
    return {key.to_user_string() for key in keys}  # type: ignore[attr-defined]


@pytest.fixture
def definitions(configure: Configure) -> dg.Definitions:
    return define(load_config(configure()))


@pytest.fixture
def graph(definitions: dg.Definitions) -> AssetGraph:
    return definitions.resolve_asset_graph()


def test_the_graph_holds_the_architecture_s_assets(graph: AssetGraph) -> None:
    assert names(graph.get_all_asset_keys()) == {*INPUTS, *PARENTS}
    assert names(graph.materializable_asset_keys) == set(PARENTS)


def test_dependencies_follow_the_data(graph: AssetGraph) -> None:
    found = {name: names(graph.get(dg.AssetKey(name)).parent_keys) for name in PARENTS}
    assert found == PARENTS
    assert all(not graph.get(dg.AssetKey(name)).parent_keys for name in INPUTS)


@pytest.mark.parametrize(
    ("members", "overrides", "reads_the_bank"),
    [
        (1, {}, False),
        (2, {}, True),
        (1, {OTHER: {"embedding": {"members": [MEMBER, MEMBER]}}}, True),
    ],
)
@pytest.mark.parametrize("ensemble", ["min_max", "leave_one_out"])
def test_predictions_depend_on_the_bank_where_members_may_have_units(
    configure: Configure,
    members: int,
    overrides: dict[str, object],
    reads_the_bank: bool,
    ensemble: str,
) -> None:
    config = configure(
        embedding={"members": members * [MEMBER]},
        scoring={"ensemble": ensemble},
        overrides=overrides,
    )
    graph = define(load_config(config)).resolve_asset_graph()
    found = names(graph.get(dg.AssetKey("test_predictions")).parent_keys)
    assert found == PARENTS["test_predictions"] | ({"memory_bank"} if reads_the_bank else set())


def test_every_asset_says_what_it_is(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        name = key.to_user_string()
        assert node.description, name
        assert len(node.description) > 30, name
        assert "\n\n    " not in node.description, f"{name}: indented like source code"
        assert node.group_name == GROUPS[name]
        assert node.kinds, name
    descriptions = [graph.get(key).description for key in graph.get_all_asset_keys()]
    assert len(set(descriptions)) == len(descriptions)


def test_categories_are_the_partitions(graph: AssetGraph) -> None:
    for name in (*BY_CATEGORY, *INPUTS):
        partitions = graph.get(dg.AssetKey(name)).partitions_def
        assert isinstance(partitions, dg.StaticPartitionsDefinition), name
        assert partitions.get_partition_keys() == [CATEGORY, OTHER]
    for name in OVER_ALL:
        assert graph.get(dg.AssetKey(name)).partitions_def is None


def test_by_default_the_partitions_are_mvtec_s_fifteen(tmp_path: Path) -> None:
    file = tmp_path / "patchcore.yaml"
    file.write_text("{}\n", encoding="utf-8")
    graph = define(load_config(file)).resolve_asset_graph()
    for name in (*BY_CATEGORY, *INPUTS):
        partitions = graph.get(dg.AssetKey(name)).partitions_def
        assert partitions is not None
        assert tuple(partitions.get_partition_keys()) == MVTEC_CATEGORIES
    assert len(MVTEC_CATEGORIES) == 15


def test_inputs_are_observable_and_not_materialised(graph: AssetGraph) -> None:
    for name in INPUTS:
        node = graph.get(dg.AssetKey(name))
        assert node.is_observable, name
        assert not node.is_materializable, name


def test_jobs_cover_every_computed_asset_once(definitions: dg.Definitions) -> None:
    selected = [
        names(definitions.resolve_job_def(job).asset_layer.executable_asset_keys)
        for job in (BENCHMARK_JOB, SUMMARY_JOB)
    ]
    assert selected == [set(BY_CATEGORY), set(OVER_ALL)]


def test_definitions_load_without_warnings_of_their_own(configure: Configure) -> None:
    config = load_config(configure())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dg.Definitions.validate_loadable(define(config))
    assert [str(one.message) for one in caught if issubclass(one.category, dg.BetaWarning)] == []


def test_every_materialisation_reports_seconds_bytes_and_place(
    finished: Finished, finished_metadata: dict[str, Metadata]
) -> None:
    for asset, metadata in finished_metadata.items():
        folder = finished.folder(asset)
        assert metadata["location"].value == str(folder), asset
        assert 0 < metadata["seconds"].value < 120, asset
        stored = sum(
            file.stat().st_size
            for file in folder.rglob("*")
            if file.is_file() and file.name != "artefact.json"
        )
        assert metadata["bytes"].value == stored, asset


def test_counts_are_those_of_the_dataset(finished_metadata: dict[str, Metadata]) -> None:
    expected = {
        "image_manifest": {"train_images": TRAIN_IMAGES, "test_images": TEST_IMAGES, "masks": 6},
        "raw_embeddings": {
            "members": 1,
            "images": TRAIN_IMAGES + TEST_IMAGES,
            "train_patches": TRAIN_IMAGES * GRID**2,
            "test_patches": TEST_IMAGES * GRID**2,
            "dimension": DIMENSION,
            "grid": f"{GRID} x {GRID}",
        },
        "memory_bank": {"rows": TRAIN_IMAGES * GRID**2, "picks": 51, "percentage": 0.1},
        "faiss_index": {"members": 1, "factory": "Flat"},
        "test_predictions": {"test_images": TEST_IMAGES},
        "category_metrics": {"test_images": TEST_IMAGES, "defective_images": 6},
        "metrics": {"categories": 1},
    }
    for asset, counts in expected.items():
        for name, value in counts.items():
            assert finished_metadata[asset][name].value == value, f"{asset}: {name}"


def test_tables_have_rows(finished_metadata: dict[str, Metadata]) -> None:
    rows = {}
    for asset, name in TABLES.items():
        shown = finished_metadata[asset][name]
        assert isinstance(shown, dg.TableMetadataValue), asset
        rows[asset] = [record.data for record in shown.records]
        assert rows[asset], asset
    assert [row["category"] for row in rows["metrics"]] == [CATEGORY, "Mean"]
    assert {row["defect_type"] for row in rows["category_metrics"]} == {"hole", "stain"}
    scores = [row["score"] for row in rows["test_predictions"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(row["images"] for row in rows["image_manifest"]) == TRAIN_IMAGES + TEST_IMAGES
