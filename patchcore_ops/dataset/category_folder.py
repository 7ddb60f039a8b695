"""Sorts the files of a category's folder by place and name; no content is read.

Every file is an image, ground truth, skipped, beside the dataset or a problem. Links to files and
to the folders of the layout are followed; links to other folders are not.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from patchcore_ops.dataset.image_formats import IMAGE_EXTENSIONS, printable

GOOD = "good"
SPLITS = ("train", "test")
GROUND_TRUTH = "ground_truth"

NOT_AN_IMAGE = "its name is not that of an image"
HIDDEN = "hidden"
MISPLACED = "not directly in train/good or test/<label>"
LINKED_FOLDER = "a link to a folder, which is not followed here"
SPECIAL = "neither a file nor a folder"
BROKEN = "a link that leads nowhere, or in a circle"

_RESTORE = f"is {BROKEN}; restore what it shall lead to, or remove it"

_Kind: TypeAlias = Literal["file", "folder", "special", "broken"]


class Skipped(NamedTuple):
    """A file that is not used: its path relative to the root, and why."""

    path: str
    reason: str


class Problem(NamedTuple):
    """What makes a category unusable."""

    path: Path
    sentence: str

    def __str__(self) -> str:
        """Say it on one line."""
        return f"{printable(self.path)}: {self.sentence}"


class Candidate(NamedTuple):
    """A file that has the place and the name of an image."""

    path: Path
    split: str


@dataclass
class Listing:
    """The files of a category: `images` train first, then test by label and name; `masks` by label.

    `other_truth` is the rest of the ground truth. `beside` lies outside the layout and is no image.
    """

    images: list[Candidate] = field(default_factory=list)
    masks: dict[str, list[Path]] = field(default_factory=dict)
    other_truth: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def list_category(root: Path, category: str) -> Listing:
    """List the folder of one category, which exists."""
    return _Lister(root, root / category).listing()


class _Lister:
    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._found = Listing()

    def listing(self) -> Listing:
        parts = {path.name: (path, kind) for path, kind in self._entries(self._folder)}
        for split in SPLITS:
            if part := self._part(parts, split):
                self._list_split(part, split)
        if truth := self._part(parts, GROUND_TRUTH):
            self._list_truth(truth)
        for path, kind in parts.values():
            for file, reason in self._below(path, kind, MISPLACED):
                if reason != LINKED_FOLDER and not _is_named_as_image(file):
                    self._found.beside.append(file)
                else:
                    self._skip(file, reason)
        return self._found

    def _part(self, parts: dict[str, tuple[Path, _Kind]], name: str) -> Path | None:
        """Take one folder of the layout out of `parts`."""
        path, kind = parts.get(name, (None, None))
        if path is None:
            return None
        del parts[name]
        if kind == "broken":
            self._problem(path, _RESTORE)
            return None
        if kind != "folder":
            self._problem(path, "is no folder; the layout of MVTec AD has a folder of this name")
            return None
        return None if self._leads_back(path) else path

    def _list_split(self, folder: Path, split: str) -> None:
        for path, kind in self._entries(folder):
            if kind == "broken" and not path.name.startswith("."):
                self._problem(path, _RESTORE)
            elif kind != "folder" or path.name.startswith("."):
                self._skip_all(path, kind)
            elif split == "train" and path.name != GOOD:
                self._problem(
                    path,
                    f"train may hold only '{GOOD}'; PatchCore learns from normal images alone, so "
                    "move defective ones to test",
                )
            elif path.name != GOOD and path.name.casefold() == GOOD:
                self._problem(
                    path, f"would count as a defect; rename it to '{GOOD}', in small letters"
                )
            elif not self._leads_back(path):
                self._list_label(path, split)

    def _list_label(self, folder: Path, split: str) -> None:
        for path, kind in self._entries(folder):
            if self._is_usable(path, kind):
                self._found.images.append(Candidate(path, split))

    def _list_truth(self, folder: Path) -> None:
        for path, kind in self._entries(folder):
            if kind != "folder" or path.name.startswith("."):
                self._found.other_truth.extend(file for file, _ in self._below(path, kind, ""))
            elif not self._leads_back(path):
                masks = self._found.masks.setdefault(path.name, [])
                masks.extend(
                    file for file, kind in self._entries(path) if self._is_usable(file, kind, True)
                )

    def _below(self, path: Path, kind: _Kind, reason: str) -> Iterator[tuple[Path, str]]:
        """Yield skipped files and why: an entry itself, or all files of a folder."""
        hidden = path.name.startswith(".")
        if kind == "folder" and path.is_symlink():
            yield path, LINKED_FOLDER
        elif kind == "folder":
            for child, child_kind in self._entries(path):
                yield from self._below(child, child_kind, HIDDEN if hidden else reason)
        elif kind == "special":
            yield path, SPECIAL
        elif kind == "broken":
            yield path, BROKEN
        else:
            yield path, HIDDEN if hidden else reason

    def _skip_all(self, path: Path, kind: _Kind) -> None:
        for file, reason in self._below(path, kind, MISPLACED):
            self._skip(file, reason)

    def _skip(self, path: Path, reason: str) -> None:
        self._found.skipped.append(Skipped(relative_name(path, self._root), reason))

    def _problem(self, path: Path, sentence: str) -> None:
        self._found.problems.append(Problem(path, sentence))

    def _is_usable(self, path: Path, kind: _Kind, is_truth: bool = False) -> bool:
        """Tell whether an entry of a label's folder is an image or a mask, or list it otherwise."""
        named_as_image = _is_named_as_image(path) and not path.name.startswith(".")
        if kind == "broken" and named_as_image:
            self._problem(path, _RESTORE)
        elif kind == "file" and named_as_image:
            if _is_text(path.name):
                return True
            self._problem(path, "its name is not valid UTF-8; rename the file")
        else:
            reason = NOT_AN_IMAGE if kind == "file" else MISPLACED
            for file, why in self._below(path, kind, reason):
                if is_truth:
                    self._found.other_truth.append(file)
                else:
                    self._skip(file, why)
        return False

    def _leads_back(self, folder: Path) -> bool:
        """Report a link to a folder above it."""
        if not folder.is_symlink():
            return False
        target = folder.resolve()
        if not any(target == parent.resolve() for parent in folder.parents):
            return False
        self._problem(folder, "is a link to a folder in which it lies; remove the link")
        return True

    def _entries(self, folder: Path) -> Iterator[tuple[Path, _Kind]]:
        """Yield the sorted entries of a folder; report unreadable ones."""
        try:
            paths = sorted(folder.iterdir())
        except OSError as error:
            self._problem(folder, _unreadable(error))
            return
        for path in paths:
            try:
                mode = path.stat().st_mode
            except OSError as error:
                if path.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP):
                    yield path, "broken"
                elif error.errno != errno.ENOENT:
                    self._problem(path, _unreadable(error))
            else:
                is_folder, is_file = stat.S_ISDIR(mode), stat.S_ISREG(mode)
                yield path, "folder" if is_folder else "file" if is_file else "special"


def relative_name(path: Path, root: Path) -> str:
    """Write a path relative to the root in a form that can be printed and stored."""
    return printable(path.relative_to(root).as_posix())


def _is_named_as_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror}); let the user who runs this read it"
