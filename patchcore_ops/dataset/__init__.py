"""Image folders and image files: the manifest of a category, images and masks as arrays."""

from patchcore_ops.dataset.images import load_image
from patchcore_ops.dataset.manifest import scan_category
from patchcore_ops.dataset.masks import load_mask

__all__ = ["load_image", "load_mask", "scan_category"]
