"""Pretrained networks: by name, with their weights, and the feature maps of chosen layers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchcore_ops.backbones.load import load_backbone, normalisation_of

__all__ = ["load_backbone", "normalisation_of"]


def __getattr__(name: str) -> Any:
    # Only who asks for them waits for torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from patchcore_ops.backbones import load

    return getattr(load, name)
