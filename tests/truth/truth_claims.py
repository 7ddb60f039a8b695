"""Everything that a benchmark shows, compared with what it claims to be.

A claim is what an artefact records: from which versions it was made, with which settings, of which
images by content. What was shown must be what these give, whatever lies on the disk by now.
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from truth_oracle import Oracle
from truth_site import PLACES, Site, Version

from patchcore_ops.config.recorded_settings import flatten
from patchcore_ops.metrics.category import METRICS

_SECTION = re.compile(r'<section id="category-(.*?)</section>', re.DOTALL)
_CARD = re.compile(r'<li class="card" data-label=".*?" data-name="(.*?)" data-score="(.*?)"')
_IMAGE = re.compile(r'<img data-role="image" src="data:image/webp;base64,([^"]+)"')
_ROW = re.compile(r"<tr>\s*<th scope=\"row\">(.*?)</th>(.*?)</tr>", re.DOTALL)
_IDENTITY = ["path", "label", "is_anomaly", "fingerprint", "mask_fingerprint"]


class Claims:
    """Compares what a site shows with literal recomputations."""

    def __init__(self, site: Site, oracle: Oracle) -> None:
        self._site = site
        self._oracle = oracle
        self._checked: set[tuple[str, str | None, str]] = set()
        self.compared = 0

    def wrong(self) -> list[str]:
        """Say what is wrong with every artefact that has become current since the last look."""
        found = []
        checks = {
            "raw_embeddings": self._embeddings,
            "test_predictions": self._predictions,
            "category_metrics": self._metrics,
            "metrics": self._table,
            "benchmark_report": self._report,
        }
        new = [key for key in self._site.versions if key not in self._checked]
        self._checked.update(new)
        for asset, category, version in new:
            where = f"{asset} of {category}"
            try:
                for one in checks.get(asset, _nothing)(
                    self._site.version(asset, category, version)
                ):
                    found.append(f"{where}: {one}")
            except KeyError as missing:
                found.append(f"{where}: claims {missing}, never made")
        # What a killed process made current it could not tell Dagster.
        for asset, category in () if self._site.killed else PLACES:
            current = self._site.current(asset, category)
            version = None if current is None else str(current.sidecar["data_version"])
            known = self._site.known_to_dagster(asset, category)
            if known != version:
                found.append(
                    f"{asset} of {category}: Dagster knows {known}, another version is current"
                )
        return found

    def _embeddings(self, version: Version) -> Iterator[str]:
        """The rows that were embedded are those of the manifest that is claimed."""
        manifest = self._parent(version, "image_manifest").table("manifest.parquet")
        rows = version.table("images.parquet").drop(columns="pixels")
        self.compared += len(rows)
        if not rows.equals(manifest):
            yield "the rows are not those of the manifest that it names"

    def _predictions(self, version: Version) -> Iterator[str]:
        """Each score belongs to the content beside it, by the settings that are claimed."""
        images = self._parent(version, "raw_embeddings").table("images.parquet")
        test = images[images["split"] == "test"].reset_index(drop=True)
        shown = version.scores()
        if not shown[_IDENTITY].equals(test[_IDENTITY]):
            yield "the images are not those that were embedded"
            return
        expected, _ = self._scores(images, shown, version.json("settings.json"))
        self.compared += len(shown)
        for path, score, right in zip(shown["path"], shown["score"], expected, strict=True):
            if not math.isclose(score, right, rel_tol=1e-3, abs_tol=1e-6):
                yield f"{path} has the score {score:.6g} instead of {right:.6g}"

    def _metrics(self, version: Version) -> Iterator[str]:
        """The metrics are those of the predictions that are claimed, with the claimed masks."""
        predictions = self._parent(version, "test_predictions")
        images = self._parent(predictions, "raw_embeddings").table("images.parquet")
        shown, settings = predictions.scores(), version.json("settings.json")
        for name, section in predictions.json("settings.json").items():
            if settings[name] != section:
                yield f"records other {name} settings than its predictions"
        _, maps = self._scores(images, shown, settings)
        expected = self._oracle.metrics(shown, maps, settings, self._site.contents)
        # Scores differ by rounding, which moves a pixel past another here and there.
        for name, value in self._figures(version).items():
            if not _agree(value, expected[name], 1e-3 if "threshold" in name else 5e-3):
                yield f"{name} is {value} instead of {expected[name]}"

    def _table(self, version: Version) -> Iterator[str]:
        """Each row shows the figures, and the settings, of the version that is claimed."""
        table = version.table("metrics.parquet").set_index("category")
        settings = version.json("settings_by_category.json")
        for category in table.index.drop("Mean"):
            made_of = version.parent("category_metrics", category)
            metrics = self._site.version("category_metrics", category, made_of)
            for name, value in self._figures(metrics).items():
                if not _agree(table.loc[category, name], value, 1e-12):
                    yield f"{category}: {name} is another than in its own artefact"
            if settings[category] != metrics.json("settings.json"):
                yield f"{category}: the settings are not those of its figures"
        for name in METRICS:
            mean = math.nan if name.endswith("threshold") else table[name].drop("Mean").mean()
            if not _agree(table.loc["Mean", name], mean, 1e-12):
                yield f"the mean of {name} is wrong"

    def _report(self, version: Version) -> Iterator[str]:
        """Each figure, setting, version and picture of the page is the one that it names."""
        page = version.files["index.html"].decode()
        table = self._site.version("metrics", None, version.parent("metrics"))
        figures = table.table("metrics.parquet").set_index("category")
        summary = _ROW.findall(page[: page.find('<section id="category-')])
        rows = {
            _text(heading.partition('<span class="remark"')[0]): row for heading, row in summary
        }
        for category in figures.index:
            self.compared += 1
            values = [float(value) for value in re.findall(r'data-value="([^"]+)"', rows[category])]
            expected = [value for value in figures.loc[category] if not math.isnan(value)]
            if not np.allclose(sorted(values), sorted(expected), rtol=1e-9):
                yield f"the row of {category} does not show the table's figures"
        for section in _SECTION.findall(page):
            category = _text(re.search(r"<h2[^>]*>(.*?)</h2>", section, re.DOTALL)[1])
            if "cannot be shown" not in section:
                yield from (f"{category}: {one}" for one in self._section(category, section, table))
            elif "do not belong together" not in section and "is not in" not in section:
                # Only artefacts that are not those of the table, or mixed, may not be shown.
                yield f"{category} has no section: {_text(section)[-300:]}"

    def _section(self, category: str, section: str, table: Version) -> Iterator[str]:
        made_from = _pairs(section, "were made from")
        metrics, predictions = (
            self._site.version(asset, category, made_from[asset])
            for asset in ("category_metrics", "test_predictions")
        )
        if table.parent("category_metrics", category) != made_from["category_metrics"]:
            yield "the section and the table show different versions"
        if metrics.parent("test_predictions") != made_from["test_predictions"]:
            yield "the cards are not of the predictions that the figures judge"
        settings = metrics.json("settings.json")
        if _pairs(section, "Configuration of") != dict(flatten(settings)):
            yield "the configuration is not the one of its figures"
        scores = predictions.scores().set_index("path")
        for card in re.split(r'(?=<li class="card")', section)[1:]:
            self.compared += 1
            yield from self._card(category, card, scores, settings)

    def _card(
        self, category: str, card: str, scores: pd.DataFrame, settings: Mapping[str, Any]
    ) -> Iterator[str]:
        name, score = _CARD.search(card).groups()
        row = scores.loc[f"{category}/test/{name}"]
        if not math.isclose(float(score), row["score"], rel_tol=1e-6):
            yield f"the card of {name} shows another image's score"
        picture = _IMAGE.search(card)
        if picture is None:
            if "this image" not in card:
                yield f"the card of {name} has no picture and does not say why"
            return
        pixels = Image.open(io.BytesIO(base64.b64decode(picture[1]))).convert("RGB")
        seen = np.asarray(pixels.resize([settings["dataset"]["imagesize"]] * 2), dtype=float)

        def unlikeness(digest: str) -> float:
            own = self._oracle.picture(digest, settings, self._site.contents)
            return float(np.abs(seen - own).mean())

        # The picture is compressed: of all images that there ever were, it must be like its own.
        if min(self._site.images_by_content, key=unlikeness) != row["fingerprint"]:
            yield f"the card of {name} shows another picture than was scored"

    def _figures(self, version: Version) -> dict[str, float]:
        claimed = version.json("metrics.json")
        self.compared += len(METRICS)
        return {name: math.nan if claimed[name] is None else claimed[name] for name in METRICS}

    def _scores(
        self, images: pd.DataFrame, shown: pd.DataFrame, settings: Mapping[str, Any]
    ) -> tuple[list[float], Any]:
        train = images.loc[images["split"] == "train", "fingerprint"].tolist()
        test = shown["fingerprint"].tolist()
        return self._oracle.scores(train, test, settings, self._site.contents)

    def _parent(self, version: Version, asset: str) -> Version:
        return self._site.version(asset, version.category, version.parent(asset))


def _nothing(_: Version) -> Iterator[str]:
    return iter(())


def _pairs(section: str, caption: str) -> dict[str, str]:
    """Return the first cell of each row of the table that has such a caption."""
    tables = re.findall(r"<table class=\"pairs\">(.*?)</table>", section, re.DOTALL)
    [table] = [one for one in tables if caption in one]
    cell = re.compile(r"<td[^>]*>(.*?)</td>", re.DOTALL)
    return {_text(heading): _text(cell.findall(row)[0]) for heading, row in _ROW.findall(table)}


def _text(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup)).strip()


def _agree(value: float, expected: float, tolerance: float) -> bool:
    if math.isnan(value) or math.isnan(expected):
        return math.isnan(value) and math.isnan(expected)
    return math.isclose(value, expected, rel_tol=tolerance, abs_tol=tolerance)
