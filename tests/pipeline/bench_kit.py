"""What tests of edits share: a finished benchmark that is edited, and what its page shows."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
from PIL import Image
from pipeline_kit import CATEGORY, OVER_ALL, execute, failures, write_config


class Bench:
    """A finished benchmark of two categories, with its own history."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.dataset = folder / "dataset"
        self.storage = folder / "storage"
        self.file = folder / "benchmark.yaml"
        self.instance = instance

    def run(self, *assets: str, category: str | None = CATEGORY) -> dg.ExecuteInProcessResult:
        partition = None if set(assets) <= set(OVER_ALL) else category
        return execute(self.file, *assets, partition=partition, instance=self.instance)

    def make(self, *assets: str, category: str | None = CATEGORY) -> None:
        result = self.run(*assets, category=category)
        assert result.success, failures(result)

    def refused(self, *assets: str) -> str:
        """Run assets of which one fails; return what it says."""
        [said] = failures(self.run(*assets)).values()
        assert not said.startswith("NOT A"), said
        return said

    def configure(self, **sections: Any) -> None:
        write_config(self.file, self.dataset, **sections)

    def scores(self) -> pd.DataFrame:
        return pd.read_parquet(self.storage / "test_predictions" / CATEGORY / "scores.parquet")

    def page(self) -> str:
        return (self.storage / "benchmark_report/index.html").read_text(encoding="utf-8")

    def data_version(self, asset: str, category: str | None = CATEGORY) -> str:
        file = self.storage / asset / (category or "") / "artefact.json"
        return str(json.loads(file.read_text(encoding="utf-8"))["data_version"])

    def known_version(self, asset: str) -> str:
        wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), [CATEGORY])
        [record] = self.instance.fetch_materializations(wanted, limit=1).records
        assert record.asset_materialization is not None
        return str((record.asset_materialization.tags or {})["dagster/data_version"])


def section_of(page: str, category: str) -> str:
    sections = re.findall(r'<section id="category-.*?</section>', page, re.DOTALL)
    [found] = [one for one in sections if f">{category}</h2>" in one]
    return str(found)


def card(page: str, category: str, name: str) -> str:
    parts = re.split(r'(?=<li class="card")', section_of(page, category))[1:]
    [found] = [one for one in parts if f'data-name="{name}"' in one]
    return found


def shown_cards(page: str, category: str) -> dict[str, Any]:
    """Return the pictures of a category's cards by the name that stands below them."""
    found = re.findall(
        r'<img data-role="image" src="data:image/webp;base64,([^"]+)" alt="([^"]+)"',
        section_of(page, category),
    )
    return {
        name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        for data, name in found
    }


def page_text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())
