"""A tiny benchmark that is edited, run and killed, with an archive of all that was ever in it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import yaml
from PIL import Image
from pipeline_kit import BY_CATEGORY, OVER_ALL, edited_while_at_work

CATEGORIES = ("washer", "fabric")
SIDE = 48
POOL = 40
_LABELS = ("train/good", "test/good", "test/dent", "test/spot")
_SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_SMALL = (".parquet", ".json", ".csv", ".html")


def content(number: int) -> bytes:
    """Return the PNG file of one of the images; no two look alike."""
    draw = np.random.default_rng(number)
    cells = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pixels = np.kron(cells, np.ones((SIDE // 4, SIDE // 4, 1), dtype=np.uint8))
    return _png(pixels)


def mask(number: int, side: int = SIDE) -> bytes:
    """Return a mask with one rectangle."""
    draw = np.random.default_rng(1000 + number)
    top, left = draw.integers(0, side // 2, 2)
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

    @property
    def data_version(self) -> str:
        return str(self.sidecar["data_version"])

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


@dataclass
class Site:
    """One installation: images, configuration, artefacts and run history, all in one folder."""

    folder: Path
    weights: Path
    sections: dict[str, Any] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    images_by_content: set[str] = field(default_factory=set)
    versions: dict[tuple[str, str | None, str], Version] = field(default_factory=dict)
    killed: bool = False

    def __post_init__(self) -> None:
        self.dataset = self.folder / "data"
        self.storage = self.folder / "storage"
        self.file = self.folder / "benchmark.yaml"
        # In memory, for speed: what a killed process has told it is lost, as if it had no time.
        self.history = dg.DagsterInstance.ephemeral()
        number = 0
        for category in CATEGORIES:
            for label, count in zip(_LABELS, (4, 2, 2, 1), strict=True):
                for at in range(count):
                    self.put(f"{category}/{label}/{at:03}.png", content(number))
                    if label in ("test/dent", "test/spot"):
                        place = f"{category}/ground_truth/{label[5:]}/{at:03}_mask.png"
                        self.put(place, mask(number))
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

    def images(self, category: str) -> list[str]:
        """Return the places of a category's images."""
        root = self.dataset / category
        files = [*root.glob("train/*/*.png"), *root.glob("test/*/*.png")]
        return sorted(file.relative_to(self.dataset).as_posix() for file in files)

    def configure(self, changes: dict[str, Any]) -> None:
        """Change settings and write the file."""
        for key, value in changes.items():
            *path, name = key.split(".")
            place = self.sections
            for part in path:
                place = place.setdefault(part, {})
            place[name] = value
        layers = self.sections.get("layers", ["layer1", "layer2"])
        member = {"backbone": "test_resnet", "layers": layers, "weights": str(self.weights)}
        own = {key: value for key, value in self.sections.items() if key != "layers"}
        text = {
            **own,
            "dataset": {
                "root": "data",
                "categories": list(CATEGORIES),
                "resize": SIDE,
                "imagesize": SIDE,
                **own.get("dataset", {}),
            },
            "embedding": {
                "members": [member],
                "pretrain_embed_dimension": 16,
                "target_embed_dimension": 16,
                **own.get("embedding", {}),
            },
            "coreset": {"projection_dimension": 8, **own.get("coreset", {})},
            "runtime": {
                "device": "cpu",
                "engine": "torch",
                "num_workers": 0,
                "batch_size": 4,
                "faiss_num_workers": 1,
            },
            "checks": {"minimum_train_images": 1, "minimum_test_images": 1, "regression": "ignore"},
            "storage": {"root": "storage"},
        }
        self.file.write_text(yaml.safe_dump(text), encoding="utf-8")

    def run(
        self, assets: list[str], category: str | None, during: Callable[[], None] | None = None
    ) -> dict[str, str]:
        """Materialise assets in one run; returns what each failed step says."""
        with edited_while_at_work(during):
            said = _execute(self.file, self.history, assets, category)
        self.collect()
        return said

    def run_and_kill(self, assets: list[str], category: str | None, after: float) -> None:
        """Materialise assets in a process that is killed after some seconds."""
        child = os.fork()
        if child == 0:
            with Path(os.devnull).open("w", encoding="utf-8") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            try:
                _execute(self.file, self.history, assets, category)
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

    def collect(self) -> None:
        """Archive every version that is current now."""
        for asset, category in places():
            version = self.current(asset, category)
            if version is not None:
                self.versions.setdefault((asset, category, version.data_version), version)

    def version(self, asset: str, category: str | None, data_version: str) -> Version:
        """Return an archived version."""
        return self.versions[asset, category, data_version]


def places() -> Iterator[tuple[str, str | None]]:
    """Yield every artefact that there may be."""
    for asset in BY_CATEGORY:
        for category in CATEGORIES:
            yield asset, category
    for asset in OVER_ALL:
        yield asset, None


def _execute(
    file: Path, history: dg.DagsterInstance, assets: list[str], category: str | None
) -> dict[str, str]:
    from patchcore_assets.graph import define
    from patchcore_ops.config import load_config

    job = define(load_config(file)).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        run_config=_SILENT,
        instance=history,
        partition_key=category,
        raise_on_error=False,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
    )
    said = {}
    for event in result.filter_events(lambda event: event.is_step_failure):
        data = event.step_failure_data
        if data.user_failure_data is not None:
            said[str(event.step_key)] = data.user_failure_data.description or ""
        else:
            said[str(event.step_key)] = f"NOT A SENTENCE: {data.error.to_string()}"
    return said


def in_a_child(function: Callable[[], Any], log: Path) -> Any:
    """Run a function in a forked process and return its result, None if it ended without one."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(output, 1)
            os.dup2(output, 2)
            with os.fdopen(writing, "w", encoding="utf-8") as stream:
                json.dump(function(), stream)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None
