"""The demonstration dataset: its renderers, its layout on disk, and interrupted writing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_closing, binary_dilation

from demo import solar_cells
from demo.__main__ import main
from demo.build import DEMO_CATEGORIES, DemoCounts, build_category
from demo.fabric import render_fabric
from demo.fabric_defects import FABRIC_DEFECTS
from demo.imaging import Mask, RgbImage, coverage_mask, photograph, smooth_noise
from demo.layout import MARKER_NAME, is_complete, staged_category
from demo.solar_cells import SolarCounts, read_labels, write_solar_cells
from demo.synthesis import (
    SplitCounts,
    SyntheticCategory,
    image_rng,
    write_synthetic_category,
)
from demo.tiny import TINY_DEFECTS, build_tiny_dataset
from demo.washer import render_washer
from demo.washer_defects import WASHER_DEFECTS
from patchcore_ops.runtime.errors import DatasetError, EnvironmentProblem

Render = Callable[[np.random.Generator, str | None, int], tuple[RgbImage, Mask]]

DEFECTIVE = [
    pytest.param(render, defect, id=f"{render.__name__}-{defect}")
    for render, defects in ((render_fabric, FABRIC_DEFECTS), (render_washer, WASHER_DEFECTS))
    for defect in defects
]
VISIBLE = 8
"""Grey levels from which a difference to the clean twin counts as visible; noise is below."""


def twins(render: Render, defect: str, seed: int, size: int = 160) -> tuple[np.ndarray, Mask]:
    """Return the largest channel difference between clean and defective twin, and the mask."""
    clean, empty = render(np.random.default_rng(seed), None, size)
    broken, mask = render(np.random.default_rng(seed), defect, size)
    assert not empty.any()
    return np.abs(clean.astype(int) - broken.astype(int)).max(axis=2), mask


def closed(region: Mask) -> Mask:
    """Fill the pinholes of a region, such as yarns that a stain does not darken visibly."""
    return binary_closing(np.pad(region, 4), iterations=3)[4:-4, 4:-4]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("render", [render_fabric, render_washer])
@pytest.mark.parametrize("size", [32, 160])
def test_flawless_image_has_the_size_asked_for_and_an_empty_mask(render: Render, size: int) -> None:
    image, mask = render(np.random.default_rng(0), None, size)
    assert (image.shape, image.dtype) == ((size, size, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((size, size), np.bool_)
    assert not mask.any()
    assert image.std() > 10
    assert np.mean(image == 255) < 0.01
    with pytest.raises(ValueError, match=r"'crease'; choose one of \w+, "):
        render(np.random.default_rng(0), "crease", 32)


@pytest.mark.parametrize(("render", "defect"), DEFECTIVE)
def test_mask_is_where_the_defective_image_differs_from_its_clean_twin(
    render: Render, defect: str
) -> None:
    overlaps = []
    for seed in range(3):
        difference, mask = twins(render, defect, seed)
        changed = difference > VISIBLE
        assert 0.0005 < mask.mean() < 0.15
        assert difference[mask].mean() > VISIBLE
        # Only the lens blur and a defect's shadow reach beyond the mask.
        nearby = binary_dilation(mask, iterations=3)
        assert (changed & nearby).sum() > 0.97 * changed.sum()
        a, b = closed(changed), closed(mask)
        overlaps.append((a & b).sum() / (a | b).sum())
    assert np.mean(overlaps) > 0.55


@pytest.mark.parametrize(("render", "defect"), DEFECTIVE)
def test_severity_varies_and_is_a_function_of_the_generator(render: Render, defect: str) -> None:
    measured = [twins(render, defect, seed, size=96) for seed in range(6)]
    changes = [difference.sum() for difference, _ in measured]
    assert max(changes) > 1.5 * min(changes)
    for found, expected in zip(twins(render, defect, 5, size=96), measured[5], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_smooth_noise_is_normalised_and_band_limited() -> None:
    noise = smooth_noise(np.random.default_rng(0), 256, 24)
    assert noise.shape == (256, 256)
    assert abs(float(noise.mean())) < 0.1
    assert 0.8 < float(noise.std()) < 1.2
    assert np.abs(np.diff(noise, axis=0)).mean() < 0.15


def test_photograph_averages_samples_and_encodes_srgb() -> None:
    radiance = np.full((32, 32, 3), 0.2140, dtype=np.float32)
    radiance[::2] = 0.0
    radiance[1::2] *= 2.0
    image = photograph(radiance, np.random.default_rng(0), noise=0.0)
    assert image.shape == (16, 16, 3)
    assert np.all(np.abs(image.astype(int) - 127.5) < 1)


def test_coverage_mask_thresholds_the_covered_share_of_a_pixel() -> None:
    coverage = np.zeros((4, 4), dtype=np.float32)
    coverage[0, 0] = 1.0
    coverage[2:, 2] = 1.0
    np.testing.assert_array_equal(coverage_mask(coverage), [[False, False], [False, True]])


def test_tiny_dataset_has_the_mvtec_layout(tmp_path: Path) -> None:
    folders = build_tiny_dataset(tmp_path)
    assert folders == [tmp_path / "fabric_a", tmp_path / "fabric_b"]
    for folder in folders:
        expected = {f"train/good/{i:03d}.png" for i in range(8)}
        expected |= {f"test/good/{i:03d}.png" for i in range(4)}
        for defect in TINY_DEFECTS:
            expected |= {f"test/{defect}/{i:03d}.png" for i in range(3)}
            expected |= {f"ground_truth/{defect}/{i:03d}_mask.png" for i in range(3)}
        assert set(tree(folder)) == expected | {MARKER_NAME}
        for path in folder.glob("ground_truth/*/*.png"):
            with Image.open(path) as mask:
                assert mask.mode == "L"
                assert mask.size == (64, 64)
                assert set(np.unique(np.asarray(mask))) == {0, 255}
        with Image.open(folder / "train" / "good" / "000.png") as image:
            assert (image.mode, image.size) == ("RGB", (64, 64))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["fabric_a", "fabric_b"]


def test_an_image_depends_on_the_seed_not_on_how_many_others_there_are(tmp_path: Path) -> None:
    few = {"train": 1, "test_good": 1, "per_defect": 1, "size": 32}
    many = {**few, "train": 3, "test_good": 2, "per_defect": 2}
    trees = []
    for at, (sizes, seed) in enumerate(((few, 0), (few, 0), (many, 0), (few, 1))):
        build_tiny_dataset(tmp_path / str(at), seed=seed, **sizes)
        files = tree(tmp_path / str(at))
        trees.append({name: data for name, data in files.items() if MARKER_NAME not in name})
    first, again, more, other = trees
    assert first == again
    assert first.items() <= more.items()
    images = {name: data for name, data in first.items() if "ground_truth" not in name}
    assert all(data != other[name] for name, data in images.items())
    assert len(set(images.values())) == len(images)


def test_image_generators_differ_in_every_part_of_their_key() -> None:
    keys = [
        (0, "a", "train", "good", 0),
        (1, "a", "train", "good", 0),
        (0, "b", "train", "good", 0),
        (0, "a", "test", "good", 0),
        (0, "a", "test", "hole", 0),
        (0, "a", "train", "good", 1),
    ]
    assert len({int(image_rng(*key).integers(2**62)) for key in keys}) == len(keys)


def test_complete_category_is_kept_and_a_damaged_one_is_rewritten(tmp_path: Path) -> None:
    sizes = {"categories": ["cloth"], "train": 2, "test_good": 1, "per_defect": 1, "size": 32}
    sizes["seed"] = 3
    (folder,) = build_tiny_dataset(tmp_path, **sizes)
    original, inode = tree(folder), folder.stat().st_ino
    build_tiny_dataset(tmp_path, **sizes)
    assert folder.stat().st_ino == inode
    (folder / "train" / "good" / "001.png").unlink()
    build_tiny_dataset(tmp_path, **sizes)
    assert folder.stat().st_ino != inode
    assert tree(folder) == original


def test_interrupted_generation_leaves_no_half_category(tmp_path: Path) -> None:
    def fail_on_defects(
        rng: np.random.Generator, defect: str | None, size: int
    ) -> tuple[RgbImage, Mask]:
        if defect is not None:
            raise KeyboardInterrupt
        return render_fabric(rng, None, size)

    category = SyntheticCategory("cloth", fail_on_defects, ("hole",), SplitCounts(1, 1, 1), size=32)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic_category(tmp_path, category, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_failed_rewrite_keeps_the_previous_category(tmp_path: Path) -> None:
    folder = tmp_path / "cloth"
    with staged_category(folder, {"seed": 0}) as staging:
        (staging / "old.txt").write_text("old")
    with pytest.raises(RuntimeError), staged_category(folder, {"seed": 1}) as staging:
        (staging / "new.txt").write_text("new")
        raise RuntimeError
    assert is_complete(folder, {"seed": 0})
    assert (folder / "old.txt").read_text() == "old"


def test_foreign_folder_is_not_overwritten_unless_forced(tmp_path: Path) -> None:
    precious = tmp_path / "cloth" / "train" / "good" / "photo.png"
    precious.parent.mkdir(parents=True)
    precious.write_bytes(b"mine")
    with pytest.raises(DatasetError, match="not written by the demo generator"):
        build_tiny_dataset(tmp_path, categories=["cloth"], train=1, size=32)
    assert precious.read_bytes() == b"mine"
    with staged_category(tmp_path / "cloth", {}, force=True):
        pass
    assert not precious.exists()


COUNTS = DemoCounts(
    fabric=SplitCounts(1, 1, 1), washer=SplitCounts(1, 1, 1), solar=SolarCounts(3, 2, 2)
)


def test_solar_cells_are_labelled_copies_without_masks(tmp_path: Path) -> None:
    pytest.importorskip("elpv_dataset")
    built = build_category(tmp_path, "solar_cells_mono", seed=0, force=False, counts=COUNTS)
    files = tree(built.folder)
    images = {name: data for name, data in files.items() if name.endswith(".png")}
    assert {(Path(name).parts[0], Path(name).parts[1]) for name in images} == {
        ("train", "good"),
        ("test", "good"),
        ("test", "defective"),
    }
    assert len(images) == 7
    assert b"CC BY-NC-SA 4.0" in files["LICENSE.txt"]

    data_dir = solar_cells.elpv_data_dir()
    labels = {
        (data_dir / row.path).read_bytes(): row for row in read_labels(data_dir / "labels.csv")
    }
    for name, data in images.items():
        assert labels[data].cell_type == "mono"
        assert labels[data].defect_probability == (1.0 if "defective" in name else 0.0)
    again = write_solar_cells(tmp_path / "again", COUNTS.solar, seed=0)
    assert tree(again) == files


def test_too_many_solar_cells_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("elpv_dataset")
    with pytest.raises(DatasetError, match=r"100000 .* ask for fewer"):
        write_solar_cells(tmp_path, SolarCounts(defective=100_000), seed=0)
    assert list(tmp_path.iterdir()) == []


def test_missing_solar_cell_package_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solar_cells, "_PACKAGE", "no_such_package")
    with pytest.raises(EnvironmentProblem, match=r'pip install "patchcore-assets\[demo\]"'):
        write_solar_cells(tmp_path, SolarCounts(), seed=0)


def test_malformed_label_table_is_reported_with_its_line(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("images/cell0001.png  1.0  mono\nimages/cell0002.png  mono\n")
    with pytest.raises(DatasetError, match=r"labels\.csv line 2 "):
        read_labels(table)


def test_unknown_category_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="unknown demo category 'carpet'"):
        build_category(tmp_path, "carpet", seed=0, force=False)
    assert list(tmp_path.iterdir()) == []


def test_command_line_builds_what_is_missing_with_one_line_per_category(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("demo.build.DemoCounts", lambda: COUNTS)
    defects = {"printed_fabric": FABRIC_DEFECTS, "machined_washer": WASHER_DEFECTS}
    assert [*defects, solar_cells.CATEGORY_NAME] == list(DEMO_CATEGORIES)
    arguments = ["--root", str(tmp_path), "--categories", *defects]
    assert main(arguments) == 0
    for name, of_category in defects.items():
        tests = {path.parent.name for path in (tmp_path / name / "test").glob("*/000.png")}
        assert tests == {"good", *of_category}
        assert len(of_category) >= 4
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("7 images written to" in line for line in lines[:2])
    assert all("7 images already complete in" in line for line in lines[2:])


def test_command_line_reports_a_user_mistake_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "printed_fabric").mkdir()
    assert main(["--root", str(tmp_path), "--categories", "printed_fabric"]) == 1
    captured = capsys.readouterr()
    assert "was not written by the demo generator" in captured.err
    assert captured.out == ""
