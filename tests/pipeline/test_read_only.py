"""A webserver that nobody can change anything on, and the address that a webserver listens on."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_webserver.cli import DEFAULT_WEBSERVER_HOST
from pipeline_kit import CATEGORY, Site, make_site
from webserver_process import Webserver, webserver

REPOSITORY = Path(__file__).resolve().parents[2]
WORKSPACE = """
{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }
"""
ASSETS = "{ assetNodes { assetKey { path } } }"
PERMISSIONS = "{ permissions { permission value } }"
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
  }
}
"""


@pytest.fixture(scope="module")
def site(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("read_only"), tiny_dataset)


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Webserver]:
    with webserver(site.home, site.environment, "--read-only") as running:
        yield running


@pytest.fixture(scope="module")
def selector(server: Webserver) -> dict[str, str]:
    [node] = server.ask(WORKSPACE)["repositoriesOrError"]["nodes"]
    return {
        "repositoryName": node["name"],
        "repositoryLocationName": node["location"]["name"],
    }


def test_the_pages_and_their_questions_are_answered(server: Webserver) -> None:
    with urllib.request.urlopen(server.url, timeout=30) as response:
        assert response.status == 200
        assert response.read().startswith(b"<!DOCTYPE html>")
    assets = {node["assetKey"]["path"][0] for node in server.ask(ASSETS)["assetNodes"]}
    assert {"images", "memory_bank", "benchmark_report"} <= assets
    permissions = server.ask(PERMISSIONS)["permissions"]
    assert permissions
    assert not any(one["value"] for one in permissions), "nothing is allowed"


def test_a_run_is_refused_however_it_is_asked_for(
    server: Webserver, site: Site, selector: dict[str, str]
) -> None:
    asked = {
        "selector": {**selector, "pipelineName": "benchmark_job"},
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": CATEGORY}]},
    }
    refused = server.ask(LAUNCH, params=asked)["launchRun"]
    assert refused["__typename"] == "UnauthorizedError", refused
    address = f"{server.url}/graphql?" + urllib.parse.urlencode(
        {"query": LAUNCH, "variables": json.dumps({"params": asked})}
    )
    for method, data in (("GET", None), ("POST", b"")):
        request = urllib.request.Request(address, data, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            assert "UnauthorizedError" in response.read().decode(), method
    assert nothing_happened(site)


def test_events_cannot_be_reported_by_http(server: Webserver, site: Site) -> None:
    for event in ("materialization", "observation"):
        request = urllib.request.Request(
            f"{server.url}/report_asset_{event}/memory_bank?partition={CATEGORY}",
            b"{}",
            {"Content-Type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30).close()
        assert refused.value.code in {401, 403}, event
    assert nothing_happened(site)


def test_the_webserver_listens_to_this_machine_alone_unless_told_otherwise() -> None:
    assert DEFAULT_WEBSERVER_HOST == "127.0.0.1"
    started = re.findall(
        r"dagster(?:-webserver| dev)\b.*--host (\S+)", (REPOSITORY / "Makefile").read_text()
    )
    assert started == ["127.0.0.1"]
    for file in sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]):
        text = file.read_text(encoding="utf-8")
        assert set(re.findall(r"--host[ =](\S+)", text)) <= {"127.0.0.1"}, file.name
        assert "0.0.0.0" not in text, file.name


def nothing_happened(site: Site) -> bool:
    """Tell whether there are no runs, no events and no running sensor."""
    with dg.DagsterInstance.from_config(str(site.home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("memory_bank"))
        running = [one for one in instance.all_instigator_state() if one.is_running]
        return not instance.get_runs() and event is None and not running
