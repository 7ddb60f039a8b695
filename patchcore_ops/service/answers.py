"""What clients are answered, as JSON."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from patchcore_ops.dataset.image_formats import printable
from patchcore_ops.model import ModelDescription, Prediction, Region, Unreadable


class _Answer(BaseModel):
    # `model_version` is what it is called everywhere.
    model_config = ConfigDict(protected_namespaces=())


class RegionAnswer(_Answer):
    """A connected part of the anomaly map above the pixel threshold, in the image's pixels."""

    box: tuple[int, int, int, int] = Field(description="left, top, right, bottom")
    area: float = Field(description="in pixels of the image")
    peak: float = Field(description="the greatest value of the map in it")
    peak_at: tuple[int, int] = Field(description="x, y of that value")

    @staticmethod
    def of(region: Region) -> RegionAnswer:
        """Convert a region."""
        return RegionAnswer(**region._asdict())


class PredictionAnswer(_Answer):
    """What a model says of an image."""

    name: str = Field(description="the uploaded file's name, or that of the query")
    category: str
    model_version: str = Field(description="the checksum of the model's description")
    score: float
    p_value: float | None = Field(
        description="how likely a normal image has such a score or a greater one; null, as the "
        "following, if the model is not calibrated"
    )
    is_anomaly: bool | None = Field(description="whether the score exceeds the image threshold")
    probability: float | None = Field(
        description="of a defect; null also without labelled test images"
    )
    image_size: tuple[int, int] = Field(description="width, height")
    inspected: tuple[int, int, int, int] = Field(
        description="the box of the image that the network saw"
    )
    regions: list[RegionAnswer]
    heat_map: str | None = Field(
        None, description="PNG in base64, lies exactly over the image; only if asked for"
    )

    @staticmethod
    def of(prediction: Prediction, described: ModelDescription, category: str) -> PredictionAnswer:
        """Convert a prediction."""
        crop = prediction.crop
        return PredictionAnswer(
            name=printable(prediction.name),
            category=category,
            model_version=described.sha256,
            score=prediction.score,
            p_value=prediction.p_value,
            is_anomaly=prediction.is_anomaly,
            probability=prediction.probability,
            image_size=(crop.width, crop.height),
            inspected=crop.box_in_image(*crop.inside),
            regions=[RegionAnswer.of(region) for region in prediction.regions],
        )

    def with_heat_map(self, png: bytes) -> PredictionAnswer:
        """Add the picture."""
        return self.model_copy(update={"heat_map": base64.b64encode(png).decode("ascii")})


class UnreadableAnswer(_Answer):
    """An image that cannot be used."""

    name: str
    detail: str = Field(description="why, in one sentence")

    @staticmethod
    def of(unreadable: Unreadable) -> UnreadableAnswer:
        """Convert what a model says of such an image."""
        return UnreadableAnswer(name=printable(unreadable.name), detail=unreadable.reason)


class PredictionsAnswer(_Answer):
    """What a model says of several images, in the order in which they were sent."""

    predictions: list[PredictionAnswer | UnreadableAnswer]


class Problem(_Answer):
    """Why there is no other answer."""

    detail: str


class ModelAnswer(_Answer):
    """A model that is served."""

    category: str
    version: str
    image_threshold: float | None
    pixel_threshold: float | None
    false_positive_rate: float | None = Field(description="that the thresholds were made for")
    guaranteed_rate: float | None = Field(
        description="that so many normal images guarantee; larger where they are too few"
    )
    normal_images: int = Field(description="whose scores the thresholds rest upon")
    image_size: int | tuple[int, int] = Field(
        description="what the network sees, in pixels: the side of a square, or height, width"
    )
    max_pixels: int = Field(description="of an image")

    @staticmethod
    def of(category: str, described: ModelDescription) -> ModelAnswer:
        """Convert the model's description."""
        return ModelAnswer(**_described(category, described))


class ModelDetails(ModelAnswer):
    """A model, with the scores of normal images."""

    normal_scores: list[float] = Field(description="ascending")

    @staticmethod
    def of(category: str, described: ModelDescription) -> ModelDetails:
        """Convert the model's description."""
        calibration = described.calibration
        scores = [] if calibration is None else list(calibration.normal_scores)
        return ModelDetails(**_described(category, described), normal_scores=scores)


class ModelsAnswer(_Answer):
    """Every model that is served."""

    models: list[ModelAnswer]


class HealthAnswer(_Answer):
    """How the service is."""

    status: str


def _described(category: str, described: ModelDescription) -> dict[str, Any]:
    found = described.calibration
    return {
        "category": category,
        "version": described.sha256,
        "image_threshold": None if found is None else found.image_threshold,
        "pixel_threshold": None if found is None else found.pixel_threshold,
        "false_positive_rate": None if found is None else found.false_positive_rate,
        "guaranteed_rate": None if found is None else found.guaranteed_rate,
        "normal_images": 0 if found is None else len(found.normal_scores),
        "image_size": described.preprocessing.imagesize,
        "max_pixels": described.preprocessing.max_pixels,
    }
