"""The version that a step replaces, for what may still be good of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from patchcore_assets.storage import Artefact, ArtefactStore, DamagedArtefact, MissingArtefact
from patchcore_ops.config.recorded_settings import SETTINGS, Recorded, settings_content

# Says in an artefact's provenance what it has been computed without.
INCOMPLETE = "incomplete"
Suits = Callable[[Artefact], bool]
# What numbers may depend on, besides images, settings and, for some, the number of threads.
_CONDITIONS = ("code_version", "packages", "device", "cpu", "instructions")
# With these too, what is read and the settings, a result has nothing left to depend on.
_FURTHER_CONDITIONS = ("source", "python", "threads", "runtime")


def is_alike(artefact: Artefact, provenance: Mapping[str, str]) -> bool:
    """Tell whether an artefact was computed by the code, packages and processor of now."""
    return all(artefact.provenance.get(key) == provenance[key] for key in _CONDITIONS)


def is_same(
    artefact: Artefact,
    provenance: Mapping[str, str],
    read: Sequence[Artefact],
    settings: Recorded,
) -> bool:
    """Tell whether computing an artefact that is alike again would give its files again."""
    return (
        INCOMPLETE not in artefact.provenance
        and all(artefact.provenance.get(key) == provenance[key] for key in _FURTHER_CONDITIONS)
        and artefact.made_from == {one.place: one.data_version for one in read}
        and has_settings(artefact, settings)
    )


def has_settings(artefact: Artefact, settings: Recorded) -> bool:
    """Tell whether an artefact records just these settings, by its sidecar."""
    digest = hashlib.sha256(settings_content(settings)).hexdigest()
    return artefact.files.get(SETTINGS, (0, ""))[1] == digest


def open_earlier(
    store: ArtefactStore,
    asset: str,
    category: str | None,
    suits: Suits | None,
    warn: Callable[[str], None],
    reading: ExitStack,
) -> Artefact | None:
    """Open the current version of an artefact; None if there is none that suits and is undamaged.

    `suits` looks at the sidecar, before any file is read or brought here.
    """
    try:
        if suits is not None:
            with store.open(asset, category, only=()) as sidecar:
                if not suits(sidecar):
                    return None
        artefact = reading.enter_context(store.open(asset, category))
    except MissingArtefact:
        return None
    except DamagedArtefact as damage:
        warn(f"the version before is not taken into account: {damage}")
        return None
    # Another run may have been quicker.
    return artefact if suits is None or suits(artefact) else None
