"""A tiny benchmark that is edited, run and killed, with an archive of all that was ever in it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
from PIL import Image
from pipeline_kit import (
    BY_CATEGORY,
    OVER_ALL,
    edited_while_at_work,
    execute,
    failures,
    write_config,
)

CATEGORIES = ("washer", "fabric")
SIDE = 48
POOL = 40
COUNTS = {"train/good": 4, "test/good": 2, "test/dent": 2, "test/spot": 1}
PLACES = [
    *((asset, category) for asset in BY_CATEGORY for category in CATEGORIES),
    *((asset, None) for asset in OVER_ALL),
]
_SMALL = (".parquet", ".json", ".csv", ".html")


def content(number: int) -> bytes:
    """Return the PNG file of one of the images; no two look alike."""
    cells = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return _png(np.kron(cells, np.ones((SIDE // 4, SIDE // 4, 1), dtype=np.uint8)))


def mask(number: int, side: int = SIDE) -> bytes:
    """Return a mask with one rectangle."""
    top, left = np.random.default_rng(1000 + number).integers(0, side // 2, 2)
    marked = np.zeros((side, side), dtype=np.uint8)
    marked[top : top + side // 3, left : left + side // 4] = 255
    return _png(marked)


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@dataclass
class Version:
    """One version of an artefact, as it was when it was current."""

    asset: str
    category: str | None
    sidecar: dict[str, Any]
    files: dict[str, bytes]

    def parent(self, asset: str, category: str | None = None) -> str:
        """Return the version of an artefact that this one says it goes back to."""
        middle = "" if category is None else f".{category}"
        return str(self.sidecar["provenance"][f"{asset}{middle}.data_version"])

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(io.BytesIO(self.files[name]))

    def scores(self) -> pd.DataFrame:
        """Return the scores of predictions with the content that each belongs to, by path."""
        images = self.table("images.parquet")[["path", "fingerprint", "mask_fingerprint"]]
        return self.table("scores.parquet").merge(images, on="path", how="left")

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])


class Site:
    """One installation: images, configuration, artefacts and run history, all in one folder."""

    def __init__(self, folder: Path, weights: Path) -> None:
        self.folder, self.dataset, self.storage = folder, folder / "data", folder / "storage"
        self.sections: dict[str, Any] = {}
        self.contents: dict[str, bytes] = {}
        self.images_by_content: set[str] = set()
        self.versions: dict[tuple[str, str | None, str], Version] = {}
        self.killed = False
        self._member = {"backbone": "test_resnet", "weights": str(weights)}
        # In memory, for speed: what a killed process has told it is lost, as if it had no time.
        self.history = dg.DagsterInstance.ephemeral()
        number = 0
        for category in CATEGORIES:
            for label, count in COUNTS.items():
                for at in range(count):
                    self.put_image(category, label, f"{at:03}", number)
                    number += 1
        self.configure({})

    def put(self, place: str, data: bytes) -> None:
        """Write a file of the dataset."""
        file = self.dataset / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        self.contents[digest] = data
        if "/ground_truth/" not in place:
            self.images_by_content.add(digest)

    def put_image(
        self, category: str, label: str, name: str, number: int, data: bytes | None = None
    ) -> None:
        """Write an image, with a mask where it is defective."""
        self.put(f"{category}/{label}/{name}.png", data or content(number))
        if label in ("test/dent", "test/spot"):
            self.put(f"{category}/ground_truth/{label[5:]}/{name}_mask.png", mask(number))

    def configure(self, changes: dict[str, Any]) -> None:
        """Change settings and write the file."""
        for key, value in changes.items():
            *path, name = key.split(".")
            place = self.sections
            for part in path:
                place = place.setdefault(part, {})
            place[name] = value
        own = {name: one for name, one in self.sections.items() if name != "layers"}
        layers = self.sections.get("layers", ["layer1", "layer2"])
        fixed = {
            "dataset": {"categories": list(CATEGORIES), "resize": SIDE, "imagesize": SIDE},
            "embedding": {
                "members": [{**self._member, "layers": layers}],
                "pretrain_embed_dimension": 16,
                "target_embed_dimension": 16,
            },
            "coreset": {"projection_dimension": 8},
            "runtime": {"batch_size": 4},
            "checks": {"minimum_train_images": 1, "minimum_test_images": 1, "regression": "ignore"},
        }
        sections = {name: {**fixed.get(name, {}), **own.get(name, {})} for name in {**fixed, **own}}
        self.file = write_config(self.folder / "benchmark.yaml", self.dataset, **sections)

    def run(
        self, assets: list[str], category: str | None, during: Callable[[], None] | None = None
    ) -> dict[str, str]:
        """Materialise assets in one run; returns what each failed step says."""
        with edited_while_at_work(during):
            result = execute(self.file, *assets, partition=category, instance=self.history)
        self.collect()
        return failures(result)

    def run_and_kill(self, assets: list[str], category: str | None, after: float) -> None:
        """Materialise assets in a process that is killed after some seconds."""
        child = os.fork()
        if child == 0:
            with Path(os.devnull).open("w", encoding="utf-8") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            try:
                execute(self.file, *assets, partition=category, instance=self.history)
            finally:
                os._exit(0)
        until = time.monotonic() + after
        is_over = False
        while not is_over and time.monotonic() < until:
            time.sleep(0.005)
            is_over = os.waitpid(child, os.WNOHANG) != (0, 0)
        if not is_over:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        self.killed = True
        self.collect()

    def current(self, asset: str, category: str | None) -> Version | None:
        """Read the current version of an artefact from its files."""
        folder = self.storage / asset / (category or "")
        if not (folder / "artefact.json").is_file():
            return None
        sidecar = json.loads((folder / "artefact.json").read_text(encoding="utf-8"))
        files = {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in folder.rglob("*")
            if file.suffix in _SMALL and file.name != "artefact.json"
        }
        return Version(asset, category, sidecar, files)

    def known_to_dagster(self, asset: str, category: str | None) -> str | None:
        """Return the data version of the latest materialisation."""
        wanted = dg.AssetRecordsFilter(
            dg.AssetKey(asset), asset_partitions=None if category is None else [category]
        )
        for record in self.history.fetch_materializations(wanted, limit=1).records:
            assert record.asset_materialization is not None
            return (record.asset_materialization.tags or {})["dagster/data_version"]
        return None

    def collect(self) -> None:
        """Archive every version that is current now."""
        for asset, category in PLACES:
            version = self.current(asset, category)
            if version is not None:
                key = asset, category, str(version.sidecar["data_version"])
                self.versions.setdefault(key, version)

    def version(self, asset: str, category: str | None, data_version: str) -> Version:
        """Return an archived version."""
        return self.versions[asset, category, data_version]
