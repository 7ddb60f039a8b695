"""Checks in the graph: evaluated in every step, one result a category, and a bad dataset blocks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pandas as pd
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    OTHER,
    Configure,
    complete,
    execute,
    failures,
    write_config,
)
from staleness_kit import INPUTS

from demo.tiny import build_tiny_dataset
from patchcore_assets.graph import define
from patchcore_assets.inputs.versions import INPUTS as OBSERVED
from patchcore_assets.storage import Artefact
from patchcore_ops.config import load_config
from patchcore_ops.runtime.fingerprints import file_hash


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """Return what a run's checks have found, by asset and name."""
    found = {}
    for event in result.get_asset_check_evaluations():
        found[f"{event.asset_key.to_user_string()}.{event.check_name}"] = event
    return found


def checks_of(config: Path) -> dict[str, list[str]]:
    """Return the names of each computed asset's checks."""
    definitions = define(load_config(config))
    return {
        asset.key.to_user_string(): [spec.name for spec in asset.check_specs]
        for asset in definitions.assets or ()
        if isinstance(asset, dg.AssetsDefinition)
    }


def materialised(result: dg.ExecuteInProcessResult) -> set[str]:
    return {
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }


# A tiny dataset fails these.
TOO_FEW_IMAGES = ("image_manifest.enough_images", "score_calibration.enough_normal_images")


def test_a_bad_dataset_blocks_what_follows(
    pip_weights: None, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    dataset = tmp_path / "dataset"
    build_tiny_dataset(dataset, categories=(CATEGORY, OTHER), train=4, test_good=2)
    leaked = dataset / CATEGORY / "test/good/leaked.png"
    shutil.copy(sorted((dataset / CATEGORY / "train/good").iterdir())[0], leaked)
    config = write_config(tmp_path / "benchmark.yaml", dataset)

    result = execute(config, *BY_CATEGORY, instance=instance)
    assert not result.success
    assert materialised(result) == set()
    assert not (tmp_path / "storage/image_manifest" / CATEGORY).exists()
    refused = tmp_path / "storage/.refused/image_manifest" / CATEGORY
    assert (refused / "manifest.parquet").is_file(), "kept for the person who wants to see it"
    found = evaluations(result)
    assert set(found) == {f"image_manifest.{name}" for name in checks_of(config)["image_manifest"]}
    failed = found["image_manifest.train_and_test_differ"]
    assert not failed.passed
    assert failed.blocking
    assert failed.partition == CATEGORY
    assert failed.severity is dg.AssetCheckSeverity.ERROR
    assert failed.description is not None
    assert failed.description.startswith("1 test image is among the train images too (")
    assert "\n" not in failed.description
    [reason] = failures(result).values()
    assert reason.startswith(failed.description)
    assert f"What was made is kept in {refused}" in reason

    # The other category has its own result; and once mended, this one runs to the end.
    assert execute(config, "image_manifest", partition=OTHER, instance=instance).success
    leaked.unlink()
    mended = execute(config, *BY_CATEGORY, instance=instance)
    assert mended.success
    assert not refused.exists(), "a good version supersedes what was refused"
    assert materialised(mended) == set(BY_CATEGORY)
    checks = checks_of(config)
    expected = {f"{asset}.{name}" for asset in BY_CATEGORY for name in checks[asset]}
    assert set(evaluations(mended)) == expected
    for name, one in evaluations(mended).items():
        assert one.partition == CATEGORY
        assert one.description, name
        assert one.passed or name in TOO_FEW_IMAGES, one.description


def write_scores(storage: Path, separation: float) -> None:
    """Put scores in the place of the stored ones: all defects above, or all below."""
    folder = (storage / "test_predictions" / CATEGORY).resolve()
    scores = pd.read_parquet(folder / "scores.parquet")
    scores["score"] = separation * scores["is_anomaly"]
    scores.to_parquet(folder / "scores.parquet", index=False)
    kept = Artefact.read(folder)
    Artefact.describe(
        kept.asset, kept.category, folder, kept.provenance, kept.unversioned
    ).write_sidecar()


def test_a_drop_is_noticed_and_stops_nothing(
    pip_weights: None, configure: Configure, instance: dg.DagsterInstance
) -> None:
    storage = complete(configure(), *BY_CATEGORY, instance=instance)

    def again(**checks: object) -> tuple[dg.AssetCheckEvaluation, str]:
        result = execute(configure(checks=checks), "category_metrics", instance=instance)
        assert result.success
        [event] = result.get_asset_materialization_events()
        tags = event.materialization.tags or {}
        return (
            evaluations(result)["category_metrics.metrics_did_not_drop"],
            tags["dagster/data_version"],
        )

    equal, version = again()
    assert equal.passed
    assert equal.description == "No metric has dropped, on the same 10 test images."
    assert again(regression_tolerance=0.5)[1] == version, "a tolerance is no part of the content"
    write_scores(storage, 1.0)
    assert again()[0].passed
    write_scores(storage, 1.0)
    assert again()[0].passed
    write_scores(storage, -1.0)
    dropped, _ = again()
    assert not dropped.passed
    assert dropped.severity is dg.AssetCheckSeverity.ERROR
    assert not dropped.blocking
    assert "instance_auroc has dropped by 1.0000" in (dropped.description or "")
    # It is compared with the version before, which is as bad now.
    assert again()[0].passed
    write_scores(storage, 1.0)
    assert again()[0].passed
    write_scores(storage, -1.0)
    warned, _ = again(regression="warn")
    assert not warned.passed
    assert warned.severity is dg.AssetCheckSeverity.WARN

    sidecar = storage / "category_metrics" / CATEGORY / "artefact.json"
    content = json.loads(sidecar.read_text(encoding="utf-8"))
    content["provenance"]["code_version"] = "1"
    sidecar.write_text(json.dumps(content), encoding="utf-8")
    assert "another release measured them before" in (again()[0].description or "")
    assert "another release" not in (again()[0].description or "")

    summary = execute(configure(), "metrics", partition=None, instance=instance)
    assert summary.success
    missing = evaluations(summary)["metrics.every_category_is_there"]
    assert not missing.passed
    assert missing.partition is None
    assert OTHER in (missing.description or "")


def test_the_section_checks_belongs_to_no_input(configure: Configure) -> None:
    def versions() -> dict[str, str]:
        return {
            one.key.to_user_string(): one.version_of(load_config(file), CATEGORY, file_hash)
            for one in OBSERVED
        }

    file = configure()
    before = versions()
    configure(
        checks={"minimum_train_images": 3, "confidence": 0.9},
        overrides={CATEGORY: {"checks": {"published": "fail"}}},
    )
    assert versions() == before
    assert set(before) == set(INPUTS)
    assert load_config(file).for_category(CATEGORY).checks.published == "fail"
    assert load_config(file).for_category(OTHER).checks.published == "warn"


def test_every_check_says_what_it_checks(configure: Configure) -> None:
    graph = define(load_config(configure())).resolve_asset_graph()
    assert len(graph.asset_check_keys) == 29
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert len(spec.description or "") > 20
        assert (spec.partitions_def is not None) == (key.asset_key.to_user_string() != "metrics")
