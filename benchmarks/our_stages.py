"""The stages of this project as tasks for fresh processes; each reads and writes a folder.

`folder` gets manifest/, embeddings/, bank/, index/, predictions/ and metrics/. What the stages
import is imported before the clock starts, as it is for those that they are compared with; it
shows in the wall seconds of the processes.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import Stopwatch, peak_mb
from benchmarks.workloads import Workload

METRICS = ("instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc", "aupro")
# The stages in their order, and what each needs is before it.
STAGES = ("manifest", "embed", "select", "index", "predict", "evaluate")


def prepare_process() -> None:
    """Do what this project does first in its processes; called before anything is imported."""
    from patchcore_ops.runtime.process import tune_process

    tune_process()


def run_stages(
    workload: dict[str, Any], folder: str, stages: list[str], preset: list[str] | None = None
) -> dict[str, Any]:
    """Run some of `STAGES`, one after the other, in this process.

    `folder` holds what the stages before the first one have written. `preset` is the factory string
    and the search parameters of a second index; index and prediction are then repeated with it, as
    the stages `index_preset` and `predict_preset`.

    Returns the `seconds` of each stage, what the stages have to say, `imports_mb` and `peak_mb`:
    the peak memory after the imports and after the stages.
    """
    work = _Work(Workload(**workload), Path(folder))
    for stage in stages:
        getattr(work, stage)()
    if preset is not None:
        work.repeat_with_preset(*preset)
    # Taking the interpreter down raises the peak once more; that is not the stages' doing.
    return {"seconds": work.watch.seconds, **work.findings, "peak_mb": peak_mb()}


class _Work:
    def __init__(self, workload: Workload, folder: Path) -> None:
        _import_everything()
        self.workload = workload
        self.folder = folder
        self.config = workload.config()
        self.runtime = workload.runtime()
        self.root = Path(workload.data)
        self.watch = Stopwatch()
        self.findings: dict[str, Any] = {"imports_mb": peak_mb()}

    def manifest(self) -> None:
        from patchcore_ops.dataset import scan_category
        from patchcore_ops.stages.layout import MANIFEST

        (self.folder / "manifest").mkdir(parents=True, exist_ok=True)
        with self.watch.stage("manifest"):
            images = scan_category(self.root, self.workload.category).images
            images.to_parquet(self.folder / "manifest" / MANIFEST, index=False)

    def embed(self) -> None:
        from patchcore_ops.embedding.network_folder import NetworkFolder
        from patchcore_ops.stages.layout import read_manifest
        from patchcore_ops.stages.raw_embeddings import embed_images

        images = read_manifest(self.folder / "manifest")
        train = int((images["split"] == "train").sum())
        train_done = started = time.perf_counter()

        def note(done: int, _total: int) -> None:
            nonlocal train_done
            if done == train:
                train_done = time.perf_counter()

        embed_images(
            images,
            self.root,
            self.config,
            self.runtime,
            self.folder / "embeddings",
            note,
            networks=NetworkFolder(self.workload.networks),
        )
        self.watch.seconds["embed_train"] = train_done - started
        self.watch.seconds["embed_test"] = time.perf_counter() - train_done
        self.findings["train_images"] = train
        self.findings["test_images"] = len(images) - train

    def select(self) -> None:
        from patchcore_ops.stages.memory_bank import select_memory_bank

        with self.watch.stage("coreset"):
            banks = select_memory_bank(
                self.folder / "embeddings", self.config, self.runtime, self.folder / "bank"
            )
        self.findings.update(rows=banks[0].rows, picks=banks[0].picks)

    def index(self) -> None:
        self._index("index")

    def predict(self) -> None:
        self._predict("predict")

    def evaluate(self) -> None:
        with self.watch.stage("metrics"):
            self.findings["metrics"] = self._evaluate()

    def repeat_with_preset(self, factory: str, search_parameters: str) -> None:
        sections = {**self.config.model_dump(), "index": {}}
        sections["index"] = {"factory": factory, "search_parameters": search_parameters}
        self.config = type(self.config).model_validate(sections)
        self._index("index_preset")
        self._predict("predict_preset")
        self.findings["metrics_preset"] = self._evaluate()

    def _index(self, stage: str) -> None:
        from patchcore_ops.stages.faiss_index import index_memory_bank

        with self.watch.stage(stage):
            index_memory_bank(self.folder / "bank", self.config, self.folder / "index")

    def _predict(self, stage: str) -> None:
        from patchcore_ops.stages.predictions import predict

        with self.watch.stage(stage):
            predictions = predict(
                self.folder / "embeddings",
                self.folder / "index",
                self.config,
                self.runtime,
                self.folder / "predictions",
            )
        if stage == "predict":
            self.findings["proven_share"] = predictions.proven_share

    def _evaluate(self) -> dict[str, float]:
        from patchcore_ops.stages.category_metrics import evaluate

        result = evaluate(
            self.workload.category,
            self.root,
            self.folder / "predictions",
            self.config,
            self.runtime,
            self.folder / "metrics",
        )
        return {name: float(result[name]) for name in METRICS}


def export_network(workload: dict[str, Any]) -> dict[str, Any]:
    """Export a workload's network, as it is done once for all categories; a task."""
    from patchcore_ops.embedding.ensemble import open_networks
    from patchcore_ops.embedding.network_folder import NetworkFolder

    settings = Workload(**workload)
    open_networks(settings.config(), settings.runtime(), NetworkFolder(settings.networks))
    return {}


def compare_picks(reduced: str) -> dict[str, Any]:
    """Pick from the rows that another implementation reduced, and compare with its picks.

    The .npz file has `rows`, `starts` and `picks`. Returns the share of the picks that are the
    other's too, that of the positions with the same pick, and the seconds of the selection.
    """
    import numpy as np

    from patchcore_ops.coreset import k_center_greedy

    with np.load(reduced, allow_pickle=False) as content:
        rows, starts, theirs = (content[name] for name in ("rows", "starts", "picks"))
    watch = Stopwatch()
    with watch.stage("coreset"):
        ours = k_center_greedy(rows, len(theirs), starts.tolist())
    return {
        "seconds": watch.seconds,
        "same_set": float(np.isin(ours, theirs).mean()),
        "same_order": float((ours == theirs).mean()),
    }


def write_configuration(workload: Workload, storage: Path, file: Path) -> None:
    """Write the workload as a configuration file; YAML reads JSON."""
    content = {
        **workload.sections(),
        "dataset": {"root": workload.data, "categories": [workload.category]},
        "runtime": workload.runtime_section(),
        "storage": {"root": str(storage)},
    }
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _import_everything() -> None:
    import pyarrow.parquet  # noqa: F401

    from patchcore_ops.scoring.faiss_library import import_faiss

    import_faiss()
    import patchcore_ops.stages.category_metrics
    import patchcore_ops.stages.memory_bank
    import patchcore_ops.stages.predictions
    import patchcore_ops.stages.raw_embeddings  # noqa: F401
