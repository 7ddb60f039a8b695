"""PatchCore on arrays and tables: everything that computes, usable without Dagster.

A folder is a room. The order of the rooms is that of the method: `config` and `dataset` say what is
there, `backbones` and `embedding` make patch embeddings, `coreset` the memory bank, `scoring`
searches it, `model` keeps all that for use, `metrics` and `report` judge and show. `stages` has one
module for each asset, from files to files, and `checks` looks at what a stage has made. All of them
stand on `runtime`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchcore_ops.model import Model

__all__ = ["Model"]


def __getattr__(name: str) -> Any:
    # Only who asks for it waits for its libraries.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from patchcore_ops import model

    return getattr(model, name)
