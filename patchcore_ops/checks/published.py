"""Check of a category's metrics against the published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from patchcore_ops.backbones.names import REFERENCE_NAMES
from patchcore_ops.checks.finding import Fact, Finding
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.metrics.category import JUDGED_BY_REFERENCE_MASKS
from patchcore_ops.metrics.published import published_baseline


def published_figures_are_reached(
    category: str, metrics: Mapping[str, Any], config: CategoryConfig
) -> Finding:
    """Check that no metric is lower than published, if the configuration is the published one.

    Pixel AUROCs without the reference's rule for masks are not comparable and are left out.
    """
    table = published_baseline().set_index("category")
    differing = differs_from_published(config)
    if category not in table.index:
        return Finding(True, f"Not applicable: nothing is published about '{category}'.")
    if differing:
        return Finding(
            True,
            "Not applicable: the published figures are of another configuration "
            f"({', '.join(differing)}).",
        )
    tolerance = config.checks.published_tolerance
    incomparable = () if metrics["reference_masks_applied"] else JUDGED_BY_REFERENCE_MASKS
    compared = pd.DataFrame(
        {"metric": name, "published": float(table[name][category]), "here": float(metrics[name])}
        for name in table.columns
        if not math.isnan(metrics[name]) and name not in incomparable
    )
    if compared.empty:
        return Finding(True, "Not applicable: the metrics are undefined, see `undefined`.")
    compared["difference"] = compared["here"] - compared["published"]
    worst = compared.sort_values("difference").iloc[0]
    facts: dict[str, Fact] = {"compared": compared, "tolerance": tolerance}
    if worst["difference"] >= -tolerance:
        sentence = f"No metric is more than {tolerance:g} below the published one."
        return Finding(True, sentence, facts=facts)
    sentence = (
        f"{worst['metric']} is {worst['here']:.4f}, {-worst['difference']:.4f} below the published "
        f"{worst['published']:.4f} (checks.published_tolerance is {tolerance:g}); check that "
        f"'{category}' is MVTec AD's, complete, and that the weights are the published ones."
    )
    verdict = config.checks.published
    return Finding(verdict == "ignore", sentence, is_error=verdict == "fail", facts=facts)


def differs_from_published(config: CategoryConfig) -> list[str]:
    """Name the keys that differ from the published run's: the defaults, but for exact equivalents.

    Seeds and exact searches do not count, nor does what changes thresholds only.
    """
    published = _comparable(CategoryConfig())
    return [key for key, value in _comparable(config).items() if value != published[key]]


def _comparable(config: CategoryConfig) -> dict[str, Any]:
    content = config.model_dump()
    content.pop("checks")
    content.pop("calibration")
    # It is left out where it is the default.
    content["dataset"]["fit"] = config.dataset.fit
    content["coreset"].pop("seed")
    content["index"].pop("search_parameters")
    for member in content["embedding"]["members"]:
        member["backbone"] = REFERENCE_NAMES.get(member["backbone"], member["backbone"])
    return {
        f"{section}.{key}": value
        for section, keys in content.items()
        for key, value in keys.items()
    }
