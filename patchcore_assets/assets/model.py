"""`model`: what a category has learned, as a folder to copy to where images are inspected."""

from typing import Any

import dagster as dg

from patchcore_assets.assets.by_category import by_category
from patchcore_assets.assets.faiss_index import FAISS_INDEX
from patchcore_assets.assets.raw_embeddings import RAW_EMBEDDINGS
from patchcore_assets.assets.score_calibration import SCORE_CALIBRATION
from patchcore_assets.assets.test_predictions import TEST_PREDICTIONS
from patchcore_assets.pools import CPU_HEAVY
from patchcore_assets.step.presentation import number
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import BenchmarkConfig

MODEL = "model"
# Dates and runs are left out: equal models shall have equal versions.
_PROVENANCE = (".data_version", "raw_embeddings.engine_", "raw_embeddings.network_")


def model(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""

    @dg.asset(
        name=MODEL,
        deps=[RAW_EMBEDDINGS, FAISS_INDEX, TEST_PREDICTIONS, SCORE_CALIBRATION],
        group_name="model",
        kinds={"openvino", "faiss"},
        code_version="3",
        pool=CPU_HEAVY,
        **by_category(config),
    )
    def compute(
        context: dg.AssetExecutionContext, benchmark: Benchmark
    ) -> dg.MaterializeResult[Any]:
        """Networks, FAISS indices, thresholds and settings in one folder that judges new images.

        Copy it anywhere; `patchcore_ops.Model.load` reads it and needs no torch. Files are shared
        with the assets that they come from, where the file system can.
        """
        from patchcore_ops.dataset.auto_size import decided_as
        from patchcore_ops.stages.model import Sources, assemble_model, judgement_of

        with benchmark.work(context) as work:
            embeddings, indices = work.read(RAW_EMBEDDINGS), work.read(FAISS_INDEX)
            predictions = work.read(TEST_PREDICTIONS)
            lineage = work.lineage(TEST_PREDICTIONS)
            members = len(work.settings.embedding.members)
            made = assemble_model(
                work.category,
                embeddings,
                indices,
                judgement_of(
                    predictions,
                    work.read(SCORE_CALIBRATION),
                    work.config.dataset_root,
                    work.hash_of,
                    work.output,
                ),
                work.settings,
                work.recorded,
                Sources(
                    [lineage.get(f"{RAW_EMBEDDINGS}.network_{at}", "") for at in range(members)],
                    work.networks,
                    decided_as(work.config.for_category(work.category), work.settings),
                    work.runtime,
                    work.hash_of,
                ),
                {key: value for key, value in lineage.items() if _is_provenance(key)},
                work.output,
                work.share,
            )
            return work.finish(
                {
                    "members": members,
                    "runs_on": ", ".join(
                        "openvino" if one.network else "torch" for one in made.members
                    ),
                    "backbones": ", ".join(one.backbone for one in made.members),
                    "bank_rows": sum(one.bank_rows for one in made.members),
                    "files": len(made.files),
                    "ranges_of": made.scoring.ranges_of
                    or "none: the members have units, or there is one",
                    "image_threshold": number(
                        made.calibration.image_threshold if made.calibration else None
                    ),
                    "sample": "none: no test image is as it was"
                    if made.sample is None
                    else f"{made.sample.path} scores {made.sample.score:.6g}",
                    "use": f"patchcore_ops.Model.load({work.location!r}).predict(images)",
                }
            )

    return compute


def _is_provenance(key: str) -> bool:
    return any(part in key for part in _PROVENANCE)
