"""Names that are legal but unusual, and a folder with several faults, through the whole graph."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from pipeline_kit import BY_CATEGORY, CATEGORY, OVER_ALL, Configure, complete, execute, failures

from demo.tiny import build_tiny_dataset

ODD = ("two\nlines", "<script>b", "Röhre 图像 \U0001f52c", " a 'b' \"c\" & ")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    build_tiny_dataset(tmp_path / "dataset", categories=(CATEGORY,))
    return tmp_path / "dataset"


@pytest.mark.usefixtures("pip_weights")
def test_odd_names_go_through_to_the_report(
    configure: Configure, dataset: Path, tmp_path: Path
) -> None:
    folder = dataset / CATEGORY
    hole = sorted((folder / "test/hole").glob("*.png"))
    for file, name in zip(hole, ODD[:3], strict=True):
        mask = folder / "ground_truth/hole" / f"{file.stem}_mask.png"
        mask.rename(mask.with_name(f"{name}_mask.png"))
        file.rename(file.with_name(f"{name}.png"))
    good = sorted((folder / "test/good").glob("*.png"))
    with Image.open(good[0]) as image:
        image.save(good[0].with_suffix(".bmp"))
    train = sorted((folder / "train/good").glob("*.png"))[0]
    train.rename(train.with_name(f"{ODD[3]}.PNG"))
    config = configure(
        dataset={"root": str(dataset), "categories": [CATEGORY]},
        runtime={"save_segmentation_images": True},
    )
    storage = complete(config, *BY_CATEGORY, *OVER_ALL)
    scores = pd.read_parquet(storage / "test_predictions" / CATEGORY / "scores.parquet")
    assert {f"{CATEGORY}/test/hole/{name}.png" for name in ODD[:3]} <= set(scores["path"])
    saved = storage / "test_predictions" / CATEGORY / "segmentation_images"
    assert {file.stem for file in (saved / "hole").iterdir()} == set(ODD[:3])
    assert {file.stem for file in (saved / "good").iterdir()} == {
        good[0].name,
        good[0].with_suffix(".bmp").name,
        *(file.stem for file in good[1:]),
    }
    page = (storage / "benchmark_report/index.html").read_text(encoding="utf-8")
    assert ODD[1] not in page


def test_one_failure_names_every_problem_of_a_folder(configure: Configure, dataset: Path) -> None:
    folder = dataset / CATEGORY
    first, second = sorted((folder / "train/good").glob("*.png"))[:2]
    first.write_bytes(first.read_bytes()[:200])
    second.write_bytes(b"")
    for file in (folder / "test").rglob("*.png"):
        file.unlink()
    config = configure(dataset={"root": str(dataset), "categories": [CATEGORY]})
    said = failures(execute(config, "image_manifest"))
    lines = said["image_manifest"].splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        str(first),
        str(second),
        str(folder / "test"),
    ]
