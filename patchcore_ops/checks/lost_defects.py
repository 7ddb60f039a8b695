"""Check that pixel metrics count every marked defect as anomalous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchcore_ops.checks.finding import Finding, counted, such_as


def no_marked_defect_is_lost(metrics: Mapping[str, Any]) -> Finding:
    """Check that resize, crop and the reference's mask rule leave a part of every defect."""
    lost = metrics["lost_defects"]
    unmarked, without_white = lost["unmarked"], lost["without_white"]
    in_regions = list(lost["missed_regions"])
    regions = sum(lost["missed_regions"].values())
    sentences = []
    if unmarked:
        sentences.append(
            f"Of {counted(len(unmarked), 'defective image')} the mask marks nothing from "
            f"metrics.mask_threshold on after resize and crop ({such_as(unmarked)}), so that it "
            "counts as sound in every pixel metric; draw the defect in white and inside the crop, "
            "raise dataset.resize, or remove the mask."
        )
    if without_white:
        sentences.append(
            f"Of {counted(len(without_white), 'defective image')} the mask has no fully white "
            f"pixel after resize and crop ({such_as(without_white)}), so that "
            "metrics.reference_masks would count the whole defect as sound: full_pixel_auroc and "
            "anomaly_pixel_auroc are judged by metrics.mask_threshold here and are not comparable "
            "with published figures; set metrics.reference_masks to false to judge every category "
            "so."
        )
    if regions:
        sentences.append(
            f"{counted(regions, 'marked region')} in {counted(len(in_regions), 'image')} "
            f"({such_as(in_regions)}) {'has' if regions == 1 else 'have'} no fully white pixel "
            "after resize and crop and, by metrics.reference_masks, "
            f"{'counts' if regions == 1 else 'count'} as sound in full_pixel_auroc and "
            "anomaly_pixel_auroc; set that to false to count them."
        )
    return Finding.of(
        not sentences,
        "Something of every marked defect counts as one in every pixel metric."
        if metrics["masked_images"]
        else "There are no masks.",
        " ".join(sentences),
        {
            "reference_masks_applied": bool(metrics["reference_masks_applied"]),
            "unmarked": len(unmarked),
            "without_white_pixel": len(without_white),
            "regions_without_white_pixel": regions,
        },
        [*unmarked, *without_white, *in_regions],
        is_error=False,
    )
