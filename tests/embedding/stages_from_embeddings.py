"""Run by a test in a process of its own: every stage of a category from its embeddings on.

Writes `result.json` with the stages that ran and the modules that they imported.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path


def main(root: str, folder: str, sampler: str, device: str) -> None:
    """Run the stages on `<folder>/embeddings`."""
    from patchcore_ops.checks import bank as bank_checks
    from patchcore_ops.checks import embeddings as embedding_checks
    from patchcore_ops.checks import predictions as prediction_checks
    from patchcore_ops.checks import regression
    from patchcore_ops.config.sections import (
        CategoryConfig,
        CoresetSection,
        DatasetSection,
        EmbeddingMember,
        EmbeddingSection,
        RuntimeSection,
    )
    from patchcore_ops.report.contents import BenchmarkReport
    from patchcore_ops.report.render import render_report
    from patchcore_ops.runtime import devices
    from patchcore_ops.stages.benchmark_report import category_report
    from patchcore_ops.stages.category_metrics import evaluate
    from patchcore_ops.stages.faiss_index import index_memory_bank
    from patchcore_ops.stages.layout import read_images, read_scores, test_rows
    from patchcore_ops.stages.memory_bank import select_memory_bank
    from patchcore_ops.stages.metrics import tabulate
    from patchcore_ops.stages.predictions import predict
    from patchcore_ops.stages.raw_embeddings import Grid

    # A machine with a GPU would rightly ask torch for it.
    devices._DRIVER_FILES = ()
    base, dataset, category = Path(folder), Path(root), "fabric_a"
    embeddings, bank, index, predictions, metrics = (
        base / name for name in ("embeddings", "bank", "index", "predictions", "metrics")
    )
    config = CategoryConfig(
        dataset=DatasetSection(root=root, resize=36, imagesize=32),
        embedding=EmbeddingSection(members=[EmbeddingMember(backbone="any", layers=["any"])]),
        coreset=CoresetSection(sampler=sampler, percentage=0.2, projection_dimension=16),
    )
    runtime = RuntimeSection(device=device, num_workers=0)
    stages = []
    select_memory_bank(embeddings, config, runtime, bank)
    stages.append("select")
    index_memory_bank(bank, config, index)
    stages.append("index")
    predict(embeddings, index, config, runtime, predictions)
    stages.append("predict")
    found = evaluate(category, dataset, predictions, config, runtime, metrics)
    summary = tabulate({category: found}, metrics)
    stages.append("evaluate")
    section = category_report(category, dataset, predictions, found, config, {}, {})
    report = BenchmarkReport(
        "tiny", datetime.now(UTC), summary, published=None, missing=[], categories=[section]
    )
    assert "fabric_a" in render_report(report)
    stages.append("summarise")
    grid, images = Grid.read(embeddings / "0"), read_images(embeddings)
    banks = bank_checks.read_banks(embeddings, bank, config)
    judged = regression.keep_for_comparison(found, predictions, config.metrics, metrics)
    for finding in (
        embedding_checks.every_patch_has_an_embedding(
            embeddings, [grid], grid.train_images, grid.test_images
        ),
        embedding_checks.embeddings_vary(embeddings, [grid]),
        bank_checks.bank_has_its_size(banks, config.coreset),
        bank_checks.picks_differ(banks),
        bank_checks.features_differ(banks),
        bank_checks.bank_covers_the_patches(banks),
        prediction_checks.one_prediction_per_image(
            test_rows(images), read_scores(predictions), predictions, config.dataset.crop_size
        ),
        prediction_checks.predictions_are_finite(read_scores(predictions), predictions),
        regression.metrics_did_not_drop(judged, judged, config.checks),
    ):
        assert finding.passed, finding
    stages.append("checks")
    result = {"stages": stages, "modules": sorted(sys.modules)}
    (base / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
