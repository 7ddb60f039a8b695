"""Image folders and image files: the manifest of a category, images and masks as arrays."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchcore_ops.dataset.images import load_image
    from patchcore_ops.dataset.manifest import scan_category
    from patchcore_ops.dataset.masks import load_mask

__all__ = ["load_image", "load_mask", "scan_category"]
_MODULES = {"load_image": "images", "load_mask": "masks", "scan_category": "manifest"}


def __getattr__(name: str) -> Any:
    # Only the manifest needs pandas, which takes a while to load.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
