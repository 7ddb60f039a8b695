"""A change makes stale what depends on it, in its own category, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import StaleStatus
from dagster._utils.test.data_versions import get_stale_status_resolver
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    MEMBER,
    OTHER,
    contents,
    execute,
    failures,
    write_config,
)

from patchcore_assets.graph import define
from patchcore_ops.config import load_config
from patchcore_ops.demo.tiny import build_tiny_dataset

INPUTS = (
    "images",
    "embedding_config",
    "coreset_config",
    "index_config",
    "scoring_config",
    "metrics_config",
)


class Benched:
    """A benchmark whose two categories are made, and whose inputs can be observed again."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.dataset = folder / "dataset"
        self.instance = instance
        self._file = folder / "benchmark.yaml"
        build_tiny_dataset(self.dataset, categories=(CATEGORY, OTHER), train=4, test_good=2)
        self.configure()
        self.observe()
        self.make(*BY_CATEGORY, category=CATEGORY)
        self.make(*BY_CATEGORY, category=OTHER)

    def make(self, *assets: str, category: str = OTHER) -> None:
        """Materialise assets of a category."""
        result = execute(self._file, *assets, partition=category, instance=self.instance)
        assert result.success, failures(result)

    def configure(self, **sections: Any) -> None:
        """Write the configuration anew."""
        write_config(self._file, self.dataset, **sections)

    def observe(self) -> None:
        """Observe every input, as the UI's button does."""
        result = execute(self._file, *INPUTS, partition=None, instance=self.instance)
        assert result.success, failures(result)

    def versions(self, asset: str) -> dict[str, str]:
        """Return the observed version of an input for each category."""
        found = {}
        for category in (CATEGORY, OTHER):
            [record] = self.instance.fetch_observations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[category]),
                limit=1,
            ).records
            assert record.asset_observation is not None
            found[category] = record.asset_observation.tags["dagster/data_version"]
        return found

    def stale(self) -> dict[str, set[str]]:
        """Return the categories in which each asset is stale."""
        assets = list(define(load_config(self._file)).assets or ())
        resolver = get_stale_status_resolver(self.instance, assets)  # type: ignore[arg-type]
        found: dict[str, set[str]] = {}
        for asset in BY_CATEGORY:
            for category in (CATEGORY, OTHER):
                status = resolver.get_status(dg.AssetKey(asset), category)
                assert status is not StaleStatus.MISSING
                if status is StaleStatus.STALE:
                    found.setdefault(asset, set()).add(category)
        return found


@pytest.fixture(scope="module")
def shared(pip_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benched]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Benched(tmp_path_factory.mktemp("staleness"), instance)


@pytest.fixture
def benched(shared: Benched) -> Iterator[Benched]:
    """Lend the module's benchmark, fresh, and put right what the test has changed."""
    assert shared.stale() == {}
    images = contents(shared.dataset)
    yield shared
    for name in contents(shared.dataset).keys() - images.keys():
        (shared.dataset / name).unlink()
    for name, content in images.items():
        (shared.dataset / name).write_bytes(content)
    shared.configure()
    shared.observe()
    while stale := shared.stale():
        for asset, categories in stale.items():
            for category in categories:
                shared.make(asset, category=category)


def test_what_cannot_change_a_result_makes_nothing_stale(benched: Benched) -> None:
    before = {name: benched.versions(name) for name in INPUTS}
    assert benched.stale() == {}
    for image in benched.dataset.rglob("*.png"):
        image.touch()
    benched.configure(
        runtime={"batch_size": 1, "num_workers": 3, "device": "auto"},
        coreset={"seed": 0},
    )
    benched.observe()
    assert {name: benched.versions(name) for name in INPUTS} == before
    assert benched.stale() == {}


def test_an_override_makes_its_own_category_stale(benched: Benched) -> None:
    before = benched.versions("coreset_config")
    benched.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    benched.observe()
    after = benched.versions("coreset_config")
    assert after[CATEGORY] == before[CATEGORY]
    assert after[OTHER] != before[OTHER]
    assert benched.stale() == {"memory_bank": {OTHER}}
    # What lies below follows once there are new picks, and not before.
    benched.make("memory_bank")
    assert benched.stale() == {"faiss_index": {OTHER}}
    benched.make("faiss_index")
    assert benched.stale() == {"test_predictions": {OTHER}}
    benched.make("test_predictions", "category_metrics")
    assert benched.stale() == {}


def test_a_rebuild_that_changes_nothing_ends_there(benched: Benched) -> None:
    (benched.dataset / OTHER / "train" / "good" / "notes.txt").write_text("not an image")
    benched.observe()
    assert benched.stale() == {"image_manifest": {OTHER}}
    benched.make("image_manifest")
    assert benched.stale() == {}


@pytest.mark.parametrize(
    ("sections", "first"),
    [
        ({"metrics": {"aupro_fpr_limit": 0.2}}, "category_metrics"),
        ({"scoring": {"smoothing_sigma": 2.0}}, "test_predictions"),
        ({"index": {"factory": "HNSW8"}}, "faiss_index"),
        ({"embedding": {"members": [MEMBER], "patchsize": 5}}, "raw_embeddings"),
        ({"dataset": {"resize": 72}}, "raw_embeddings"),
    ],
)
def test_a_section_makes_its_own_asset_stale_in_every_category(
    benched: Benched, sections: dict[str, dict[str, Any]], first: str
) -> None:
    benched.configure(**sections)
    benched.observe()
    assert benched.stale() == {first: {CATEGORY, OTHER}}


def test_a_changed_image_makes_its_own_category_stale(benched: Benched) -> None:
    image = next((benched.dataset / CATEGORY / "train" / "good").iterdir())
    image.unlink()
    benched.observe()
    assert benched.stale() == {"image_manifest": {CATEGORY}}


def test_observing_warns_of_nothing(benched: Benched) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", dg.BetaWarning)
        benched.observe()
    assert [str(one.message) for one in caught if one.category is dg.BetaWarning] == []
