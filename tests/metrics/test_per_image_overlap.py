"""AUPIMO by its definition, threshold by threshold."""

from __future__ import annotations

import numpy as np
import pytest

from patchcore_ops.metrics.per_image_overlap import per_image_overlap


def literal(
    normal: list[np.ndarray], image: np.ndarray, mask: np.ndarray, lowest: float, highest: float
) -> float:
    """Follow the authors: a rate over each normal image, their mean, and the image's share."""
    pixels = np.concatenate([one.ravel() for one in normal])
    points = []
    for threshold in sorted(set(pixels.tolist()), reverse=True):
        rate = np.mean([(one >= threshold).mean() for one in normal])
        points.append((rate, (image[mask] >= threshold).mean()))
    rates, shares = map(np.asarray, zip(*points, strict=True))
    fine = np.exp(np.linspace(np.log(lowest), np.log(highest), 200_001))
    found = np.interp(np.log(fine), np.log(rates), shares)
    return float(np.trapezoid(found, np.log(fine)) / np.log(highest / lowest))


@pytest.mark.parametrize("digits", [1, 3, 9], ids=["many equal", "some equal", "all differ"])
def test_it_is_the_integral_over_the_logarithm_of_the_shared_rate(digits: int) -> None:
    random = np.random.default_rng(7)
    normal = [random.gamma(2, 1, (20, 20)).round(digits) for _ in range(4)]
    images = [random.gamma(3, 1.5, (20, 20)).round(digits) for _ in range(3)]
    masks = [random.random((20, 20)) > 0.8 for _ in images]
    ascending = np.sort(np.concatenate([one.ravel() for one in normal]))
    defects = [image[mask] for image, mask in zip(images, masks, strict=True)]
    found = per_image_overlap(ascending, defects, 0.005, 0.05)
    expected = [
        literal(normal, image, mask, 0.005, 0.05) for image, mask in zip(images, masks, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_defect_above_and_one_below_every_normal_pixel() -> None:
    normal = np.linspace(0, 1, 200_000)
    found = per_image_overlap(normal, [np.full(5, 2.0), np.full(5, -1.0)])
    assert found.tolist() == [1.0, 0.0]


def test_too_few_normal_pixels_give_nothing() -> None:
    assert np.isnan(per_image_overlap(np.arange(9.0), [np.ones(2)])).all()
    assert np.isnan(per_image_overlap(np.empty(0), [np.ones(2)])).all()


def test_what_was_not_seen_of_a_defect_is_missed() -> None:
    normal = np.arange(100_000.0)
    half_seen, half_low = (np.array([1e6, unseen]) for unseen in (np.nan, -1.0))
    found = per_image_overlap(normal, [half_seen, half_low, np.full(3, np.nan)])
    np.testing.assert_allclose(found, [0.5, 0.5, 0.0])
