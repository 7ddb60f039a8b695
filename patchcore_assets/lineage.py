"""What an artefact was made from, gathered from the sidecars of the artefacts that were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from patchcore_assets.recording import INPUT_DATA_VERSION
from patchcore_assets.storage import Artefact

# Of many categories only this is inherited; what else is known stands in their own sidecars.
_OVER_CATEGORIES = (".data_version", ".weights_sha256_")


def lineage_of_category(read: Sequence[Artefact], tags: Mapping[str, str]) -> dict[str, str]:
    """Merge what the inputs and the artefacts read say.

    Parameters
    ----------
    read : sequence of Artefact
        All of one category. What one says of itself has precedence over what others say of it.
    tags : mapping of str to str
        Of the materialisation; they hold the versions of the inputs that it used.

    Returns
    -------
    dict of str to str
        `<asset>.data_version`, `<asset>.run_id` and the like.
    """
    inputs = {
        f"{tag.removeprefix(INPUT_DATA_VERSION)}.data_version": version
        for tag, version in tags.items()
        if tag.startswith(INPUT_DATA_VERSION)
    }
    inherited = {key: value for artefact in read for key, value in artefact.lineage.items()}
    direct = {
        key: value
        for artefact in read
        for key, value in artefact.lineage.items()
        if key.startswith(f"{artefact.asset}.")
    }
    return {**inherited, **direct, **inputs}


def lineage_over_categories(read: Sequence[Artefact]) -> dict[str, str]:
    """List the versions of all that the artefacts read were made from, and their weights.

    Returns
    -------
    dict of str to str
        `<asset>.<category>.data_version`; without a category where the asset has none.
    """
    lineage = {}
    for artefact in read:
        for key, value in artefact.lineage.items():
            asset, _, what = key.partition(".")
            if artefact.category is None:
                if asset == artefact.asset and what == "data_version":
                    lineage[key] = value
            elif any(part in key for part in _OVER_CATEGORIES):
                lineage[f"{asset}.{artefact.category}.{what}"] = value
    return lineage


def by_asset(provenance: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Group a sidecar's provenance for people: what it says of itself, then of each asset."""
    grouped: dict[str, dict[str, str]] = {}
    for key, value in provenance.items():
        asset, dot, what = key.partition(".")
        grouped.setdefault(asset if dot else "this artefact", {})[what if dot else key] = value
    return grouped
