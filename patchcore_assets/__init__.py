"""The PatchCore benchmark as Dagster assets; `dagster ... -m patchcore_assets` loads it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchcore_assets.definitions import defs

__all__ = ["defs"]


def __getattr__(name: str) -> Any:
    # The commands that need no Dagster do not wait for it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from patchcore_assets import definitions

    return getattr(definitions, name)


def __dir__() -> list[str]:
    # Where Dagster looks for definitions.
    return __all__
