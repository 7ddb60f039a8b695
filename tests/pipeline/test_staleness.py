"""A change makes stale what depends on it, in its own category, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, MEMBER, OTHER, contents
from staleness_kit import Benched


@pytest.fixture(scope="module")
def shared(pip_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benched]:
    with dg.DagsterInstance.ephemeral() as instance:
        benched = Benched(tmp_path_factory.mktemp("staleness"), instance)
        benched.observe()
        benched.make(*BY_CATEGORY, category=CATEGORY)
        benched.make(*BY_CATEGORY, category=OTHER)
        yield benched


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
    # One after the other: what is made anew makes stale what follows it.
    while stale := shared.stale():
        asset = next(iter(stale))
        for category in stale[asset]:
            shared.make(asset, category=category)


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
    assert benched.stale() == {"faiss_index": {OTHER}, "score_calibration": {OTHER}}
    benched.make("faiss_index")
    assert benched.stale() == {
        name: {OTHER} for name in ("test_predictions", "score_calibration", "model")
    }
    benched.make("test_predictions", "category_metrics", "score_calibration", "model")
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


def test_making_everything_again_changes_no_version(benched: Benched) -> None:
    before = {asset: benched.tags(asset)["dagster/data_version"] for asset in BY_CATEGORY}
    observations = benched.observations()
    benched.make(*BY_CATEGORY)
    after = {asset: benched.tags(asset)["dagster/data_version"] for asset in BY_CATEGORY}
    assert after == before
    assert benched.stale() == {}
    assert benched.observations() == observations, "versions that are known are not reported again"


def test_a_changed_mask_is_a_change_of_the_images(benched: Benched) -> None:
    mask = next((benched.dataset / OTHER / "ground_truth").rglob("*.png"))
    other = next(
        file
        for file in sorted((benched.dataset / OTHER / "ground_truth").rglob("*.png"))
        if file.read_bytes() != mask.read_bytes()
    )
    mask.write_bytes(other.read_bytes())
    benched.observe()
    assert benched.stale() == {"image_manifest": {OTHER}}
    benched.make("image_manifest")
    assert benched.stale() == {"raw_embeddings": {OTHER}}
    benched.make(*BY_CATEGORY[1:])
    assert benched.stale() == {}


def test_observing_warns_of_nothing(benched: Benched) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", dg.BetaWarning)
        benched.observe()
    assert [str(one.message) for one in caught if one.category is dg.BetaWarning] == []
