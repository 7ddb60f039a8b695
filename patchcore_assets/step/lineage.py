"""What an artefact was made from, by the sidecars of the artefacts that were read.

Artefacts that are read together must go back to one version of each common ancestor. A data version
stands for content and history, so versions are compared by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import dagster as dg

from patchcore_assets.inputs.recording import DATA_VERSION, INPUT_DATA_VERSION
from patchcore_assets.storage import Artefact, command
from patchcore_assets.storage.artefact import of
from patchcore_ops.runtime.errors import StaleArtefact

# Of many categories only this is inherited; what else is known stands in their own sidecars.
_OVER_CATEGORIES = (".data_version", ".weights_sha256_")
_DATA_VERSION = "data_version"
# Only computed artefacts have it. An input's version is that of a whole folder or section, of which
# an artefact holds the part that matters.
_MADE = "made"


class _Ancestor(NamedTuple):
    """An artefact that another goes back to, or the artefact itself."""

    asset: str
    category: str | None
    version: str
    made: str


class MixedVersions(StaleArtefact):
    """Artefacts that are used together go back to different versions of an ancestor."""


class Ancestry:
    """The ancestors of the artefacts read so far, each in one version."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], tuple[_Ancestor, Artefact]] = {}

    def add(self, artefact: Artefact) -> None:
        """Take an artefact in, or raise MixedVersions, which says what to materialise."""
        ancestors = list(_ancestors(artefact))
        mixtures = [
            _mixture(*before, one, artefact)
            for one in ancestors
            if (before := self._known.get((one.asset, one.category))) is not None
            and before[0].version != one.version
        ]
        if mixtures:
            # The nearest ancestor in which they differ leaves the least to make again.
            raise min(mixtures, key=lambda mixture: mixture[0])[1]
        for one in ancestors:
            self._known.setdefault((one.asset, one.category), (one, artefact))


def _mixture(
    first: _Ancestor, through_first: Artefact, second: _Ancestor, through_second: Artefact
) -> tuple[int, MixedVersions]:
    """Return how many assets to make again where two versions meet, and the error that says so."""
    old, behind, new, ahead = first, through_first, second, through_second
    if first.made > second.made:
        old, behind, new, ahead = second, through_second, first, through_first
    # What goes back to nothing but this has to be made again itself.
    is_itself = (behind.asset, behind.category) == (old.asset, old.category)
    again = [behind.asset] if is_itself else _between(old, behind)
    return len(again), MixedVersions(
        f"{behind.asset}{of(behind.category)} goes back to {old.asset}{of(old.category)} of "
        f"{_when(old)}, and {ahead.asset}{of(ahead.category)} to that of {_when(new)}, so they do "
        f"not belong together; materialise {' and '.join(again)} again: "
        f"{command(','.join(again), behind.category)}"
    )


def _between(old: _Ancestor, behind: Artefact) -> list[str]:
    """List, in order, the assets made from an ancestor, up to the artefact's own."""
    parents = {
        key.partition(".")[0]: [place.partition(".")[0] for place in value.split(", ")]
        for key, value in behind.lineage.items()
        if key.endswith(".made_from")
    }
    found = [old.asset]
    for _ in parents:
        found.extend(
            asset
            for asset, sources in parents.items()
            if asset not in found and any(source in found for source in sources)
        )
    return found[1:] or [behind.asset]


def _ancestors(artefact: Artefact) -> Iterator[_Ancestor]:
    lineage = artefact.lineage
    for key, version in lineage.items():
        asset, *middle, what = key.split(".")
        made = lineage.get(key.removesuffix(_DATA_VERSION) + _MADE)
        if what == _DATA_VERSION and made is not None:
            yield _Ancestor(asset, ".".join(middle) or artefact.category, version, made)


def _when(one: _Ancestor) -> str:
    return f"{one.made} (version {one.version})"


def made_anew_since(instance: dg.DagsterInstance, artefact: Artefact) -> list[str]:
    """Name the artefacts that one was made from and that have another version now."""
    found = []
    for place, version in artefact.made_from.items():
        asset, _, category = place.partition(".")
        wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), [category] if category else None)
        for record in instance.fetch_materializations(wanted, limit=1).records:
            event = record.asset_materialization
            if event is not None and (event.tags or {}).get(DATA_VERSION) != version:
                found.append(asset)
    return found


def lineage_of(
    read: Sequence[Artefact], category: str | None, tags: Mapping[str, str]
) -> dict[str, str]:
    """Return the lineage of what is made for a category, or for all.

    It merges the inputs' tags and the lineages read. What is known of an asset comes from one of
    them, from the artefact itself if it was read: equal versions may have been made in two ways.
    """
    if category is None:
        return lineage_over_categories(read)
    inputs = {
        f"{tag.removeprefix(INPUT_DATA_VERSION)}.data_version": version
        for tag, version in tags.items()
        if tag.startswith(INPUT_DATA_VERSION)
    }
    lineages = {artefact.asset: by_asset(artefact.lineage) for artefact in read}
    known = {asset: entries for lineage in lineages.values() for asset, entries in lineage.items()}
    known.update({asset: lineage[asset] for asset, lineage in lineages.items()})
    inherited = {
        f"{asset}.{what}": value
        for asset, entries in known.items()
        for what, value in entries.items()
    }
    return {**inherited, **inputs}


def lineage_over_categories(read: Sequence[Artefact]) -> dict[str, str]:
    """Return versions and weights by `<asset>.<category>.<what>`."""
    lineage = {}
    for artefact in read:
        made = f"{artefact.asset}.{_MADE}"
        for key, value in artefact.lineage.items():
            asset, _, what = key.partition(".")
            if artefact.category is None:
                if asset == artefact.asset and what in (_DATA_VERSION, _MADE):
                    lineage[key] = value
            elif key == made or any(part in key for part in _OVER_CATEGORIES):
                lineage[f"{asset}.{artefact.category}.{what}"] = value
    return lineage


def code_versions(lineage: Mapping[str, str]) -> dict[str, str]:
    """Return the version of the code of each asset that an artefact goes back to."""
    ending = ".code_version"
    return {
        key.removesuffix(ending): version
        for key, version in lineage.items()
        if key.endswith(ending)
    }


def by_asset(provenance: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Group a sidecar's provenance for display: its own entries, then those of each asset."""
    grouped: dict[str, dict[str, str]] = {}
    for key, value in provenance.items():
        asset, dot, what = key.partition(".")
        grouped.setdefault(asset if dot else "this artefact", {})[what if dot else key] = value
    return grouped
