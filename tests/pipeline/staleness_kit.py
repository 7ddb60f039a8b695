"""What the tests of staleness share: a benchmark that can be changed, and what is stale in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import StaleStatus
from dagster._utils.test.data_versions import get_stale_status_resolver
from pipeline_kit import CATEGORY, OTHER, execute, failures, write_config

from demo.tiny import build_tiny_dataset
from patchcore_assets.graph import define
from patchcore_ops.config import load_config

CATEGORIES = (CATEGORY, OTHER)
INPUTS = (
    "images",
    "embedding_config",
    "coreset_config",
    "index_config",
    "scoring_config",
    "calibration_config",
    "metrics_config",
)


class Benched:
    """A benchmark of two small categories whose inputs can be changed and observed."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.dataset = folder / "dataset"
        self.storage = folder / "storage"
        self.file = folder / "benchmark.yaml"
        self.instance = instance
        build_tiny_dataset(self.dataset, categories=CATEGORIES, train=4, test_good=2)
        self.configure()

    def make(self, *assets: str, category: str = OTHER) -> None:
        """Materialise assets of a category, as one run started by hand."""
        result = execute(self.file, *assets, partition=category, instance=self.instance)
        assert result.success, failures(result)

    def configure(self, **sections: Any) -> None:
        """Write the configuration anew."""
        write_config(self.file, self.dataset, **sections)

    def observe(self) -> None:
        """Observe every input, as the UI's button does."""
        result = execute(self.file, *INPUTS, partition=None, instance=self.instance)
        assert result.success, failures(result)

    def versions(self, asset: str) -> dict[str, str]:
        """Return the version of an input that is known for each category, where one is."""
        found = {}
        for category in CATEGORIES:
            for record in self.instance.fetch_observations(
                dg.AssetRecordsFilter(dg.AssetKey(asset), [category]), limit=1
            ).records:
                assert record.asset_observation is not None
                found[category] = (record.asset_observation.tags or {})["dagster/data_version"]
        return found

    def observations(self) -> int:
        """Count everything that was ever observed."""
        return sum(
            len(self.instance.fetch_observations(dg.AssetKey(asset), limit=1000).records)
            for asset in INPUTS
        )

    def tags(self, asset: str, category: str = OTHER) -> dict[str, str]:
        """Return the tags of the latest materialisation of a partition."""
        [record] = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), [category]), limit=1
        ).records
        assert record.asset_materialization is not None
        return dict(record.asset_materialization.tags or {})

    def used(self, asset: str, dependency: str, category: str = OTHER) -> str:
        """Return the version of an input that a materialisation says it was made from."""
        return self.tags(asset, category)[f"dagster/input_data_version/{dependency}"]

    def stale(self) -> dict[str, set[str]]:
        """Return the categories in which each asset is there and stale."""
        return self._with_status(StaleStatus.STALE)

    def missing(self) -> dict[str, set[str]]:
        """Return the categories in which each asset is not there."""
        return self._with_status(StaleStatus.MISSING)

    def _with_status(self, status: StaleStatus) -> dict[str, set[str]]:
        assets = list(define(load_config(self.file)).assets or ())
        resolver = get_stale_status_resolver(self.instance, assets)  # type: ignore[arg-type]
        found: dict[str, set[str]] = {}
        by_category = [one for one in assets if isinstance(one, dg.AssetsDefinition)]
        for asset in [one.key.to_user_string() for one in by_category if one.partitions_def]:
            for category in CATEGORIES:
                if resolver.get_status(dg.AssetKey(asset), category) is status:
                    found.setdefault(asset, set()).add(category)
        return found
