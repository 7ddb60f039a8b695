"""PatchCore on arrays and tables: everything that computes, usable without Dagster.

A folder is a room. The order of the rooms is that of the method: `config` and `dataset` say what is
there, `backbones` and `embedding` make patch embeddings, `coreset` the memory bank, `scoring`
searches it, `calibration` tells normal scores from others, `model` keeps all that for use,
`metrics` and `report` judge and show. `stages` has one module for each asset, from files to files,
`checks` looks at what a stage has made, and `estimator` runs the stages without files of one's own.
All of them stand on `runtime`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchcore_ops.estimator import PatchCore
    from patchcore_ops.model import Model

__all__ = ["Model", "PatchCore"]


def __getattr__(name: str) -> Any:
    # Only who asks for it waits for its libraries.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "PatchCore":
        from patchcore_ops.estimator import PatchCore

        return PatchCore
    from patchcore_ops.model import Model

    return Model
