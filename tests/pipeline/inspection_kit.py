"""What tests of inspections share: a benchmark with an inbox into which images are put."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from dagster._core.definitions.data_version import StaleStatus
from dagster._utils.test.data_versions import get_stale_status_resolver
from pipeline_kit import CATEGORY, execute, failures, write_config

from patchcore_assets.graph import define
from patchcore_assets.partitions import Partition
from patchcore_ops.config import load_config

DAY, NEXT = "2025-03-01", "2025-03-02"
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC).timestamp()
INBOX = {"root": "inbox", "first_day": "2025-01-01", "settled_seconds": 0}


class Line:
    """A benchmark with an inbox, and what it made of it."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.dataset = folder / "dataset"
        self.file = folder / "benchmark.yaml"
        self.instance = instance
        self.inbox = folder / "inbox"
        self.storage = folder / "storage"
        self.configure()

    def configure(self, **sections: Any) -> None:
        write_config(self.file, self.dataset, **{"inbox": INBOX, **sections})

    def make(self, *assets: str, partition: str = CATEGORY) -> dg.ExecuteInProcessResult:
        result = execute(self.file, *assets, partition=partition, instance=self.instance)
        assert result.success, failures(result)
        return result

    def inspect(self, day: str = DAY, category: str = CATEGORY) -> dict[str, Any]:
        """Make a day; return its metadata."""
        result = self.make("inspections", partition=Partition(category, day).key)
        [made] = result.asset_materializations_for_node("inspections")
        return {name: value.value for name, value in made.metadata.items()}

    def images(self, split: str, category: str = CATEGORY) -> list[Path]:
        return sorted((self.dataset / category / split).rglob("*.png"))

    def put(
        self, source: Path | bytes, name: str, at: float = NOON, category: str = CATEGORY
    ) -> Path:
        """Put an image into the inbox, as if it had arrived at a time."""
        target = self.inbox / category / name
        target.parent.mkdir(parents=True, exist_ok=True)
        content = source if isinstance(source, bytes) else source.read_bytes()
        target.write_bytes(content)
        os.utime(target, (at, at))
        return target

    def folder(self, day: str = DAY) -> Path:
        return self.storage / "inspections" / CATEGORY / day

    def table(self, day: str = DAY) -> pd.DataFrame:
        return pd.read_parquet(self.folder(day) / "inspections.parquet").set_index("path")

    def checks(self) -> dict[str, bool]:
        """Return the latest result of each check of the day."""
        records = self.instance.event_log_storage.get_asset_check_summary_records
        keys = [
            dg.AssetCheckKey(dg.AssetKey("inspections"), name)
            for name in ("rejects_are_expected", "scores_have_not_drifted", "every_image_was_read")
        ]
        found = {}
        for key, summary in records(keys).items():
            assert summary.last_check_execution_record is not None
            event = summary.last_check_execution_record.event
            assert event is not None
            found[key.name] = event.dagster_event.event_specific_data.passed
        return found

    def day_status(self, day: str) -> StaleStatus:
        return self.status("inspections", Partition(CATEGORY, day).key)

    def status(self, asset: str, partition: str | None) -> StaleStatus:
        assets = list(define(load_config(self.file)).assets or ())
        resolver = get_stale_status_resolver(self.instance, assets)  # type: ignore[arg-type]
        return resolver.get_status(dg.AssetKey(asset), partition)
