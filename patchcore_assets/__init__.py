"""The PatchCore benchmark as Dagster assets; `dagster ... -m patchcore_assets` loads it."""

from patchcore_assets.definitions import defs

__all__ = ["defs"]
