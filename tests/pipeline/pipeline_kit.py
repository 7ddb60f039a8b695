"""What the tests of the graph share: configurations, runs, and the words of a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import yaml

from patchcore_assets.graph import define
from patchcore_assets.step.work import Work
from patchcore_ops.config import load_config
from patchcore_ops.runtime.progress import Progress

CATEGORY = "fabric_a"
OTHER = "fabric_b"
BY_CATEGORY = (
    "image_manifest",
    "raw_embeddings",
    "memory_bank",
    "faiss_index",
    "test_predictions",
    "category_metrics",
    "score_calibration",
    "model",
)
OVER_ALL = ("metrics", "benchmark_report")
UP_TO_PREDICTIONS = BY_CATEGORY[:5]

TRAIN_IMAGES = 8
TEST_IMAGES = 10
SIDE = 64
DIMENSION = 24
GRID = 8
MEMBER = {"backbone": "efficientnet_lite0", "layers": ["blocks.2", "blocks.4"]}

Configure = Callable[..., Path]
Metadata = Mapping[str, dg.MetadataValue[Any]]

SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def write_config(file: Path, root: Path, /, **sections: Any) -> Path:
    """Write a small configuration; each given section is laid over the one of that name."""
    content: dict[str, Any] = {
        "dataset": {
            "root": str(root),
            "categories": [CATEGORY, OTHER],
            "resize": SIDE,
            "imagesize": SIDE,
        },
        "embedding": {
            "members": [MEMBER],
            "pretrain_embed_dimension": 32,
            "target_embed_dimension": DIMENSION,
        },
        "coreset": {"percentage": 0.1, "projection_dimension": 16},
        # An export takes longer than everything else on tiny images; `make_site` has them exported.
        "runtime": {
            "device": "cpu",
            "engine": "torch",
            "num_workers": 0,
            "faiss_num_workers": 1,
        },
        "storage": {"root": "storage"},
    }
    for name, section in sections.items():
        is_laid_over = isinstance(section, Mapping)
        content[name] = {**content.get(name, {}), **section} if is_laid_over else section
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def execute(
    config: Path,
    *assets: str,
    partition: str | None = CATEGORY,
    instance: dg.DagsterInstance | None = None,
) -> dg.ExecuteInProcessResult:
    """Materialise assets in this process, on the configuration as it is now."""
    job = define(load_config(config)).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        run_config=SILENT,
        instance=instance,
        partition_key=partition,
        raise_on_error=False,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
    )


def complete(
    config: Path,
    *assets: str,
    partition: str | None = CATEGORY,
    instance: dg.DagsterInstance | None = None,
) -> Path:
    """Materialise assets, expect success, and return the folder of the artefacts."""
    result = execute(config, *assets, partition=partition, instance=instance)
    assert result.success, failures(result)
    return Path(load_config(config).storage_root)


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return what each failed step says to its user."""
    said = {}
    for event in result.filter_events(lambda event: event.is_step_failure):
        data = event.step_failure_data
        if data.user_failure_data is not None:
            said[str(event.step_key)] = data.user_failure_data.description or ""
        elif data.error is not None:
            said[str(event.step_key)] = f"NOT A FAILURE WITH A SENTENCE: {data.error.to_string()}"
    return said


@contextmanager
def edited_while_at_work(edit: Callable[[], object] | None) -> Iterator[None]:
    """Let something be edited when the first step reports its first progress."""
    original = Work.progress
    waiting = [] if edit is None else [edit]

    def progress(self: Work, what: str) -> Progress:
        report = original(self, what)

        def edit_then_report(done: int, total: int) -> None:
            if waiting:
                waiting.pop()()
            report(done, total)

        return edit_then_report

    with mock.patch.object(Work, "progress", progress):
        yield


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def category_of_run(run: dg.DagsterRun) -> str | None:
    """Return the category that a run works on; None where it has none."""
    tags = ("dagster/partition", "dagster/asset_partition_range_start")
    return next((run.tags[tag] for tag in tags if tag in run.tags), None)


def versions(storage: Path, asset: str, category: str = CATEGORY) -> list[Path]:
    """Return the version folders that the local store holds for one artefact."""
    return [
        entry for entry in (storage / ".versions" / asset / category).iterdir() if entry.is_dir()
    ]


@dataclass(frozen=True)
class Site:
    """One installation as its user has it: a configuration, data, artefacts and a run history."""

    config: Path
    dataset: Path
    storage: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the user's shell."""
        return {
            **os.environ,
            "PATCHCORE_CONFIG": str(self.config),
            "PATCHCORE_DATASET_ROOT": str(self.dataset),
            "PATCHCORE_STORAGE_ROOT": str(self.storage),
            "DAGSTER_HOME": str(self.home),
            "OMP_NUM_THREADS": "2",
            "COLUMNS": "1000",
        }

    def dagster(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the dagster command of this environment in an unrelated folder."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("dagster")), *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def make_site(folder: Path, dataset: Path, /, **sections: Mapping[str, Any]) -> Site:
    """Make an installation whose environment, not whose file, says where data and storage are."""
    home = folder / "home"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    config = write_config(
        folder / "benchmark.yaml",
        Path("/nowhere/dataset"),
        **{
            "storage": {"root": "/nowhere/storage"},
            **sections,
            "runtime": {"engine": "auto", **sections.get("runtime", {})},
        },
    )
    return Site(config, dataset, folder / "artefacts", home)


@dataclass(frozen=True)
class Finished:
    """What two commands left behind: everything for fabric_a, then `metrics` once more."""

    site: Site
    everything: subprocess.CompletedProcess[str]
    metrics_alone: subprocess.CompletedProcess[str]

    def folder(self, asset: str) -> Path:
        """Return the contract's place of an artefact."""
        place = self.site.storage / asset
        return place / CATEGORY if asset in BY_CATEGORY else place
