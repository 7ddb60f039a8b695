"""Where the trials take place: copies of an older and of a newer benchmark of one tiny category."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from children import run
from pipeline_kit import BY_CATEGORY, CATEGORY, OVER_ALL, execute, failures, write_config

from demo.tiny import build_tiny_dataset

ASSETS = (*BY_CATEGORY, *OVER_ALL)
STARTS = ("first", "again")
"""What there is of an asset before its run: nothing, or its version of the older benchmark."""


@dataclass(frozen=True)
class Site:
    """One installation: a configuration, artefacts and a run history."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "benchmark.yaml"

    @property
    def storage(self) -> Path:
        """The storage root."""
        return self.folder / "storage"

    @property
    def home(self) -> Path:
        """Dagster's home."""
        return self.folder / "home"

    @property
    def log(self) -> Path:
        """What children have printed."""
        return self.folder / "log.txt"

    def materialise(self, *assets: str) -> dict[str, Any]:
        """Materialise assets in this process; returns success and what failed steps said."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            partition = None if assets[0] in OVER_ALL else CATEGORY
            result = execute(self.config, *assets, partition=partition, instance=instance)
            return {"success": result.success, "said": failures(result)}

    def recorded_version(self, asset: str) -> str | None:
        """Return the data version that Dagster has last seen of an asset."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            if event is None or event.asset_materialization is None:
                return None
            return dict(event.asset_materialization.tags or {})["dagster/data_version"]


class Sites:
    """Builds an older and a newer benchmark that differ in all artefacts, and mixes copies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.old = self._benchmark("old", 1, {"seed": 1})
        self.new = self._benchmark("new", 0, {"seed": 0})

    def _benchmark(self, name: str, seed: int, coreset: Mapping[str, Any]) -> Site:
        dataset = self._folder / f"dataset-{name}"
        build_tiny_dataset(dataset, categories=(CATEGORY,), seed=seed)
        site = self._site(name, dataset, coreset)
        imported = run(lambda: _make_everything(site), site.log)
        # Here too, so that no child has to import anything.
        for module in imported:
            with suppress(Exception):
                importlib.import_module(module)
        return site

    def _site(self, name: str, dataset: Path, coreset: Mapping[str, Any]) -> Site:
        site = Site(self._folder / name)
        site.home.mkdir(parents=True)
        (site.home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
        write_config(
            site.config,
            dataset,
            dataset={"categories": [CATEGORY]},
            coreset=coreset,
            checks={"minimum_train_images": 1, "minimum_test_images": 1},
        )
        return site

    def start(self, name: str, asset: str, start: str) -> Site:
        """Copy what there is before a run of an asset.

        What the asset is made from is of the newer benchmark. Of the asset, and of what follows
        from it, there is nothing (`first`) or the older benchmark's version (`again`).
        """
        site = self._site(name, self._folder / "dataset-new", {"seed": 0})
        position = ASSETS.index(asset)
        for other in ASSETS[:position]:
            copy_artefact(self.new, site, other)
        if start == "again":
            for other in ASSETS[position:]:
                copy_artefact(self.old, site, other)
        shutil.copytree(self._empty_history(), site.home, dirs_exist_ok=True)
        return site

    def _empty_history(self) -> Path:
        """Make a run history without runs once: its tables take a second."""
        home = self._folder / "empty-history"
        if not home.is_dir():
            home.mkdir()
            (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
            run(lambda: _open_history(home), self._folder / "empty-history.log")
        return home


def _make_everything(site: Site) -> list[str]:
    """Materialise all assets; returns the modules that it has taken."""
    for assets in (BY_CATEGORY, OVER_ALL):
        outcome = site.materialise(*assets)
        if not outcome["success"]:
            raise RuntimeError(f"{site.folder.name} cannot be made: {outcome['said']}")
    return [name for name in sys.modules if not name.endswith("__main__")]


def _open_history(home: Path) -> bool:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs(limit=1)
        instance.get_latest_materialization_event(dg.AssetKey("nothing"))
    return True


def place_of(storage: Path, asset: str) -> Path:
    """Return the link at which an artefact is found."""
    return storage / asset / CATEGORY if asset in BY_CATEGORY else storage / asset


def copy_artefact(source: Site, target: Site, asset: str) -> None:
    """Copy an artefact with its versions; links stay links."""
    shutil.copytree(
        source.storage / ".versions" / asset, target.storage / ".versions" / asset, symlinks=True
    )
    link = place_of(target.storage, asset)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(place_of(source.storage, asset).readlink())
