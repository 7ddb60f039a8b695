"""`inspections`: what the model says of the images that arrive, by category and day."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from patchcore_assets.assets.by_category import categories
from patchcore_assets.assets.model import MODEL
from patchcore_assets.partitions import CATEGORY, DAY
from patchcore_assets.pools import CPU_HEAVY
from patchcore_assets.step.checks import Check, CheckedResult, specs
from patchcore_assets.step.one_category import ONE_CATEGORY_A_RUN
from patchcore_assets.step.presentation import picture, table
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.runtime.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from patchcore_ops.report.pictures import Picture

INSPECTIONS = "inspections"
_SHOWN_REJECTS = 50
_PICTURED, _COLUMNS, _SIDE = 4, 2, 250
_CHECKS = (
    Check(
        "rejects_are_expected",
        "No more images are rejected than the calibration lets expect of normal images, but for "
        "chance. Warns.",
    ),
    Check(
        "scores_have_not_drifted",
        "The scores of the day are distributed as those of the calibration (two-sample "
        "Kolmogorov-Smirnov test, with 20 images or more). Warns.",
    ),
    Check("every_image_was_read", "Every image could be read. Warns."),
)


def inspections(config: BenchmarkConfig) -> dg.AssetsDefinition | None:
    """Define the asset for a configuration; None if no images arrive."""
    if config.inbox is None:
        return None
    partitions = cast(
        "dg.PartitionsDefinition[str]",
        dg.MultiPartitionsDefinition(
            {
                CATEGORY: categories(config),
                # Images of today are inspected today.
                DAY: dg.DailyPartitionsDefinition(
                    config.inbox.first_day, timezone=config.schedule.timezone, end_offset=1
                ),
            }
        ),
    )

    # No automation condition: the sensor asks for days with new images, and a new model makes all
    # days stale, which are inspected again on request.
    @dg.asset(
        name=INSPECTIONS,
        deps=[
            dg.AssetDep(
                MODEL, partition_mapping=dg.MultiToSingleDimensionPartitionMapping(CATEGORY)
            )
        ],
        group_name=MODEL,
        kinds={"faiss"},
        code_version="1",
        pool=CPU_HEAVY,
        partitions_def=partitions,
        backfill_policy=ONE_CATEGORY_A_RUN,
        check_specs=specs(INSPECTIONS, _CHECKS, partitions),
    )
    def compute(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
        """Verdicts on the images of a day below `inbox.root`, by the model as it is now.

        Images that this model has judged already are not judged again.
        """
        import time
        from zoneinfo import ZoneInfo

        from patchcore_ops.checks import inspections as checks
        from patchcore_ops.inspection import day
        from patchcore_ops.inspection.arrivals import by_day
        from patchcore_ops.inspection.inbox import open_inbox
        from patchcore_ops.model.folder import read_model
        from patchcore_ops.model.predictor import Model

        with benchmark.work(context) as work:
            arriving = work.config.inbox
            if arriving is None:
                raise ConfigError(
                    f"{work.config.path}: names no inbox.root any more; put it back, or reload "
                    "the definitions"
                )
            folder = work.read(MODEL)
            description = read_model(folder, verify=False)  # The store has done that.
            inbox, now = open_inbox(arriving.root), time.time()
            zone = ZoneInfo(work.config.schedule.timezone)
            there = by_day(inbox.arrivals(work.category), zone).get(work.day, [])
            settled = [one for one in there if one.is_settled(arriving.settled_seconds, now)]
            found = day.inspect_day(
                description,
                lambda: Model.load(folder, work.runtime),
                inbox,
                settled,
                work.output,
                work.earlier(),
                work.share,
                work.progress("images inspected"),
            )
            judged = day.judged_by(found.table, description)
            calibration = description.calibration
            figures = found.figures
            return work.finish(
                {
                    "images": figures.images,
                    "rejects": _shown(figures.rejects),
                    "unreadable": figures.unreadable,
                    "median_p_value": _shown(figures.median_p_value),
                    "scored_now": found.scored,
                    "still_arriving": len(there) - len(settled) + found.left,
                    "model_version": day.version_of(description),
                    "rejected": table(_rejects(found.table)),
                    **_pictures(found.table, work.output),
                },
                findings={
                    "rejects_are_expected": checks.rejects_are_expected(judged, calibration),
                    "scores_have_not_drifted": checks.scores_have_not_drifted(judged, calibration),
                    "every_image_was_read": checks.every_image_was_read(found.table),
                },
            )

    return compute


def _shown(figure: float | None) -> float | dg.MetadataValue[Any]:
    return dg.MetadataValue.null() if figure is None else figure


def _rejects(images: "pd.DataFrame") -> "pd.DataFrame":
    rejects = images[images["is_anomaly"].fillna(False)]
    shown = rejects.sort_values("score", ascending=False).head(_SHOWN_REJECTS)
    return shown[["path", "score", "p_value", "arrived"]]


def _pictures(images: "pd.DataFrame", folder: Path) -> dict[str, dg.MarkdownMetadataValue]:
    """Show the heat maps of the most anomalous images."""
    import numpy as np
    from PIL import Image

    from patchcore_ops.report.charts.svg import score_text
    from patchcore_ops.report.pictures import captioned, contact_sheet

    drawn = images[images["heat_map"].notna()].sort_values("score", ascending=False)

    def tile(name: str, caption: str) -> "Picture":
        with Image.open(folder / name) as image:
            image.thumbnail((_SIDE, _SIDE - 22))
            return captioned(np.asarray(image.convert("RGB")), caption)

    tiles = [
        tile(str(row["heat_map"]), f"{row['path'][-24:]}  {score_text(row['score'])}")
        for row in drawn.head(_PICTURED).to_dict("records")
    ]
    if not tiles:
        return {}
    return {"most_anomalous": picture(contact_sheet(tiles, _COLUMNS, _SIDE), "most anomalous")}
