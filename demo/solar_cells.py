"""Real electroluminescence photographs of solar cells, from the `elpv-dataset` package.

Monocrystalline cells that its annotators found certainly functional or certainly defective are
laid out as a category; the doubtful ones are left out. There are no pixel masks.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from demo.layout import GOOD, Recipe, copy_image, staged_category
from patchcore_ops.runtime.errors import DatasetError, EnvironmentProblem

CATEGORY_NAME = "solar_cells_mono"
DEFECTIVE = "defective"
LICENSE_NAME = "LICENSE.txt"

_PACKAGE = "elpv_dataset"

_LICENSE_TEXT = """\
The images in this folder are unmodified copies of a selection of the monocrystalline cells of
the ELPV dataset: https://github.com/zae-bayern/elpv-dataset

Licence: Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International
(CC BY-NC-SA 4.0), https://creativecommons.org/licenses/by-nc-sa/4.0/

The dataset's authors ask that users cite:

Buerhop-Lutz, C.; Deitsch, S.; Maier, A.; Gallwitz, F.; Berger, S.; Doll, B.; Hauch, J.;
Camus, C. & Brabec, C. J. A Benchmark for Visual Identification of Defective Solar Cells in
Electroluminescence Imagery. European PV Solar Energy Conference and Exhibition (EU PVSEC), 2018.
DOI: 10.4229/35thEUPVSEC20182018-5CV.3.15

Deitsch, S., Buerhop-Lutz, C., Sovetkin, E., Steland, A., Maier, A., Gallwitz, F., & Riess, C.
(2021). Segmentation of photovoltaic module cells in uncalibrated electroluminescence images.
Machine Vision and Applications, 32(4). DOI: 10.1007/s00138-021-01191-9

Deitsch, S.; Christlein, V.; Berger, S.; Buerhop-Lutz, C.; Maier, A.; Gallwitz, F. & Riess, C.
Automatic classification of defective photovoltaic module cells in electroluminescence images.
Solar Energy, Elsevier BV, 2019, 185, 455-468. DOI: 10.1016/j.solener.2019.02.067
"""


@dataclass(frozen=True)
class SolarCounts:
    """Cells to select: functional for training, functional for testing, defective."""

    train: int = 100
    test_good: int = 30
    defective: int = 40


@dataclass(frozen=True)
class CellLabel:
    """One row of the dataset's label table."""

    path: str  # image file, relative to the label table
    defect_probability: float  # 0 (functional), 1/3, 2/3 or 1 (defective)
    cell_type: str  # `mono` or `poly` (crystalline)


def solar_recipe(counts: SolarCounts, seed: int) -> Recipe:
    """Return what determines the category's files, for the completion marker."""
    return {"seed": seed, "counts": asdict(counts)}


def write_solar_cells(root: Path, counts: SolarCounts, *, seed: int, force: bool = False) -> Path:
    """Copy a seeded selection of cells into `root / "solar_cells_mono"` and return that folder.

    Raises EnvironmentProblem if the `elpv-dataset` package is not installed, and DatasetError if it
    has fewer cells than `counts` asks for, or the folder is not the generator's own and `force` is
    false.
    """
    data_dir = elpv_data_dir()
    labels = read_labels(data_dir / "labels.csv")
    mono = [label for label in labels if label.cell_type == "mono"]
    functional = [label.path for label in mono if label.defect_probability == 0.0]
    defective = [label.path for label in mono if label.defect_probability == 1.0]

    rng = np.random.default_rng(seed)
    good = _select(rng, functional, counts.train + counts.test_good, "functional")
    selection = {
        ("train", GOOD): good[: counts.train],
        ("test", GOOD): good[counts.train :],
        ("test", DEFECTIVE): _select(rng, defective, counts.defective, DEFECTIVE),
    }
    category_dir = root / CATEGORY_NAME
    with staged_category(category_dir, solar_recipe(counts, seed), force=force) as staging:
        for (split, label), paths in selection.items():
            for index, path in enumerate(paths):
                copy_image(data_dir / path, staging, split, label, index)
        (staging / LICENSE_NAME).write_text(_LICENSE_TEXT, encoding="utf-8")
    return category_dir


def elpv_data_dir() -> Path:
    """Return the folder of the installed dataset's label table."""
    try:
        package = importlib.resources.files(_PACKAGE)
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(
            f"category {CATEGORY_NAME} needs the elpv-dataset package;"
            ' install it with: pip install "patchcore-assets[demo]"'
        ) from error
    return Path(str(package)) / "data"


def read_labels(labels_csv: Path) -> list[CellLabel]:
    """Parse the dataset's label table, whose columns are separated by runs of spaces.

    Raises DatasetError if a line does not have three columns with a number in the second.
    """
    labels = []
    lines = labels_csv.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            path, probability, cell_type = line.split()
            labels.append(CellLabel(path, float(probability), cell_type))
        except ValueError as error:
            raise DatasetError(
                f"{labels_csv} line {number} is not 'path probability type';"
                " reinstall the elpv-dataset package"
            ) from error
    return labels


def _select(rng: np.random.Generator, paths: Sequence[str], count: int, kind: str) -> list[str]:
    if count > len(paths):
        raise DatasetError(
            f"{count} {kind} monocrystalline cells were asked for but elpv-dataset has"
            f" {len(paths)}; ask for fewer"
        )
    return [paths[i] for i in rng.permutation(len(paths))[:count]]
