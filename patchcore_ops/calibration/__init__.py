"""What normal looks like in scores: thresholds, p-values and probabilities."""

from patchcore_ops.calibration.conformal import conformal_threshold, guaranteed_rate, p_values
from patchcore_ops.calibration.record import Calibration, Probability, TestFigures
from patchcore_ops.calibration.suspects import suspects

__all__ = [
    "Calibration",
    "Probability",
    "TestFigures",
    "conformal_threshold",
    "guaranteed_rate",
    "p_values",
    "suspects",
]
