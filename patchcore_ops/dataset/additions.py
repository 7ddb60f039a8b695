"""Adds images to the folder of a category: all that are given, or none."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.dataset.category_folder import GROUND_TRUTH, Listing, list_category
from patchcore_ops.dataset.image_formats import (
    IMAGE_EXTENSIONS,
    decoding,
    opened,
    printable,
    problem_report,
)
from patchcore_ops.dataset.image_inspection import ImageTraits, inspect_image, inspect_mask
from patchcore_ops.dataset.mask_pairing import pair_masks
from patchcore_ops.dataset.png import decoded
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.runtime.fingerprints import file_hash

_EXTENSIONS = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}
# A file's name has at most 255 bytes, of which others want some.
_MOST_BYTES_OF_STEM = 120


class Addition(NamedTuple):
    """A file and its place in the dataset, where it may have been before; and remarks on it."""

    source: Path
    target: Path
    is_new: bool
    remarks: tuple[str, ...] = ()


class _Candidate(NamedTuple):
    """A sound image that is to be added."""

    file: Path
    digest: str
    traits: ImageTraits


def add_images(
    files: Iterable[Path],
    root: Path,
    category: str,
    place: str,
    origin: str,
    settings: CategoryConfig,
    fine: Sequence[str] = (),
    mask: Path | None = None,
) -> list[Addition]:
    """Copy images into a category, byte for byte, under names that say where they come from.

    All are read as the benchmark reads images before the first is copied. They go to `place` in the
    category's folder, `train/good` or `test/<label>`; `origin` is the first word of their names.
    One whose content is there already, or in a place of `fine`, is not added. `mask` is the ground
    truth of a single image. Returns an addition for each image, then one for the mask. Raises
    DatasetError with a line for each file that cannot be added; then none is.
    """
    folder = root / category
    listing = list_category(root, category)
    problems: list[str] = []
    candidates = list(_candidates(files, settings, problems))
    known = _known(listing, candidates)
    additions, copies = [], []
    for file, digest, traits in candidates:
        target = folder / place / _name(origin, file, digest)
        there = known.get(digest)
        if there is not None and there.parent not in {folder / one for one in (place, *fine)}:
            name = printable(there.relative_to(folder).as_posix())
            problems.append(
                f"{printable(file)}: is {name} of '{category}' already, so it would be both; "
                "remove it there first"
            )
        elif there is not None:
            additions.append(Addition(file, there, False, traits.remarks))
        else:
            additions.append(Addition(file, target, True, traits.remarks))
            copies.append((file, digest, target))
            # One may be given twice.
            known[digest] = target
    if mask is not None and candidates and not problems:
        addition = _mask_addition(mask, folder, additions[0], candidates[0], listing, settings)
        additions.append(addition)
        # First, so that the image is never there without it.
        copies.insert(0, (mask, file_hash(mask), addition.target))
    if problems:
        raise problem_report(problems)
    with _write_problems(folder):
        _copy(copies)
    return additions


def _candidates(
    files: Iterable[Path], settings: CategoryConfig, problems: list[str]
) -> Iterator[_Candidate]:
    for file in files:
        try:
            _refuse_no_file(file)
            traits = inspect_image(file, settings.dataset.max_pixels)
            # Of a PNG file only the checksums have been looked at.
            with opened(file, settings.dataset.max_pixels) as image, decoding(file):
                decoded(image)
            yield _Candidate(file, file_hash(file), traits)
        except DatasetError as problem:
            problems.append(str(problem))


def _refuse_no_file(file: Path) -> None:
    if not file.exists():
        raise DatasetError(f"{printable(file)}: no such file; name an image")
    if file.is_dir():
        raise DatasetError(f"{printable(file)}: is a folder; name the images in it")


def _known(listing: Listing, candidates: Sequence[_Candidate]) -> dict[str, Path]:
    """Return the category's images by content; only those as large as a candidate are read."""
    sizes = {candidate.file.stat().st_size for candidate in candidates}
    known: dict[str, Path] = {}
    for image in listing.images:
        with decoding(image.path):
            if image.path.stat().st_size in sizes:
                known.setdefault(file_hash(image.path), image.path)
    return known


def _name(origin: str, file: Path, digest: str) -> str:
    """Name a copy by its origin, the day, and the file's name and content."""
    extension = file.suffix.lower()
    if extension not in IMAGE_EXTENSIONS:
        with opened(file, 2**32) as image:
            extension = _EXTENSIONS[str(image.format)]
    stem = re.sub(r"[^\w.-]+", "_", file.stem).encode()[:_MOST_BYTES_OF_STEM]
    day = datetime.now(UTC).strftime("%Y%m%d")
    return f"{origin}-{day}-{stem.decode(errors='ignore')}-{digest[:8]}{extension}"


def _mask_addition(
    mask: Path,
    folder: Path,
    image: Addition,
    candidate: _Candidate,
    listing: Listing,
    settings: CategoryConfig,
) -> Addition:
    _refuse_no_file(mask)
    traits = inspect_mask(mask, settings.dataset, settings.metrics.mask_threshold)
    of_image = candidate.traits
    if (traits.width, traits.height) != (of_image.width, of_image.height):
        raise DatasetError(
            f"{printable(mask)}: has {traits.width} x {traits.height} pixels, but its image "
            f"{of_image.width} x {of_image.height}; give a mask of the image's size"
        )
    extension = mask.suffix.lower()
    if extension not in IMAGE_EXTENSIONS:
        extension = ".png"
    label = image.target.parent.name
    target = folder / GROUND_TRUTH / label / f"{image.target.stem}_mask{extension}"
    there = pair_masks(listing)[0].get(image.target, target)
    if there.exists():
        raise DatasetError(
            f"{printable(there)}: is the image's mask already; remove it to give another one"
        )
    return Addition(mask, target, True, () if traits.doubt is None else (traits.doubt,))


def _copy(copies: Iterable[tuple[Path, str, Path]]) -> None:
    """Copy files aside, and rename them when all are there; an error takes all away again."""
    with ExitStack() as undo:
        asides = []
        for source, digest, target in copies:
            if target.exists():
                raise DatasetError(f"{printable(target)}: is there with another content; move it")
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(f".{target.name}.{os.getpid()}")
            undo.callback(aside.unlink, missing_ok=True)
            shutil.copyfile(source, aside)
            with aside.open("rb") as copy:
                os.fsync(copy.fileno())
            if file_hash(aside) != digest:
                raise DatasetError(f"{printable(source)}: changed while it was read; try again")
            asides.append((aside, target))
        for aside, target in asides:
            undo.callback(target.unlink, missing_ok=True)
            aside.rename(target)
        undo.pop_all()


@contextmanager
def _write_problems(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"{printable(error.filename or folder)}: cannot be copied or written "
            f"({error.strerror or error}); nothing was added. Make room, or let this user write "
            f"below {printable(folder)}"
        ) from None
