"""Which images are meant: files, folders, patterns and lists become one list of files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from patchcore_ops.dataset.image_formats import IMAGE_EXTENSIONS, printable
from patchcore_ops.model.prediction import Unreadable
from patchcore_ops.runtime.errors import DatasetError

_WILDCARDS = "*?["


def list_images(names: Iterable[str], beside: Path | None = None) -> list[Path | Unreadable]:
    """List the images that some names stand for, each once, in the order of the names.

    A file is taken whatever it is called. A folder stands for the files below it that are named as
    images, in the order of their paths; hidden ones and links to folders are left out, and so is
    the folder `beside`, where results are written. A name of nothing that exists may be a pattern,
    as of a shell; `**` is any folders. What leads to no image says why, in its place. Raises
    DatasetError if there is no image at all.
    """
    found: dict[str, Path | Unreadable] = {}
    for name in names:
        for one in _of_name(name, beside):
            found.setdefault(one.name if isinstance(one, Unreadable) else str(one), one)
    problems = [one.reason for one in found.values() if isinstance(one, Unreadable)]
    if len(problems) == len(found):
        raise DatasetError("\n".join(problems) or "no image is named; name files or folders")
    return list(found.values())


def names_of_list(content: bytes) -> list[str]:
    """Return the names of a list: one a line, or ended by NUL as `find -print0` does."""
    text = os.fsdecode(content)
    names = text.split("\0") if "\0" in text else text.split("\n")
    return [name for name in (one.removesuffix("\r") for one in names) if name]


def _of_name(name: str, beside: Path | None) -> Iterator[Path | Unreadable]:
    path = Path(name)
    try:
        # Of the name, not the path: an empty name would be the current folder.
        is_there = os.path.lexists(name)
    except ValueError:
        is_there = False
    if is_there:
        yield from _of_path(path, beside)
        return
    if any(sign in name for sign in _WILDCARDS):
        matches = [
            match
            for match in sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - as they are named
            if not _is_within(Path(match), beside)
        ]
        for match in matches:
            yield from _of_path(Path(match), beside)
        if not matches:
            yield _problem(name, "no file has a name like that; correct the pattern")
        return
    yield _problem(name or "''", "no such file or folder; correct the name, or restore it")


def _of_path(path: Path, beside: Path | None) -> Iterator[Path | Unreadable]:
    if not path.is_dir():
        yield path
        return
    count = 0
    for one in _below(path, beside):
        count += 1
        yield one
    if not count:
        yield _problem(
            path, f"holds no image (*{', *'.join(sorted(IMAGE_EXTENSIONS))}); name another folder"
        )


def _below(folder: Path, beside: Path | None) -> Iterator[Path | Unreadable]:
    problems: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=problems.append):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if name[0] != "." and not _is_same(here / name, beside)
        )
        for name in sorted(files):
            if name[0] != "." and Path(name).suffix.lower() in IMAGE_EXTENSIONS:
                yield here / name
    for error in problems:
        yield _problem(
            error.filename, f"cannot be read ({error.strerror}); let the user who runs this read it"
        )


def _is_same(folder: Path, beside: Path | None) -> bool:
    try:
        return beside is not None and folder.samefile(beside)
    except OSError:
        return False


def _is_within(path: Path, beside: Path | None) -> bool:
    return any(_is_same(one, beside) for one in (path, *path.parents))


def _problem(name: str | Path, sentence: str) -> Unreadable:
    return Unreadable(str(name), f"{printable(name)}: {sentence}")
