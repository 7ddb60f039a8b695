"""Which test images a report shows, and how they appear on the page."""

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
    """One test image as it appears on the page.

    Attributes
    ----------
    name, label : str
    short_name : str
        The name without the folder, where that only repeats the label.
    is_anomaly : bool
    score : str
        For people; `sort_score` is for sorting.
    sort_score : float
    image : str or None
        Data URI; None where the image is not there any more.
    heat : str
        Data URI.
    outline : str or None
        Data URI of the ground truth's outline; None where there is nothing to outline.
    truth : str
        What is known about the ground truth, in words.
    verdict : str or None
        `missed` or `false alarm` where the threshold misjudges the image.
    note : str
        What is wrong with the image, if anything.
    """

    name: str
    short_name: str
    label: str
    is_anomaly: bool
    score: str
    sort_score: float
    image: str | None
    heat: str
    outline: str | None
    truth: str
    verdict: str | None
    note: str


def gallery_limit(categories: int) -> int:
    """Return how many test images to show per category, so that the report stays below 10 MB."""
    return min(GALLERY_LIMIT, max(_LEAST, REPORT_LIMIT // max(categories, 1)))


def choose_items(
    labels: Sequence[str], scores: npt.NDArray[np.floating], limit: int = GALLERY_LIMIT
) -> list[int]:
    """Choose test images so that every defect type is shown over its whole range of scores.

    Every label gets a fair share, taken evenly from its lowest to its highest score.

    Parameters
    ----------
    labels : sequence of str, length n
    scores : ndarray of float, shape [n]
    limit : int
        How many to choose at most.

    Returns
    -------
    list of int
        Ascending positions.
    """
    by_label = {
        label: np.array([at for at, other in enumerate(labels) if other == label])
        for label in sorted(set(labels))
    }
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
    """Encode gallery items, highest score first.

    Parameters
    ----------
    items : sequence of GalleryItem
    threshold : float
        Image score from which an image counts as defective; NaN for no verdicts.
    limit : int
        At most this many are shown, chosen by `choose_items`.

    Returns
    -------
    list of Card
    """
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
    """Deal out `limit` places one by one, skipping labels that have no image left."""
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
