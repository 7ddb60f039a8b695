"""The asset checks: what is checked of each asset, and how a finding is shown.

An asset evaluates its checks itself, in the step that makes it, before what it has made becomes
current. So nothing is read twice, and whatever materialises the asset (a person, the automation, a
schedule) has it checked. A check that is `blocking` and fails with severity ERROR refuses the new
version: it is kept aside, its checks are reported, the step fails, and the version before stays.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg

from patchcore_assets.step.presentation import table

if TYPE_CHECKING:
    from patchcore_ops.checks.finding import Fact, Finding

    CheckedResult: TypeAlias = dg.MaterializeResult[Any]
else:
    # Of an asset with checks, Dagster understands no annotation but the bare class.
    CheckedResult = dg.MaterializeResult


@dataclass(frozen=True)
class Check:
    """One check: its description in the UI, and whether its error stops what depends on it."""

    description: str
    blocking: bool = False


CHECKS: Mapping[str, Mapping[str, Check]] = {
    "image_manifest": {
        "train_and_test_differ": Check(
            "No image is in both train and test, by content. Blocks.", blocking=True
        ),
        "masks_match_images": Check(
            "Every mask has the size of its image; others are not used. Blocks.", blocking=True
        ),
        "train_images_differ": Check("No image is twice among the train images. Warns."),
        "test_images_differ": Check(
            "No image is twice among the test images, be it under one label or two. Warns."
        ),
        "defects_have_masks": Check(
            "Every defective image has a mask, where the category has ground truth. Warns."
        ),
        "enough_images": Check(
            "There are as many train and test images as the section `checks` asks for, and both "
            "normal and defective ones. Warns."
        ),
        "image_sizes_agree": Check("All images have one size. Warns."),
        "images_are_large_enough": Check("No image is enlarged to fill the crop. Warns."),
        "images_are_read_as_shown": Check(
            "No image has an EXIF rotation, several pictures, transparent parts or unused bits, "
            "of which a viewer makes use and the benchmark does not. Warns."
        ),
        "masks_mark_defects": Check(
            "Every mask in use marks something, in black and white, inside the crop, and not most "
            "of its image. Warns."
        ),
        "every_file_is_used": Check(
            "No file was passed over, be it no image or the mask of none. Warns."
        ),
    },
    "raw_embeddings": {
        "every_patch_has_an_embedding": Check(
            "There is one embedding per image and patch. Blocks.", blocking=True
        ),
        "embeddings_vary": Check(
            "Sampled embeddings are finite and not all the same. That all are finite is seen to "
            "while they are computed. Blocks.",
            blocking=True,
        ),
        "images_differ_as_decoded": Check(
            "No two images have the same pixels though their files differ, as after saving one in "
            "another format. Warns."
        ),
    },
    "memory_bank": {
        "bank_has_its_size": Check(
            "There are as many picks as `coreset.percentage` gives. Blocks.", blocking=True
        ),
        "picks_differ": Check("No row is picked twice. Blocks.", blocking=True),
        "features_differ": Check("No two features of the bank are equal. Warns."),
        "bank_covers_the_patches": Check(
            "The coverage radius: how far the patches are from the bank, by number of picks. Warns."
        ),
    },
    "test_predictions": {
        "one_prediction_per_image": Check(
            "Every test image has one score and one map, in the order of the embeddings. Blocks.",
            blocking=True,
        ),
        "predictions_are_finite": Check(
            "Scores and anomaly maps are finite. Blocks.", blocking=True
        ),
    },
    "category_metrics": {
        "no_marked_defect_is_lost": Check(
            "Of every marked defect something counts as one in the pixel metrics, also by the "
            "reference's rule for masks, which is set aside where it would lose the defect of an "
            "image. Warns."
        ),
        "metrics_did_not_drop": Check(
            "No metric is worse than in the materialisation before, by more than "
            "`checks.regression_tolerance` and beyond noise (paired bootstrap over the test "
            "images). Fails or warns as `checks.regression` says."
        ),
        "published_figures_are_reached": Check(
            "No metric is more than `checks.published_tolerance` below the published one, where "
            "category and configuration are the published ones. Fails or warns as "
            "`checks.published` says."
        ),
    },
    "metrics": {
        "every_category_is_there": Check("Every configured category has metrics. Warns."),
        "settings_are_those_of_now": Check(
            "All figures were made with the settings that the configuration has now. Warns."
        ),
    },
}


def specs(asset: str) -> list[dg.AssetCheckSpec]:
    """Return the checks of an asset, as `dg.asset` takes them."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=check.description, blocking=check.blocking)
        for name, check in CHECKS[asset].items()
    ]


def results(asset: str, findings: Mapping[str, Finding]) -> list[dg.AssetCheckResult]:
    """Return the results of all checks of an asset, in the order of `CHECKS`."""
    return [
        dg.AssetCheckResult(
            check_name=name,
            passed=findings[name].passed,
            severity=dg.AssetCheckSeverity.ERROR
            if findings[name].is_error
            else dg.AssetCheckSeverity.WARN,
            description=findings[name].sentence,
            metadata={key: _shown(fact) for key, fact in findings[name].facts.items()},
        )
        for name in CHECKS.get(asset, {})
    ]


def refusals(asset: str, findings: Mapping[str, Finding]) -> list[str]:
    """Return the sentences of the blocking checks that refuse an asset's new version."""
    return [
        finding.sentence
        for name, finding in findings.items()
        if CHECKS[asset][name].blocking and finding.is_error and not finding.passed
    ]


def by_category(
    asset: dg.AssetsDefinition, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """Let the checks of an asset have a result for each category.

    Without partitions of their own, the latest result of any category would stand for all.
    """
    attributes = asset.get_attributes_dict()
    with warnings.catch_warnings():
        # Dagster calls the partitions of a check a preview.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        attributes["check_specs_by_output_name"] = {
            output: spec._replace(partitions_def=partitions)
            for output, spec in attributes["check_specs_by_output_name"].items()
        }
    return dg.AssetsDefinition.dagster_internal_init(**attributes)


def _shown(fact: Fact) -> dg.MetadataValue[Any]:
    import pandas as pd

    if isinstance(fact, bool):
        return dg.MetadataValue.bool(fact)
    if isinstance(fact, int):
        return dg.MetadataValue.int(fact)
    if isinstance(fact, float):
        return dg.MetadataValue.float(fact)
    if isinstance(fact, str):
        return dg.MetadataValue.text(fact)
    if isinstance(fact, pd.DataFrame):
        return table(fact)
    return dg.MetadataValue.json(list(fact))
