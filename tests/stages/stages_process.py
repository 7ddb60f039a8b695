"""Run by tests in a process of its own: the stages of one category, with threads and batches.

Writes every file of the stages below a folder, and `result.json` with the metrics.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(root: str, category: str, folder: str, threads: str, batch_size: str) -> None:
    """Embed, select 1 %, index, predict and evaluate."""
    import torch

    from patchcore_ops.config.sections import (
        CategoryConfig,
        CoresetSection,
        EmbeddingMember,
        EmbeddingSection,
        RuntimeSection,
    )
    from patchcore_ops.dataset import scan_category
    from patchcore_ops.metrics.category import METRICS
    from patchcore_ops.stages.category_metrics import evaluate
    from patchcore_ops.stages.memory_bank import index_memory_bank, select_memory_bank
    from patchcore_ops.stages.predictions import predict
    from patchcore_ops.stages.raw_embeddings import embed_images

    torch.set_num_threads(int(threads))
    runtime = RuntimeSection(
        device="cpu", batch_size=int(batch_size), num_workers=1, faiss_num_workers=int(threads)
    )
    member = EmbeddingMember(backbone="efficientnet_lite0", layers=["blocks.2", "blocks.4"])
    config = CategoryConfig(
        embedding=EmbeddingSection(members=[member]), coreset=CoresetSection(percentage=0.01)
    )
    dataset, base = Path(root), Path(folder)
    embeddings, bank, index, predictions = (
        base / name for name in ("embeddings", "bank", "index", "predictions")
    )
    images = scan_category(dataset, category).images
    embed_images(images, dataset, config, runtime, embeddings)
    select_memory_bank(embeddings, config, runtime, bank)
    index_memory_bank(bank, config, index)
    predict(embeddings, index, config, runtime, predictions)
    found = evaluate(category, dataset, predictions, config, runtime, base / "metrics")
    metrics = {name: found[name] for name in METRICS}
    (base / "result.json").write_text(json.dumps(metrics), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
