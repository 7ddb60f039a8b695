"""A trained category as a folder that stands alone: written, read, and applied to new images."""

from patchcore_ops.dataset.image_formats import EncodedImage
from patchcore_ops.model.description import ModelDescription, ModelError
from patchcore_ops.model.folder import read_model, write_model
from patchcore_ops.model.prediction import Prediction, Unreadable
from patchcore_ops.model.predictor import Model
from patchcore_ops.model.regions import Region

__all__ = [
    "EncodedImage",
    "Model",
    "ModelDescription",
    "ModelError",
    "Prediction",
    "Region",
    "Unreadable",
    "read_model",
    "write_model",
]
