"""Searches of the same queries by several indices in turn, as a task for a fresh process."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.our_stages import METRICS, prepare_process
from benchmarks.search_presets import CERTIFIED, FLAT
from benchmarks.workloads import Workload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["compare", "prepare_process"]
_IMAGES_PER_SEARCH = 16


def compare(
    workload: dict[str, Any],
    folder: str,
    presets: list[list[str]],
    repeats: int,
    tolerance: float,
) -> dict[str, Any]:
    """Search with every preset, [factory, search parameters], in turn, so many times.

    The first is the flat scan, which the others are compared with; a relative difference of a score
    within `tolerance` counts as none. `folder` has manifest, embeddings and memory bank. Returns
    `queries`, `picks`, `dimension`, and `searches`: for each preset the seconds of each run, its
    agreement with the flat scan and the metrics.
    """
    import numpy as np

    task = _Task(Workload(**workload), Path(folder))
    seconds: list[tuple[list[float], list[float]]] = [([], []) for _ in presets]
    answers: list[_Answer] = []
    for repeat in range(repeats):
        for (factory, parameters), (build, search) in zip(presets, seconds, strict=True):
            answer = task.search(factory, parameters)
            build.append(answer.build)
            search.append(answer.seconds)
            if repeat == 0:
                answers.append(answer)
    flat = answers[0]
    found = []
    for (factory, parameters), (build, search), answer in zip(
        presets, seconds, answers, strict=True
    ):
        scale = np.maximum(flat.distances, np.finfo(np.float32).tiny)
        difference = np.abs(answer.distances - flat.distances) / scale
        found.append(
            {
                "factory": factory,
                "parameters": parameters,
                "build": build,
                "search": search,
                "recall": float((answer.rows == flat.rows).mean()),
                "within": float((difference < tolerance).mean()),
                "largest": float(difference.max()),
                "proven": answer.proven,
                "metrics": task.metrics(answer.distances),
            }
        )
    picks, dimension = task.bank.shape
    return {
        "queries": len(flat.rows),
        "picks": picks,
        "dimension": dimension,
        "searches": found,
    }


class _Answer:
    """What one search gave: nearest distances and rows, and the seconds it took."""

    def __init__(self, build: float) -> None:
        self.build = build
        self.seconds = 0.0
        self.proven: float | None = None
        self.distances: npt.NDArray[np.float32]
        self.rows: npt.NDArray[np.int64]


class _Task:
    """The memory bank, the queries, and what judges the answers."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        import numpy as np

        from patchcore_ops.dataset.masks import load_masks
        from patchcore_ops.stages.layout import (
            FEATURES,
            TEST_EMBEDDINGS,
            mask_files,
            member_folder,
            read_manifest,
            test_rows,
        )
        from patchcore_ops.stages.raw_embeddings import Grid

        self.workload = workload
        self.config = workload.config()
        self.bank = np.load(member_folder(folder / "bank", 0) / FEATURES, allow_pickle=False)
        self.queries = np.load(
            member_folder(folder / "embeddings", 0) / TEST_EMBEDDINGS, allow_pickle=False
        )
        self.grid = Grid.read(member_folder(folder / "embeddings", 0))
        self.images = test_rows(read_manifest(folder / "manifest"))
        paths = mask_files(self.images, Path(workload.data))
        self.masks = load_masks(paths, self.config.dataset, workload.workers)
        has_mask = np.array([path is not None for path in paths])
        self.has_truth = has_mask | ~self.images["is_anomaly"].to_numpy(dtype=bool)

    def search(self, factory: str, parameters: str) -> _Answer:
        """Build an index and find the nearest neighbour of every query."""
        import numpy as np

        from patchcore_ops.config.sections import IndexSection
        from patchcore_ops.scoring.index_building import build_index
        from patchcore_ops.scoring.neighbours import Searcher

        started = time.perf_counter()
        index = build_index(self.bank, "Flat" if factory in (FLAT, CERTIFIED) else factory)
        answer = _Answer(time.perf_counter() - started)
        runtime = replace(self.workload, certified=factory == CERTIFIED).runtime()
        started = time.perf_counter()
        searcher = Searcher(index, IndexSection(search_parameters=parameters), runtime)
        step = _IMAGES_PER_SEARCH * self.grid.patches
        parts = [
            searcher.find(self.queries[start : start + step], 1)
            for start in range(0, len(self.queries), step)
        ]
        answer.seconds = time.perf_counter() - started
        answer.distances = np.concatenate([found.distances[:, 0] for found in parts])
        answer.rows = np.concatenate([found.rows[:, 0] for found in parts])
        proven = [found.proven for found in parts if found.proven is not None]
        answer.proven = float(np.concatenate(proven).mean()) if proven else None
        return answer

    def metrics(self, distances: npt.NDArray[np.float32]) -> dict[str, float]:
        """Judge the scores that distances give."""
        from patchcore_ops.metrics import category_metrics
        from patchcore_ops.scoring import anomaly_maps, image_scores, patch_scores

        grid = self.grid
        scores = patch_scores(distances[:, None], grid.test_images, (grid.height, grid.width))
        table = self.images[["path", "label", "is_anomaly"]].assign(score=image_scores(scores))
        maps = anomaly_maps(scores, self.config.dataset.imagesize)
        result = category_metrics(table, maps, self.masks, self.has_truth, self.config.metrics)
        return {name: float(result[name]) for name in METRICS}
