"""Faults that earlier releases had, planted to see that the comparison finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock


@contextmanager
def planted(fault: str | None) -> Iterator[None]:
    """Put one fault into the product for a while.

    Parameters
    ----------
    fault : str or None
        `position`: scores are joined to the images of today's manifest by their position, and
        nothing compares versions. `refused`: what a blocking check refuses becomes current. `file`:
        every step reads the configuration anew, and takes all settings from there; so does the
        report.
    """
    patches = {None: [], "position": _position(), "refused": _refused(), "file": _file()}[fault]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def _position() -> list[Any]:
    from patchcore_assets.step.lineage import Ancestry
    from patchcore_ops.stages import layout, predict

    original = layout.read_images

    def by_position(folder: Any, asset: str = "raw_embeddings") -> Any:
        import pandas as pd

        images = original(folder, asset)
        category = images["path"].iloc[0].split("/")[0]
        storage = next(up for up in folder.parents if (up / ".versions").is_dir())
        now = pd.read_parquet(storage / "image_manifest" / category / "manifest.parquet")
        if len(now) != len(images) or (now["split"] != images["split"].to_numpy()).any():
            return images
        return now.assign(pixels=images["pixels"].to_numpy())

    return [
        mock.patch.object(Ancestry, "add", lambda self, artefact: None),
        mock.patch.object(predict, "read_images", by_position),
        mock.patch.object(layout, "read_images", by_position),
    ]


def _refused() -> list[Any]:
    from patchcore_assets.step import work

    def current_all_the_same(self: Any, sentences: Any, findings: Any, recorded: Any) -> Any:
        import dagster as dg

        self._staging.commit(recorded, (), {one.place: one.data_version for one in self._read})
        raise dg.Failure(description=" ".join(sentences), allow_retries=False)

    return [mock.patch.object(work.Work, "_refused", current_all_the_same)]


def _file() -> list[Any]:
    import importlib

    from patchcore_assets.step.resource import Benchmark
    from patchcore_assets.step.work import Work
    from patchcore_ops.config import load_config
    from patchcore_ops.config.recorded_settings import record
    from patchcore_ops.runtime.fingerprints import file_hash

    report = importlib.import_module("patchcore_assets.assets.benchmark_report")
    sections = ("dataset", "embedding", "coreset", "index", "scoring", "metrics")

    def anew(self: Any, instance: Any, run_id: str) -> Any:
        return load_config(self.config_path), True

    def of_today(self: Any) -> Any:
        return load_config(self.config.path).for_category(self.category)

    def in_the_file(artefact: Any) -> Any:
        site = next(up.parent for up in artefact.folder.parents if up.name == "storage")
        settings = load_config(site / "benchmark.yaml").for_category(artefact.category)
        return record(settings, sections, file_hash)

    return [
        mock.patch.object(report, "settings_of", in_the_file),
        mock.patch.object(Benchmark, "_configuration", anew),
        mock.patch.object(Work, "settings", property(of_today)),
    ]
