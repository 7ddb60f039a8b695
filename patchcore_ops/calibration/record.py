"""What a calibration says, as `calibration.json` and `model.json` keep it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from patchcore_ops.calibration.conformal import conformal_threshold, guaranteed_rate, p_values


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Probability(_Part):
    """From a score to the probability of a defect, by isotonic regression over test images."""

    scores: tuple[float, ...]  # ascending
    probabilities: tuple[float, ...]  # of these; between them it is interpolated

    def of(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the probability of each score."""
        return np.asarray(np.interp(np.asarray(scores), self.scores, self.probabilities))


class TestFigures(_Part):
    """How the threshold does on labelled test images; None where there are none of a kind.

    The best F1 score's threshold is chosen with the test images' labels, so that its figures are
    too good for new images.
    """

    good_images: int
    defective_images: int
    false_positives: int  # good images above the threshold
    recall: float | None = None  # share of the defective images above it
    f1: float | None = None  # score there
    # Of the pixels above the pixel threshold, over images whose truth is known, as MVTec AD 2 asks
    # for it: masks mark from half of white on. None without masks, or where one has changed.
    segmentation_f1: float | None = None
    f1_threshold: float | None = None  # with the best F1 score; None with one kind of images only
    f1_false_positives: int | None = None
    f1_recall: float | None = None


class Calibration(_Part):
    """What normal looks like in scores; thresholds are None without normal scores."""

    false_positive_rate: float  # of normal images, asked to be above the thresholds at most
    guaranteed_rate: float | None  # by so many normal images; larger where they are too few
    image_threshold: float | None  # an image with a greater score is anomalous
    # A pixel with a greater value in the anomaly map is anomalous: at most the same share of normal
    # images has such a pixel.
    pixel_threshold: float | None
    # Ascending, each against the bank without the image's own rows.
    normal_scores: tuple[float, ...]
    probability: Probability | None = None  # None without labelled test images of both kinds
    test: TestFigures | None = None  # None without labelled test images

    @staticmethod
    def over(scores: Sequence[float], map_peaks: Sequence[float], rate: float) -> Calibration:
        """Calibrate by normal images: their scores, and the greatest value of each one's map."""
        if len(scores) == 0:
            return Calibration(
                false_positive_rate=rate,
                guaranteed_rate=None,
                image_threshold=None,
                pixel_threshold=None,
                normal_scores=(),
            )
        return Calibration(
            false_positive_rate=rate,
            guaranteed_rate=guaranteed_rate(len(scores), rate),
            image_threshold=conformal_threshold(scores, rate),
            pixel_threshold=conformal_threshold(map_peaks, rate),
            normal_scores=tuple(sorted(map(float, scores))),
        )

    def is_anomaly(self, score: float) -> bool | None:
        """Return the verdict on a score; None without a threshold."""
        return None if self.image_threshold is None else score > self.image_threshold

    def p_value(self, score: float) -> float | None:
        """Return how likely a normal image has such a score; None without normal scores."""
        return float(p_values([score], self.normal_scores)[0]) if self.normal_scores else None
