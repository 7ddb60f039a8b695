"""The settings that artefacts record: the sections that they, or what they read, depend on."""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg

from patchcore_assets.inputs.versions import INPUTS
from patchcore_assets.storage import Artefact, command
from patchcore_ops.config.recorded_settings import Recorded, read_settings
from patchcore_ops.runtime.errors import StaleArtefact

SECTIONS = tuple(section for one in INPUTS for section in one.sections)


def sections_of(inputs: Collection[dg.AssetKey]) -> list[str]:
    """Return the sections of the configuration that some inputs stand for."""
    return [section for one in INPUTS if one.key in inputs for section in one.sections]


def settings_of(artefact: Artefact) -> Recorded:
    """Return the settings that an artefact was made with, or refuse one without its record."""
    settings = read_settings(artefact.folder)
    if settings is None and _depends_on_settings(artefact):
        raise StaleArtefact(
            f"{artefact.asset} of '{artefact.category}' was made by an earlier release, which did "
            "not record its settings; materialise it again: "
            f"{command(artefact.asset, artefact.category)}"
        )
    return settings or {}


def _depends_on_settings(artefact: Artefact) -> bool:
    return any(
        f"{one.key.to_user_string()}.data_version" in artefact.lineage
        for one in INPUTS
        if one.sections
    )
