"""Damaged image files: an array of the right kind or a sentence, never anything else."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_budget import Budget
from image_mutations import mutate, seeds

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset import load_mask
from patchcore_ops.dataset.image_inspection import inspect_image, inspect_mask
from patchcore_ops.dataset.images import load_image, load_thumbnail
from patchcore_ops.runtime.errors import DatasetError

SIZE = ImageSize(resize=24, imagesize=16, max_pixels=2**20)
# Some formats promise many pixels in few bytes; 2^20 pixels are a few megabytes in every mode.
MOST_MEMORY_MB = 400


def is_array(*shape: int) -> Callable[[Any], bool]:
    return lambda found: found.dtype == np.uint8 and found.shape == shape


def is_thumbnail(found: Any) -> bool:
    return found.dtype == np.uint8 and found.shape[2:] == (3,) and max(found.shape[:2]) <= 16


def is_small(found: Any) -> bool:
    return 0 < found.width * found.height <= SIZE.max_pixels


READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], bool]]] = {
    "image": (partial(load_image, size=SIZE), is_array(16, 16, 3)),
    "mask": (partial(load_mask, size=SIZE), is_array(16, 16)),
    "thumbnail": (partial(load_thumbnail, side=16, max_pixels=SIZE.max_pixels), is_thumbnail),
    "inspected image": (partial(inspect_image, max_pixels=SIZE.max_pixels), is_small),
    "inspected mask": (partial(inspect_mask, size=SIZE, mask_threshold=0.5), is_small),
}


def outcome(reader: str, file: Path) -> str:
    """Read a file; whatever is neither a fit result nor one clear sentence fails the test."""
    read, is_fit = READERS[reader]
    try:
        found = read(file)
    except DatasetError as problem:
        sentence = str(problem)
        assert sentence.startswith(f"{file}: "), sentence
        assert "\n" not in sentence
        assert sentence.isprintable()
        return "refused"
    assert is_fit(found), (reader, found)
    return "accepted"


@pytest.mark.filterwarnings("ignore")
def test_the_seeds_are_what_they_should_be(tmp_path: Path) -> None:
    for name, content in seeds().items():
        file = tmp_path / "seed"
        file.write_bytes(content)
        expected = "refused" if name in ("tiff F", "tiff I", "tiff LAB") else "accepted"
        assert {outcome(reader, file) for reader in READERS} == {expected}, name


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_gives_an_array_or_a_sentence(budget: Budget, tmp_path: Path) -> None:
    files = seeds()
    names = sorted(files)
    found: Counter[tuple[str, str, str]] = Counter()
    unnoticed = 0
    before = memory_mb()
    for attempt, chance in enumerate(budget):
        name = names[attempt % len(names)]
        file = tmp_path / "damaged"
        file.write_bytes(mutate(files[name], chance, files))
        try:
            outcomes = {reader: outcome(reader, file) for reader in READERS}
        except BaseException:
            kept = file.rename(tmp_path / f"failing-{attempt}")
            budget.say(f"attempt {attempt} of seed {budget.seed}, a damaged {name}: {kept}")
            raise
        for reader, each in outcomes.items():
            found[name.split()[0], reader, each] += 1
        unnoticed += outcomes["inspected image"] == "accepted" and outcomes["image"] == "refused"
        assert memory_mb() < before + MOST_MEMORY_MB, f"a damaged {name} took the memory"
    budget.say(
        f"{budget.attempts} damaged files, the slowest {budget.slowest * 1000:.0f} ms",
        f"memory {before:.0f} MB before, {memory_mb():.0f} MB at most",
        f"{unnoticed} of them pass the inspection of the manifest and cannot be loaded",
        *(
            f"{kind:5} {reader:16} {each:9} {count}"
            for (kind, reader, each), count in sorted(found.items())
        ),
    )
    assert {each for _, _, each in found} == {"accepted", "refused"}


def memory_mb() -> float:
    """Return the most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
