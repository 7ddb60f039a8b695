"""Names with blanks and letters of any language, from the folder to the table."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from pipeline_kit import BY_CATEGORY, complete, execute, failures, write_config

from demo.tiny import build_tiny_dataset
from patchcore_assets.graph import define
from patchcore_assets.inputs.watch import look_at_inputs
from patchcore_ops.config import load_config

NAMES = ("Ventil groß 2", "部品 A")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    build_tiny_dataset(tmp_path / "data", categories=NAMES, train=4, test_good=2)
    return write_config(
        tmp_path / "benchmark.yaml", tmp_path / "data", dataset={"categories": "discover"}
    )


def test_they_are_watched_automated_and_made(config: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for event in look_at_inputs(instance, load_config(config)).changed:
            instance.report_runless_asset_event(event)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            requested = dg.evaluate_automation_conditions(define(load_config(config)), instance)
        assert requested.get_requested_partitions(dg.AssetKey("image_manifest")) == set(NAMES)
        for name in NAMES:
            result = execute(config, "image_manifest", partition=name, instance=instance)
            assert result.success, failures(result)
            manifest = pd.read_parquet(
                config.parent / f"storage/image_manifest/{name}/manifest.parquet"
            )
            assert set(manifest["path"].str.split("/").str[0]) == {name}
        assert look_at_inputs(instance, load_config(config)).changed == []


@pytest.mark.usefixtures("pip_weights")
def test_the_table_keeps_them_and_the_page_links_to_them(config: Path) -> None:
    for name in NAMES:
        complete(config, *BY_CATEGORY, partition=name)
    storage = complete(config, "metrics", "benchmark_report", partition=None)
    assert pd.read_csv(storage / "metrics/metrics.csv")["category"].tolist() == [*NAMES, "Mean"]
    page = (storage / "benchmark_report/index.html").read_text(encoding="utf-8")
    for anchor, name in zip(("category-1-ventil-gro-2", "category-2-a"), NAMES, strict=True):
        assert f'href="#{anchor}">{name}<' in page
        assert page.count(f'id="{anchor}"') == 1
