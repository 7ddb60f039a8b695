"""What the UI shows as stale, asked from a real webserver as the UI asks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, OTHER
from staleness_kit import CATEGORIES, Benched
from webserver_process import Webserver, webserver

STALENESS = """
query Staleness($assets: [AssetKeyInput!], $partitions: [String!]!) {
  assetNodes(assetKeys: $assets) {
    assetKey { path }
    staleStatusByPartition(partitions: $partitions)
    staleCausesByPartition(partitions: $partitions) {
      key { path } partitionKey category reason dependency { path } dependencyPartitionKey
    }
  }
}
"""
MADE = BY_CATEGORY[:4]
ONE = """
query One($asset: AssetKeyInput!, $partition: String!) {
  assetNodeOrError(assetKey: $asset) {
    ... on AssetNode {
      staleStatus(partition: $partition)
      staleCauses(partition: $partition) { category reason key { path } partitionKey }
    }
  }
}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    return folder


@pytest.fixture
def benched(pip_weights: None, home: Path) -> Iterator[Benched]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        benched = Benched(home.parent, instance)
        for category in CATEGORIES:
            benched.make(*MADE, category=category)
        yield benched


@pytest.fixture
def server(benched: Benched, home: Path) -> Iterator[Webserver]:
    with webserver(home, {"PATCHCORE_CONFIG": str(benched.file)}) as running:
        yield running


def stale(server: Webserver) -> dict[str, set[str]]:
    """Return the categories in which the webserver calls each asset stale."""
    found: dict[str, set[str]] = {}
    assets = [{"path": [asset]} for asset in MADE]
    nodes = server.ask(STALENESS, assets=assets, partitions=list(CATEGORIES))["assetNodes"]
    assert len(nodes) == len(MADE)
    for node in nodes:
        [asset] = node["assetKey"]["path"]
        by_category = dict(zip(CATEGORIES, node["staleStatusByPartition"], strict=True))
        assert set(by_category.values()) <= {"FRESH", "STALE"}, asset
        if behind := {name for name, status in by_category.items() if status == "STALE"}:
            found[asset] = behind
        for name, causes in zip(CATEGORIES, node["staleCausesByPartition"], strict=True):
            assert bool(causes) == (by_category[name] == "STALE"), asset
    return found


def test_the_webserver_shows_what_one_override_makes_stale(
    server: Webserver, benched: Benched
) -> None:
    assert stale(server) == {}, "runs by hand, without any observation, are fresh"
    benched.configure(overrides={OTHER: {"coreset": {"percentage": 0.5}}})
    benched.observe()
    assert stale(server) == {"memory_bank": {OTHER}}
    asset = {"path": ["memory_bank"]}
    shown = server.ask(ONE, asset=asset, partition=OTHER)["assetNodeOrError"]
    assert shown["staleStatus"] == "STALE"
    [cause] = shown["staleCauses"]
    assert cause == {
        "category": "DATA",
        "reason": "has a new data version",
        "key": {"path": ["coreset_config"]},
        "partitionKey": OTHER,
    }
    untouched = server.ask(ONE, asset=asset, partition=CATEGORY)["assetNodeOrError"]
    assert untouched == {"staleStatus": "FRESH", "staleCauses": []}

    benched.make("memory_bank")
    assert stale(server) == {"faiss_index": {OTHER}}
    benched.make("faiss_index")
    assert stale(server) == {}
