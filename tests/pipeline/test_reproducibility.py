"""The same benchmark twice, each in a fresh process: the same bytes, whenever and wherever."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    MEMBER,
    OVER_ALL,
    Finished,
    Site,
    contents,
    make_site,
)

from patchcore_assets.step.networks import EMBEDDING_NETWORK

SIDECAR = "artefact.json"
# The history tells of earlier waves with their times and runs; the report is dated.
DATED = {"metrics": {"history.parquet"}, "benchmark_report": {"index.html"}}
# k-means, product quantisation, and an ensemble: what has a seed of its own, or an order.
TRAINED = {
    "embedding": {"members": [MEMBER, {**MEMBER, "layers": ["blocks.2"]}]},
    "coreset": {"percentage": 0.5},
    "index": {"factory": "IVF4,PQ4x4", "search_parameters": "nprobe=2"},
    "scoring": {"anomaly_scorer_num_nn": 2},
    "runtime": {"num_workers": 2, "faiss_num_workers": 2},
}


def folder(site: Site, asset: str) -> Path:
    place = site.storage / asset
    return place / CATEGORY if asset in BY_CATEGORY else place


def assert_equal(first: Site, second: Site) -> None:
    """Compare every file of every artefact, but for sidecars and what is dated."""
    for asset in (*BY_CATEGORY, *OVER_ALL):
        ours, theirs = contents(folder(first, asset)), contents(folder(second, asset))
        assert ours.keys() == theirs.keys(), asset
        assert len(ours) > 1, asset
        free = {SIDECAR} | DATED.get(asset, set())
        for name in ours.keys() - free:
            assert ours[name] == theirs[name], f"{asset}/{name} differs"
        versions = [json.loads(found[SIDECAR])["data_version"] for found in (ours, theirs)]
        if asset != "benchmark_report":
            assert versions[0] == versions[1], asset


def timeless(site: Site) -> str:
    """Return the report's page without its date, the runs, and the site's paths."""
    page = (folder(site, "benchmark_report") / "index.html").read_text(encoding="utf-8")
    page = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[^<\"]*", "TIME", page)
    page = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "RUN", page)
    return page.replace(str(site.storage), "STORAGE").replace(str(site.dataset), "DATASET")


def test_another_process_writes_the_same_bytes_and_imports_no_torch(
    finished: Finished, tmp_path: Path
) -> None:
    # Another folder, and files with other times, must not show in any artefact; the exported
    # network is found again.
    dataset = shutil.copytree(
        finished.site.dataset, tmp_path / "elsewhere", copy_function=shutil.copy
    )
    again = make_site(tmp_path / "again", dataset)
    exported = finished.site.storage / EMBEDDING_NETWORK
    shutil.copytree(exported, again.storage / EMBEDDING_NETWORK)
    program = (
        "import sys\n"
        "from patchcore_assets.commands.benchmark import main\n"
        f"status = main(['--config', {str(again.config)!r}, {CATEGORY!r}])\n"
        "assert not {'torch', 'torchvision', 'timm'} & sys.modules.keys(), 'heavy imports'\n"
        "sys.exit(status)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=again.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "exporting" not in ran.stdout + ran.stderr
    assert_equal(finished.site, again)
    assert timeless(finished.site) == timeless(again)


@pytest.mark.usefixtures("pip_weights")
def test_trained_indices_and_ensembles_too(tiny_dataset: Path, tmp_path: Path) -> None:
    sites = [make_site(tmp_path / name, tiny_dataset, **TRAINED) for name in ("one", "two")]
    command = ("asset", "materialize", "-m", "patchcore_assets", "--partition", CATEGORY)
    with ThreadPoolExecutor(2) as both:
        for ran in both.map(lambda site: site.dagster(*command, "--select", "*"), sites):
            assert ran.returncode == 0, ran.stdout + ran.stderr
    assert_equal(*sites)


def test_versioned_content_holds_neither_run_nor_time(finished: Finished) -> None:
    for asset in (*BY_CATEGORY, "metrics"):
        found = contents(folder(finished.site, asset))
        sidecar = json.loads(found.pop(SIDECAR))
        for name in found.keys() - set(sidecar["unversioned"]):
            assert sidecar["provenance"]["run_id"].encode() not in found[name], (asset, name)
            assert str(finished.site.storage).encode() not in found[name], (asset, name)
            assert str(finished.site.dataset).encode() not in found[name], (asset, name)
