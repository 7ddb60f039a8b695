"""Names in any script, with markup, quotes and line breaks, from the folder to table and page."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from PIL import Image
from pipeline_kit import BY_CATEGORY, CATEGORY, OVER_ALL, execute, failures, write_config

from demo.tiny import build_tiny_dataset
from patchcore_assets.graph import define
from patchcore_assets.inputs.watch import look_at_inputs
from patchcore_ops.config import load_config

NAMES = ("Ventil groß 2", "部品 A")
DEFECTS = ("<img src=x onerror=alert(1)>", "[a](javascript:alert(1))")
IMAGE = "![x](https:evil.example)](data:text) <script>alert(2)<.png"
ODD = ("two\nlines", "<script>b", "Röhre 图像 \U0001f52c")
# What must not appear as it is where a page takes markup.
MARKUP = ("<img src=x", "](javascript:", "<script>alert", "](https:evil", "](data:text)")


def rename_images(folder: Path) -> None:
    """Give a category the names that an attacker or a careless user would choose."""
    for label, name in zip(("hole", "stain"), DEFECTS, strict=True):
        for parent in ("test", "ground_truth"):
            (folder / parent / label).rename(folder / parent / name)
    for file, name in zip(sorted((folder / "test" / DEFECTS[0]).iterdir()), ODD, strict=True):
        mask = folder / "ground_truth" / DEFECTS[0] / f"{file.stem}_mask.png"
        mask.rename(mask.with_name(f"{name}_mask.png"))
        file.rename(file.with_name(f"{name}.png"))
    first, second = sorted((folder / "test/good").iterdir())[:2]
    first.rename(first.with_name(IMAGE))
    with Image.open(second) as image:
        image.save(second.with_suffix(".bmp"))
    (folder / "test/good" / f"{DEFECTS[0]}.txt").write_text("not an image")
    train = sorted((folder / "train/good").iterdir())[0]
    train.rename(train.with_name(" a 'b' \"c\" & .PNG"))


@dataclass(frozen=True)
class Made:
    """What the benchmark has made of such names: its artefacts, and markdown that pages render."""

    storage: Path
    markdown: list[str]
    pictures: object

    def page(self) -> str:
        return (self.storage / "benchmark_report/index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(pip_weights: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("names")
    build_tiny_dataset(folder / "data", categories=NAMES, train=4, test_good=3)
    rename_images(folder / "data" / NAMES[0])
    config = write_config(
        folder / "benchmark.yaml",
        folder / "data",
        dataset={"categories": "discover"},
        runtime={"save_segmentation_images": True},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        for event in look_at_inputs(instance, load_config(config)).changed:
            instance.report_runless_asset_event(event)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            requested = dg.evaluate_automation_conditions(define(load_config(config)), instance)
        assert requested.get_requested_partitions(dg.AssetKey("image_manifest")) == set(NAMES)
        runs = [(BY_CATEGORY, name) for name in reversed(NAMES)] + [(OVER_ALL, None)]
        for assets, partition in runs:
            result = execute(config, *assets, partition=partition, instance=instance)
            assert result.success, failures(result)
        assert look_at_inputs(instance, load_config(config)).changed == []
        materialised = [
            instance.get_latest_materialization_event(dg.AssetKey(asset))
            for asset in (*BY_CATEGORY, *OVER_ALL)
        ]
    metadata = [
        event.asset_materialization.metadata
        for event in materialised
        if event is not None and event.asset_materialization is not None
    ]
    name = "pictures_of_all_images"
    [pictures] = [one[name] for one in metadata if name in one]
    values = [value for one in metadata for value in one.values()]
    yield Made(
        folder / "storage",
        [value.value or "" for value in values if isinstance(value, dg.MarkdownMetadataValue)],
        pictures,
    )


def test_names_are_kept_as_they_are(made: Made) -> None:
    table = pd.read_csv(made.storage / "metrics/metrics.csv")
    assert table["category"].tolist() == [*NAMES, "Mean"]
    scores = pd.read_parquet(made.storage / "test_predictions" / NAMES[0] / "scores.parquet")
    assert set(scores["label"]) == {*DEFECTS, "good"}
    paths = {f"{NAMES[0]}/test/{DEFECTS[0]}/{name}.png" for name in ODD}
    assert paths | {f"{NAMES[0]}/test/good/{IMAGE}"} <= set(scores["path"])


def test_pictures_of_all_images_are_named_after_them(made: Made) -> None:
    folder = made.storage / "test_predictions" / NAMES[0] / "segmentation_images"
    assert made.pictures == dg.MetadataValue.path(str(folder))
    saved = {one.name: {file.name for file in one.iterdir()} for one in folder.iterdir()}
    assert saved.keys() == {*DEFECTS, "good"}
    assert saved[DEFECTS[0]] == {f"{name}.png" for name in ODD}
    # Two images that differ by their suffix alone keep it.
    assert saved["good"] == {IMAGE, "001.png.png", "001.bmp.png", "002.png"}


def test_no_name_becomes_markdown(made: Made) -> None:
    assert len(made.markdown) > 5
    every_target = []
    for entry in made.markdown:
        assert not [markup for markup in MARKUP if markup in entry]
        # Whatever is linked or embedded is data that was made here.
        targets = re.findall(r"]\(<?([a-z]+:[^,]{0,40})", entry)
        for target in targets:
            assert target.startswith(("data:image/jpeg;base64", "data:image/svg+xml")), target
        every_target.extend(targets)
    # The plan of the stages is a table without any.
    assert len(every_target) >= len(made.markdown) - len(NAMES)


def test_no_name_becomes_html_and_links_lead_to_sections(made: Made) -> None:
    page = made.page()
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert not [markup for markup in ("<img src=x", "<script>alert", ODD[1]) if markup in page]
    assert page.count("<script") == 1
    assert not re.search(r"(?:href|src)=[\"']?(?:javascript|https?):", page)
    for anchor, name in zip(("category-1-ventil-gro-2", "category-2-a"), NAMES, strict=True):
        assert f'href="#{anchor}">{name}<' in page
        assert page.count(f'id="{anchor}"') == 1


def test_one_failure_names_every_problem_of_a_folder(tmp_path: Path) -> None:
    build_tiny_dataset(tmp_path / "data", categories=(CATEGORY,))
    folder = tmp_path / "data" / CATEGORY
    first, second = sorted((folder / "train/good").glob("*.png"))[:2]
    first.write_bytes(first.read_bytes()[:200])
    second.write_bytes(b"")
    for file in (folder / "test").rglob("*.png"):
        file.unlink()
    config = write_config(
        tmp_path / "benchmark.yaml", tmp_path / "data", dataset={"categories": [CATEGORY]}
    )
    said = failures(execute(config, "image_manifest"))["image_manifest"]
    problems = [line.split(": ")[0] for line in said.splitlines()]
    assert problems == [str(first), str(second), str(folder / "test")]
