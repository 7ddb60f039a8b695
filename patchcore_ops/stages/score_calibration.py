"""The stage `score_calibration`: what normal looks like in scores, and where anomalies begin."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.calibration import Calibration, Probability, TestFigures
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.crop import insides_of
from patchcore_ops.dataset.masks import load_masks
from patchcore_ops.dataset.recorded_files import unchanged
from patchcore_ops.metrics.ranking import f1_max, rank
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.runtime.errors import UserError
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.scoring.ensemble import MemberScales, score_images
from patchcore_ops.scoring.maps import peaks
from patchcore_ops.scoring.padding import Insides
from patchcore_ops.stages import layout
from patchcore_ops.stages.leave_one_out import leave_one_out_scores, sampled
from patchcore_ops.stages.predictions import read_scales

Floats = npt.NDArray[np.float32]
# `metrics.mask_threshold` is no setting of this stage: a change of it makes no threshold stale.
_HALF_OF_WHITE = 127.5


class Calibrated(NamedTuple):
    """A calibration, and what it was made of.

    `normal` has `path`, `score` and `map_peak` of train images; `test` has `score` and
    `is_anomaly` of the test images. `is_complete` is false if their masks could not be read, or
    are not those that were recorded.
    """

    calibration: Calibration
    normal: pd.DataFrame
    test: pd.DataFrame
    is_complete: bool = True


def calibrate(
    embeddings: Path,
    bank: Path,
    indices: Path,
    predictions: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    folder: Path,
    on_progress: Progress | None = None,
    dataset_root: Path | None = None,
    hash_of: HashOf = file_hash,
) -> Calibrated:
    """Score train images as if they had not been there, and take thresholds from their scores.

    Writes `calibration.json` and `normal_scores.parquet`. Members of an ensemble are scaled as in
    the predictions. Masks of test images are looked at where there is a `dataset_root`.
    """
    images = layout.read_images(embeddings)
    train = images[images["split"] == "train"].reset_index(drop=True)
    chosen = sampled(len(train), config.calibration.images, config.coreset.seed)
    by_member = leave_one_out_scores(
        embeddings, bank, indices, config, runtime, chosen, on_progress
    )
    insides = insides_of(train.iloc[chosen], config.dataset)
    calibration, normal, scored = calibrate_normal(
        by_member, read_scales(predictions), config, insides
    )
    normal.insert(0, "path", train["path"].to_numpy()[chosen[scored]])
    scored_images = layout.read_scores(predictions)
    test = scored_images[["score", "is_anomaly"]]
    calibration = with_test_images(calibration, test)
    is_complete = True
    if dataset_root is not None:
        try:
            calibration = _with_masks(
                calibration, scored_images, predictions, dataset_root, config, runtime, hash_of
            )
        except UserError:
            # The metrics say what is wrong with a mask; thresholds need none.
            is_complete = False
    folder.mkdir(parents=True, exist_ok=True)
    normal.to_parquet(folder / layout.NORMAL_SCORES, index=False)
    text = calibration.model_dump_json(indent=1) + "\n"
    (folder / layout.CALIBRATION).write_text(text, encoding="utf-8")
    return Calibrated(calibration, normal, test, is_complete)


def read_calibrated(folder: Path, predictions: Path) -> Calibrated:
    """Read what `calibrate` has returned, from what it has written."""
    test = layout.read_scores(predictions)[["score", "is_anomaly"]]
    return Calibrated(
        read_calibration(folder), pd.read_parquet(folder / layout.NORMAL_SCORES), test
    )


def read_calibration(folder: Path) -> Calibration:
    """Read `calibration.json`."""
    return Calibration.model_validate_json((folder / layout.CALIBRATION).read_bytes())


class NormalImages(NamedTuple):
    """A calibration by normal images, `score` and `map_peak` of each, and which had neighbours."""

    calibration: Calibration
    scores: pd.DataFrame
    scored: npt.NDArray[np.bool_]


def calibrate_normal(
    by_member: list[Floats],
    scales: MemberScales,
    config: CategoryConfig,
    insides: Insides | None = None,
) -> NormalImages:
    """Calibrate by what `leave_one_out_scores` gives of normal images.

    `insides` says where each lies in the network's input, if that is padded.
    """
    scored = np.all([np.isfinite(scores).any(axis=(1, 2)) for scores in by_member], axis=0)
    # A patch without neighbours says nothing; squared distances are not negative.
    kept = [np.nan_to_num(scores[scored], nan=0.0) for scores in by_member]
    table = pd.DataFrame({"score": [], "map_peak": []}, dtype=np.float32)
    if scored.any():
        size, own = config.dataset.crop_size, None if insides is None else insides[scored]
        found = score_images(kept, scales, config.scoring, size, own)
        table = pd.DataFrame(
            {
                "score": found.scores,
                "map_peak": np.concatenate([peaks(block) for block in found.maps]),
            }
        )
    calibration = Calibration.over(
        table["score"].tolist(),
        table["map_peak"].tolist(),
        config.calibration.false_positive_rate,
    )
    return NormalImages(calibration, table, scored)


def with_test_images(calibration: Calibration, test: pd.DataFrame) -> Calibration:
    """Add what labelled test images say: probabilities, and how the threshold does."""
    score = test["score"].to_numpy(dtype=np.float64)
    is_anomaly = test["is_anomaly"].to_numpy(dtype=bool)
    if calibration.image_threshold is None or len(test) == 0:
        return calibration
    is_above = score > calibration.image_threshold
    figures = TestFigures(
        good_images=int((~is_anomaly).sum()),
        defective_images=int(is_anomaly.sum()),
        false_positives=int((is_above & ~is_anomaly).sum()),
        recall=float(is_above[is_anomaly].mean()) if is_anomaly.any() else None,
        f1=_f1(is_above, is_anomaly) if is_anomaly.any() else None,
    )
    if is_anomaly.all() or not is_anomaly.any():
        return calibration.model_copy(update={"test": figures})
    best = f1_max(rank(score, is_anomaly))[1]
    figures = figures.model_copy(
        update={
            "f1_threshold": best,
            "f1_false_positives": int((score[~is_anomaly] >= best).sum()),
            "f1_recall": float((score[is_anomaly] >= best).mean()),
        }
    )
    return calibration.model_copy(
        update={"test": figures, "probability": _probability(score, is_anomaly)}
    )


def _with_masks(
    calibration: Calibration,
    images: pd.DataFrame,
    predictions: Path,
    dataset_root: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
    hash_of: HashOf,
) -> Calibration:
    """Add what the masks of test images say of the pixel threshold.

    Raises UserError if they are not as they were.
    """
    paths = layout.mask_files(images, dataset_root)
    known = [at for at, path in enumerate(paths) if path or not images["is_anomaly"].iloc[at]]
    if calibration.test is None or calibration.pixel_threshold is None or not any(paths):
        return calibration
    with unchanged(layout.recorded_masks(images, dataset_root), "image_manifest", hash_of):
        masks = load_masks([paths[at] for at in known], config.dataset, runtime.num_workers)
    maps = ArrayFile(predictions / layout.ANOMALY_MAPS)
    found = true = both = 0
    for at, mask in zip(known, masks, strict=True):
        is_defect = mask >= _HALF_OF_WHITE
        # NaN, in the padding, is not above.
        is_above = maps.read(at, at + 1)[0] > calibration.pixel_threshold
        found, true = found + int(is_above.sum()), true + int(is_defect.sum())
        both += int((is_above & is_defect).sum())
    if true == 0:
        return calibration
    figures = calibration.test.model_copy(update={"segmentation_f1": 2 * both / (found + true)})
    return calibration.model_copy(update={"test": figures})


def _f1(is_above: npt.NDArray[np.bool_], is_anomaly: npt.NDArray[np.bool_]) -> float:
    return float(2 * (is_above & is_anomaly).sum() / (is_above.sum() + is_anomaly.sum()))


def _probability(score: npt.NDArray[np.float64], is_anomaly: npt.NDArray[np.bool_]) -> Probability:
    from scipy.optimize import isotonic_regression

    scores, of_image, images = np.unique(score, return_inverse=True, return_counts=True)
    share = np.bincount(of_image, weights=is_anomaly) / images
    fitted = isotonic_regression(share, weights=images).x
    # Within a stretch of equal probabilities only its ends are needed.
    differs = np.diff(fitted) != 0
    kept = np.concatenate([[True], differs]) | np.concatenate([differs, [True]])
    return Probability(
        scores=tuple(scores[kept].tolist()), probabilities=tuple(fitted[kept].tolist())
    )
