"""Names of folders and files as an attacker would choose them, through the whole benchmark."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, OVER_ALL, complete, write_config

DEFECTS = (
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
)
IMAGE = "![x](https:evil.example)](data:text) <script>alert(2)<.png"
# What must not appear as it is where a page takes markup.
MARKUP = ("<img src=x", "](javascript:", "<script>alert", "](https:evil", "](data:text)")


@pytest.fixture(scope="module")
def hostile(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the tiny dataset and rename its defects, one of its images and what is skipped."""
    root = tmp_path_factory.mktemp("hostile") / "dataset"
    shutil.copytree(tiny_dataset / CATEGORY, root / CATEGORY)
    folder = root / CATEGORY
    labels = sorted(entry.name for entry in (folder / "test").iterdir() if entry.name != "good")
    for label, name in zip(labels, DEFECTS, strict=True):
        for parent in ("test", "ground_truth"):
            if (folder / parent / label).is_dir():
                (folder / parent / label).rename(folder / parent / name)
    image = sorted((folder / "test" / "good").iterdir())[0]
    image.rename(image.with_name(IMAGE))
    (folder / "test" / "good" / f"{DEFECTS[0]}.txt").write_text("not an image")
    return root


@dataclass(frozen=True)
class Made:
    """What the benchmark has made of such names: its artefacts, and markdown that pages render."""

    storage: Path
    markdown: list[str]

    def pictures(self) -> list[Path]:
        folder = self.storage / "test_predictions" / CATEGORY / "segmentation_images"
        return [file for file in folder.rglob("*") if file.is_file()]


@pytest.fixture(scope="module")
def made(pip_weights: None, hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    config = write_config(
        tmp_path_factory.mktemp("names") / "benchmark.yaml",
        hostile,
        dataset={"categories": [CATEGORY]},
        runtime={"save_segmentation_images": True},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        storage = complete(config, *BY_CATEGORY, instance=instance)
        complete(config, *OVER_ALL, partition=None, instance=instance)
        events = [
            instance.get_latest_materialization_event(dg.AssetKey(asset))
            for asset in (*BY_CATEGORY, *OVER_ALL)
        ]
    return Made(
        storage,
        [
            value.value or ""
            for event in events
            if event is not None and event.asset_materialization is not None
            for value in event.asset_materialization.metadata.values()
            if isinstance(value, dg.MarkdownMetadataValue)
        ],
    )


def test_names_are_kept_as_they_are(made: Made) -> None:
    scores = pd.read_parquet(made.storage / "test_predictions" / CATEGORY / "scores.parquet")
    assert {*DEFECTS} <= {*scores["label"]}
    assert any(path.endswith(IMAGE) for path in scores["path"])


def test_no_name_becomes_markdown(made: Made) -> None:
    assert len(made.markdown) > 5
    for entry in made.markdown:
        assert not [markup for markup in MARKUP if markup in entry]
        # Whatever is linked or embedded is data that was made here.
        targets = re.findall(r"]\(<?([a-z]+:[^,]{0,40})", entry)
        assert targets
        for target in targets:
            assert target.startswith(("data:image/jpeg;base64", "data:image/svg+xml")), target


def test_no_name_becomes_html(made: Made) -> None:
    page = (made.storage / "benchmark_report" / "index.html").read_text(encoding="utf-8")
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert page.count("<script") == 1
    assert not re.search(r"(?:href|src)=[\"']?(?:javascript|https?):", page)


def test_pictures_are_named_after_their_images(made: Made) -> None:
    found = {(file.parent.name, file.suffix) for file in made.pictures()}
    assert found == {(label, ".png") for label in (*DEFECTS, "good")}
    assert IMAGE in {file.name for file in made.pictures()}
