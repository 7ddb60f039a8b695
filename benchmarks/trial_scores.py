"""Embeddings computed once, and patch scores that no setting gives: for `accuracy_trials`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.measuring import say
from patchcore_ops.config.presets import PRESETS
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.coreset.samplers import select_rows
from patchcore_ops.dataset import scan_category
from patchcore_ops.dataset.masks import load_masks
from patchcore_ops.embedding.network_folder import NetworkFolder, user_networks
from patchcore_ops.metrics.pixel_ranking import PixelRanking, pixel_sets
from patchcore_ops.metrics.ranking import auroc, average_precision, rank
from patchcore_ops.metrics.region_overlap import area_under_pro
from patchcore_ops.runtime.arrays import save_array
from patchcore_ops.scoring.maps import anomaly_maps
from patchcore_ops.stages import layout
from patchcore_ops.stages.raw_embeddings import Grid, embed_images

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
METRICS = ("image AUROC", "full pixel AUROC", "AUPRO", "pixel AP")
SIZE = 224
_LEFT_OUT = 40  # So many train images are scored by leave-one-out.
_QUERIES_AT_ONCE = 512
_LITE0 = {"backbone": "efficientnet_lite0", "layers": ["blocks.2", "blocks.4"]}


class Embedded(NamedTuple):
    """The embeddings of a category, shape [images, patches, dimension]."""

    train: Floats
    test: Floats
    grid: tuple[int, int]
    images: pd.DataFrame  # of the test images
    masks: npt.NDArray[np.uint8]
    has_mask: npt.NDArray[np.bool_]
    names: list[str]  # of the train images


class Scored(NamedTuple):
    """Patch scores of the test images, and of train images by leave-one-out: [n, h, w]."""

    test: Floats
    left_out: Floats


def embedded(root: Path, category: str, size: int, work: Path) -> Embedded:
    """Embed a category with the settings of `preset: accurate`, at a size of the input."""
    say(f"{category} at {size} px")
    config = CategoryConfig.model_validate(
        {
            "dataset": {"imagesize": size, "resize": round(size * 8 / 7)},
            "embedding": {**PRESETS["accurate"]["embedding"], "members": [_LITE0]},
        }
    )
    with tempfile.TemporaryDirectory(dir=work) as folder:
        images = scan_category(root, category).images
        networks = NetworkFolder(user_networks())
        embed_images(images, root, config, RuntimeSection(), Path(folder), networks=networks)
        of_member = layout.member_folder(Path(folder), 0)
        grid = Grid.read(of_member)
        shape = -1, grid.patches, grid.dimension
        rows = layout.read_images(Path(folder))
        test = layout.test_rows(rows)
        files = layout.mask_files(test, root)
        train, tested = (
            part.read(0, len(part)).reshape(shape)
            for part in (layout.train_embeddings(of_member), layout.test_embeddings(of_member))
        )
    at_size = CategoryConfig().dataset
    return Embedded(
        train,
        tested,
        (grid.height, grid.width),
        test,
        load_masks(files, at_size, 1),
        np.array([file is not None for file in files]),
        [Path(path).name for path in rows.loc[rows["split"] == "train", "path"]],
    )


def bank_rows(one: Embedded, seed: int, share: float | None = None) -> Indices:
    """Pick rows of the train embeddings: by default 10 %."""
    coreset = CategoryConfig().coreset.model_copy(
        update={"seed": seed, "percentage": share or CategoryConfig().coreset.percentage}
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, layout.TRAIN_EMBEDDINGS)
        save_array(file, one.train.reshape(-1, one.train.shape[2]))
        return select_rows(layout.train_embeddings(Path(folder)), coreset)


def by_bank(one: Embedded, picks: Indices) -> Scored:
    """Score by all rows of a bank."""
    patches, dimension = one.train.shape[1:]
    bank = one.train.reshape(-1, dimension)[picks]
    groups = pd.factorize(np.array([stem_and_angle(name)[0] for name in one.names]))[0]
    own = groups[picks // patches]
    left_out = np.stack(
        [
            _two_nearest(one.train[image], bank[own != groups[image]])
            for image in _sampled(one)
            if (own != groups[image]).any()
        ]
    )
    test = _two_nearest(one.test.reshape(-1, dimension), bank)
    return Scored(test.reshape(-1, *one.grid), left_out.reshape(-1, *one.grid))


def _two_nearest(queries: Floats, bank: Floats) -> Floats:
    """Return the mean distance to the two nearest rows."""
    norms, scores = (bank**2).sum(axis=1), np.empty(len(queries), dtype=np.float32)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = queries[start : start + _QUERIES_AT_ONCE]
        products = some @ bank.T
        products *= -2
        products += norms
        nearest = _two_least(products) + (some**2).sum(axis=1)[:, None]
        scores[start : start + len(some)] = np.sqrt(np.maximum(nearest, 0)).mean(axis=1)
    return scores


def _two_least(values: Floats) -> Floats:
    """Return the two least of each row; the values are spoilt. Quicker than a partition."""
    rows, at = np.arange(len(values)), values.argmin(axis=1)
    least = values[rows, at]
    values[rows, at] = np.inf
    return np.stack([least, values.min(axis=1)], axis=1)


def by_near_patches(one: Embedded, radius: int) -> Scored:
    """Score by all train patches that are at most so many cells away along either axis."""
    height, width = one.grid
    images = _sampled(one)
    test, left_out = np.empty((len(one.test), *one.grid)), np.empty((len(images), *one.grid))
    cells = np.arange(height * width).reshape(one.grid)
    # An image's own patches are left out by an infinite distance.
    own = np.arange(len(one.train)) == images[:, None]
    for row, column in np.ndindex(one.grid):
        window = cells[
            max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1
        ].ravel()
        bank = one.train[:, window].reshape(-1, one.train.shape[2])
        at = cells[row, column]
        test[:, row, column] = _two_nearest(one.test[:, at], bank)
        some = one.train[images, at]
        squared = (bank**2).sum(axis=1) - 2 * some @ bank.T + (some**2).sum(axis=1)[:, None]
        squared[np.repeat(own, len(window), axis=1)] = np.inf
        nearest = np.sqrt(np.maximum(_two_least(squared), 0))
        left_out[:, row, column] = nearest.mean(axis=1)
    return Scored(test.astype(np.float32), left_out.astype(np.float32))


def _sampled(one: Embedded) -> Indices:
    """Choose which train images are left out, evenly among those that are not turned."""
    plain = np.array([at for at, name in enumerate(one.names) if not stem_and_angle(name)[1]])
    places = np.unique(np.linspace(0, len(plain) - 1, _LEFT_OUT).astype(int))
    return np.asarray(plain[places], dtype=np.int64)


def scaled_maps(scored: Scored) -> Scored:
    """Divide by the left-out mean, and enlarge the patches of any grid to pixels."""
    level = scored.left_out.mean()
    return Scored(*(anomaly_maps(scores / level, SIZE, 0) for scores in scored))


def figures(one: Embedded, scored: Scored) -> dict[str, float]:
    """Judge maps and image scores of `preset: accurate` at 224 pixels."""
    scoring = CategoryConfig.model_validate({"scoring": PRESETS["accurate"]["scoring"]}).scoring
    of_images, left_out = (
        anomaly_maps(part, SIZE, scoring.image_smoothing_sigma).max(axis=(1, 2)) for part in scored
    )
    is_anomaly = one.images["is_anomaly"].to_numpy(dtype=bool)
    of_pixels = [float("nan")] * 3
    if one.has_mask.any():
        sets = pixel_sets(
            anomaly_maps(scored.test, SIZE, scoring.smoothing_sigma),
            one.masks,
            np.where(is_anomaly, "defective", ""),
            one.has_mask | ~is_anomaly,
            CategoryConfig().metrics,
        )
        pixels = PixelRanking.of(list(sets.values()))
        of_pixels = [
            auroc(pixels.reference),
            area_under_pro(pixels.all, CategoryConfig().metrics.aupro_fpr_limit),
            average_precision(pixels.all),
        ]
    found = auroc(rank(of_images.astype(np.float64), is_anomaly)), *of_pixels
    level = float(scored.left_out.mean())
    return {
        **dict(zip(METRICS, found, strict=True)),
        "left-out level": level,
        "left-out peak": float(np.mean(left_out)) / level,
    }


def stem_and_angle(name: str) -> tuple[str, int]:
    """Tell of which image a file is a turned copy, and by how many degrees."""
    stem, _, angle = Path(name).stem.partition("@")
    return stem, int(angle or 0)
