"""Sample reports for the tests, and a reader of rendered pages."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from patchcore_ops.metrics.category import METRICS, summary_table
from patchcore_ops.report import (
    BenchmarkReport,
    CategoryReport,
    GalleryItem,
    ImageScores,
)

HOSTILE = "<script>alert('x')</script>&\"'"
DEFECTS = ("crack", "scratch")
VOID = {"meta", "link", "img", "input", "rect", "line", "polyline", "polygon"}


class Page(HTMLParser):
    """The elements of a page in document order: tag, attributes and the text within."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[list[str]] = []
        self.feed(markup)
        assert not self._open, "unclosed elements"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, {key: value or "" for key, value in attrs}, [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element[2])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for texts in self._open:
            texts.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [attributes for attributes, _ in self._matching(tag, wanted)]

    def texts(self, tag: str, **wanted: str) -> list[str]:
        return [" ".join("".join(text).split()) for _, text in self._matching(tag, wanted)]

    def _matching(
        self, tag: str, wanted: Mapping[str, str]
    ) -> list[tuple[dict[str, str], list[str]]]:
        names = {key.rstrip("_").replace("_", "-"): value for key, value in wanted.items()}
        return [
            (attributes, text)
            for other, attributes, text in self.elements
            if other == tag and all(attributes.get(key) == names[key] for key in names)
        ]


def make_metrics(value: float = 0.9, **changes: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(METRICS, value),
        "instance_f1_threshold": 2.5,
        "pixel_f1_threshold": 1.25,
        "notes": {},
        "per_defect": [
            {"defect_type": defect, "images": 4, **dict.fromkeys(METRICS, value)}
            for defect in DEFECTS
        ],
        "images": 12,
        "anomalous_images": 8,
        "masked_images": 8,
        "curves": {
            name: {"x": [0.0, 0.1, 0.5, 1.0], "y": [0.0, 0.8, 0.95, 1.0]}
            for name in ("roc", "pixel_roc", "pro")
        },
        **changes,
    }


def make_gallery(count: int = 12, side: int = 64) -> list[GalleryItem]:
    rng = np.random.default_rng(0)
    labels = ("good", *DEFECTS)
    mask = np.zeros((side, side), dtype=bool)
    mask[side // 4 : side // 2, side // 4 : side // 2] = True
    ramp = np.linspace(0, 160, side)[:, None, None] * np.ones((1, side, 3))
    return [
        GalleryItem(
            name=f"{label}/{at:03}.png",
            label=label,
            is_anomaly=label != "good",
            score=1.0 + at / 4,
            image=(ramp + rng.integers(0, 40, (side, side, 3))).astype(np.uint8),
            mask=mask if label != "good" else np.zeros_like(mask),
            heat=(ramp + 40).astype(np.uint8),
        )
        for at in range(count)
        for label in [labels[at % len(labels)]]
    ]


def make_category(name: str = "bottle", value: float = 0.9, **changes: Any) -> CategoryReport:
    gallery = make_gallery()
    category = CategoryReport(
        name=name,
        metrics=make_metrics(value),
        scores=ImageScores(
            [item.label for item in gallery],
            np.array([item.is_anomaly for item in gallery]),
            np.array([item.score for item in gallery]),
        ),
        gallery=gallery,
        config={"embedding": {"members": [{"backbone": "resnet18", "layers": ["a", "b"]}]}},
        provenance={"run": "0f3a"},
    )
    return dataclasses.replace(category, **changes)


def make_report(*categories: CategoryReport, **changes: Any) -> BenchmarkReport:
    report = BenchmarkReport(
        title="Nightly benchmark",
        created=datetime(2026, 3, 4, 9, 30, tzinfo=UTC),
        summary=summary_table({category.name: category.metrics for category in categories}),
        categories=categories,
        provenance={"torch": "2.9.1"},
    )
    return dataclasses.replace(report, **changes)


def figures(**by_category: float) -> pd.DataFrame:
    """Tabulate one value of every metric for each category."""
    return summary_table({name: make_metrics(value) for name, value in by_category.items()})


def picture_of(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
