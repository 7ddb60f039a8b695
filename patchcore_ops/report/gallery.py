"""The test images that a report shows, and their cards on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchcore_ops.report.charts.svg import score_text
from patchcore_ops.report.contents import GalleryItem
from patchcore_ops.report.encode import outline_uri, picture_uri

GALLERY_LIMIT = 24
REPORT_LIMIT = 15 * GALLERY_LIMIT
_LEAST = 6
# Encoding is outside the interpreter's lock.
_ENCODERS = 2


@dataclass(frozen=True)
class Card:
    """One test image as it appears on the page; pictures are data URIs."""

    name: str
    short_name: str  # without the folder, if that repeats the label
    label: str
    is_anomaly: bool
    score: str
    sort_score: float
    image: str | None
    heat: str
    outline: str | None  # of the ground truth
    truth: str  # the ground truth in words
    verdict: str | None  # "missed" or "false alarm" if the threshold is wrong
    note: str


def gallery_limit(categories: int) -> int:
    """Return how many test images to show per category, so that the report stays below 10 MB."""
    return min(GALLERY_LIMIT, max(_LEAST, REPORT_LIMIT // max(categories, 1)))


def choose_items(
    labels: Sequence[str], scores: npt.NDArray[np.floating], limit: int = GALLERY_LIMIT
) -> list[int]:
    """Choose test images: each label gets a fair share, spread evenly over its range of scores.

    Returns at most `limit` positions, ascending.

    Examples
    --------
    >>> choose_items(["cut", "cut", "cut", "good"], np.array([0.3, 0.1, 0.2, 0.0]), limit=3)
    [0, 1, 3]
    """
    by_label = {label: np.flatnonzero(np.asarray(labels) == label) for label in sorted(set(labels))}
    shares = _fair_shares({label: len(members) for label, members in by_label.items()}, limit)
    chosen = [
        int(position)
        for label, members in by_label.items()
        for position in _spread(members[np.argsort(scores[members], kind="stable")], shares[label])
    ]
    return sorted(chosen)


def gallery_cards(
    items: Sequence[GalleryItem], threshold: float, limit: int = GALLERY_LIMIT
) -> list[Card]:
    """Encode at most `limit` items, chosen by `choose_items`, highest score first."""
    scores = np.array([item.score for item in items], dtype=float)
    shown = [items[at] for at in choose_items([item.label for item in items], scores, limit)]
    ordered = sorted(shown, key=lambda item: (-item.score, item.label, item.name))
    with ThreadPoolExecutor(_ENCODERS) as executor:
        return list(executor.map(_card, ordered, [threshold] * len(ordered)))


def label_counts(cards: Sequence[Card]) -> list[tuple[str, int]]:
    """Count the cards of each label, defect types first, by name."""
    defective = {card.label for card in cards if card.is_anomaly}
    counts = Counter(card.label for card in cards)
    return sorted(counts.items(), key=lambda entry: (entry[0] not in defective, entry[0]))


def _fair_shares(sizes: dict[str, int], limit: int) -> dict[str, int]:
    """Distribute `limit` places one by one over the labels that have images left."""
    shares = dict.fromkeys(sizes, 0)
    places = min(limit, sum(sizes.values()))
    while places > 0:
        for label in [label for label in sizes if shares[label] < sizes[label]][:places]:
            shares[label] += 1
            places -= 1
    return shares


def _spread(ordered: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Take `count` evenly spaced members, both ends included."""
    return ordered.take(np.linspace(0, len(ordered) - 1, count).round().astype(int))


def _card(item: GalleryItem, threshold: float) -> Card:
    has_outline = item.mask is not None and bool(item.mask.any())
    return Card(
        name=item.name,
        short_name=item.name.removeprefix(f"{item.label}/"),
        label=item.label,
        is_anomaly=item.is_anomaly,
        score=score_text(item.score),
        sort_score=float(item.score),
        image=None if item.image is None else picture_uri(item.image),
        heat=picture_uri(item.heat),
        outline=outline_uri(item.mask) if item.mask is not None and has_outline else None,
        truth=_truth(item, has_outline),
        verdict=_verdict(item, threshold),
        note=item.note,
    )


def _truth(item: GalleryItem, has_outline: bool) -> str:
    if not item.is_anomaly:
        return "no defect"
    return "outlined" if has_outline else "not marked"


def _verdict(item: GalleryItem, threshold: float) -> str | None:
    if np.isnan(threshold) or (item.score >= threshold) == item.is_anomaly:
        return None
    return "missed" if item.is_anomaly else "false alarm"
