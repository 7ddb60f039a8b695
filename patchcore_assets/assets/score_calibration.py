"""`score_calibration`: what normal looks like in scores, and where anomalies begin."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from patchcore_assets.assets.by_category import by_category, categories
from patchcore_assets.assets.faiss_index import FAISS_INDEX
from patchcore_assets.assets.memory_bank import MEMORY_BANK
from patchcore_assets.assets.raw_embeddings import RAW_EMBEDDINGS
from patchcore_assets.assets.test_predictions import TEST_PREDICTIONS
from patchcore_assets.inputs.versions import CALIBRATION_CONFIG
from patchcore_assets.pools import CPU_HEAVY, GPU
from patchcore_assets.step.checks import Check, CheckedResult, specs
from patchcore_assets.step.earlier import INCOMPLETE
from patchcore_assets.step.presentation import charts, number, picture
from patchcore_assets.step.resource import Benchmark
from patchcore_assets.step.work import Work
from patchcore_ops.config import BenchmarkConfig

if TYPE_CHECKING:
    import pandas as pd

SCORE_CALIBRATION = "score_calibration"
_CHECKS = (
    Check(
        "false_positives_are_as_asked",
        "The share of good test images above the threshold agrees with "
        "`calibration.false_positive_rate` (binomial interval at `checks.confidence`). Warns.",
    ),
    Check(
        "enough_normal_images",
        "So many normal images were scored that they guarantee "
        "`calibration.false_positive_rate`. Warns.",
    ),
    Check(
        "suspicious_train_images",
        "No train image has a score far above those of the others (3.5 deviations), "
        "as a defective one among them would. Warns.",
    ),
)


def score_calibration(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""

    @dg.asset(
        name=SCORE_CALIBRATION,
        deps=[RAW_EMBEDDINGS, MEMORY_BANK, FAISS_INDEX, TEST_PREDICTIONS, CALIBRATION_CONFIG],
        group_name="model",
        kinds={"faiss", "scikitlearn"},
        code_version="3",
        pool=GPU if config.runtime.faiss_on_gpu else CPU_HEAVY,
        check_specs=specs(SCORE_CALIBRATION, _CHECKS, categories(config)),
        **by_category(config),
    )
    def compute(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
        """Thresholds from scores of train images, each against the bank without its own patches.

        At most `calibration.false_positive_rate` of new normal images exceed them. No defect is
        needed for that; test images only show how the threshold does, and give probabilities.
        """
        from patchcore_ops.checks import calibration as checks
        from patchcore_ops.report.charts.calibration import calibration_chart
        from patchcore_ops.stages.score_calibration import calibrate, read_calibrated

        with benchmark.work(context) as work:
            embeddings, bank = work.read(RAW_EMBEDDINGS), work.read(MEMORY_BANK)
            indices, predictions = work.read(FAISS_INDEX), work.read(TEST_PREDICTIONS)
            made, normal, test, is_complete = (
                read_calibrated(work.output, predictions)
                if work.takes_over()
                else calibrate(
                    embeddings,
                    bank,
                    indices,
                    predictions,
                    work.settings,
                    work.runtime,
                    work.output,
                    work.progress("normal images scored"),
                    work.config.dataset_root,
                    work.hash_of,
                )
            )
            figures = made.test
            scores, is_anomaly = test["score"].to_numpy(), test["is_anomaly"].to_numpy(dtype=bool)
            drawn = calibration_chart(
                normal["score"].to_numpy(),
                scores[~is_anomaly],
                scores[is_anomaly],
                made.image_threshold,
            )
            return work.finish(
                {
                    "normal_images": len(normal),
                    "false_positive_rate": made.false_positive_rate,
                    "guaranteed_rate": number(made.guaranteed_rate),
                    "image_threshold": number(made.image_threshold),
                    "pixel_threshold": number(made.pixel_threshold),
                    "scores": charts({"Scores of normal and of test images": drawn}),
                    **_suspects(work, normal),
                    **(
                        {
                            "good_test_images": figures.good_images,
                            "false_positives": figures.false_positives,
                            "recall": number(figures.recall),
                            "f1": number(figures.f1),
                            "segmentation_f1": number(figures.segmentation_f1),
                            "best_f1_chosen_on_test_images": dg.MetadataValue.json(
                                {
                                    "threshold": figures.f1_threshold,
                                    "false_positives": figures.f1_false_positives,
                                    "recall": figures.f1_recall,
                                }
                            ),
                        }
                        if figures
                        else {}
                    ),
                },
                findings={
                    "false_positives_are_as_asked": checks.false_positives_are_as_asked(
                        made, work.settings.checks.confidence
                    ),
                    "enough_normal_images": checks.enough_normal_images(made),
                    "suspicious_train_images": checks.suspicious_train_images(normal),
                },
                provenance={} if is_complete else {INCOMPLETE: "without masks of test images"},
                device="cuda" if work.runtime.faiss_on_gpu else "cpu",
            )

    return compute


def _suspects(work: Work, normal: "pd.DataFrame") -> dict[str, dg.MetadataValue[Any]]:
    """Show the train images with the greatest scores, if any is suspicious."""
    from patchcore_ops.calibration import suspects
    from patchcore_ops.stages.illustrations import SHEET_IMAGES, images_sheet

    paths = normal["path"].to_numpy()[suspects(normal["score"])][:SHEET_IMAGES].tolist()
    if not paths:
        return {}
    sheet = images_sheet(paths, work.config.dataset_root, work.settings.dataset.max_pixels)
    return {"suspicious_pictures": picture(sheet, "Train images with the greatest scores")}
