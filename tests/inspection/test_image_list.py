"""Names stand for images: in order, each once, and what leads nowhere says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patchcore_ops.inspection.image_list import list_images, names_of_list
from patchcore_ops.inspection.picture_names import picture_names
from patchcore_ops.model import Unreadable
from patchcore_ops.runtime.errors import DatasetError

FILES = ("b.png", "a.JPG", "note.txt", ".hidden.png", "deep/c.tiff", ".git/d.png", "out/e.png")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_patterns_and_files_are_listed_once_in_order(folder: Path) -> None:
    del folder
    listed = list_images(
        ["images/note.txt", "images", "images/*.png", "images/**/c.*"], Path("images/out")
    )
    expected = ["images/note.txt", "images/a.JPG", "images/b.png", "images/deep/c.tiff"]
    assert listed == [Path(name) for name in expected]
    assert list_images(["images/out"], Path("images/out")) == [Path("images/out/e.png")]
    patterns = ["**/*.png", "images/*", "images/out/*.png"]
    listed = list_images(patterns, Path("images/out"))
    assert sorted(one.name for one in listed if isinstance(one, Path)) == [
        "a.JPG",
        "b.png",
        "c.tiff",
        "note.txt",
    ]


def test_a_folder_of_results_that_cannot_be_looked_at_is_none_of_the_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_self: Path, _other: Path) -> bool:
        raise PermissionError(13, "Permission denied", "images/out")

    monkeypatch.setattr(Path, "samefile", denied)
    assert len(list_images(["images"], folder / "images/out")) == 4


def test_what_leads_to_no_image_says_so_in_its_place(folder: Path) -> None:
    (folder / "strange[1].png").touch()
    listed = list_images(["gone.png", "*.bmp", "empty", "strange[1].png", "nul\0.png", ""])
    assert listed[3] == Path("strange[1].png")
    assert [one.reason for one in listed if isinstance(one, Unreadable)] == [
        "gone.png: no such file or folder; correct the name, or restore it",
        "*.bmp: no file has a name like that; correct the pattern",
        "empty: holds no image (*.bmp, *.jpeg, *.jpg, *.png, *.tif, *.tiff, *.webp); name another "
        "folder",
        "nul\\x00.png: no such file or folder; correct the name, or restore it",
        "'': no such file or folder; correct the name, or restore it",
    ]
    with pytest.raises(DatasetError, match=r"gone\.png: no such file.*\nempty: holds no image"):
        list_images(["gone.png", "empty"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_named(folder: Path) -> None:
    closed = folder / "images" / "deep"
    closed.chmod(0)
    try:
        problems = [one for one in list_images(["images"]) if isinstance(one, Unreadable)]
    finally:
        closed.chmod(0o700)
    assert [one.name for one in problems] == ["images/deep"]


def test_a_list_has_a_name_a_line_or_ends_each_by_nul() -> None:
    assert names_of_list(b"a b.png\n\nc\xff.png\r\n") == ["a b.png", "c\udcff.png"]
    assert names_of_list(b"a\nb.png\0c.png\0") == ["a\nb.png", "c.png"]
    odd = "a\u2028b.png\nc\x0bd.png\x85\n"
    assert names_of_list(odd.encode()) == ["a\u2028b.png", "c\x0bd.png\x85"]


def test_pictures_have_unique_names_that_stay() -> None:
    paths = [Path(name) for name in ("x/a/1.png", "x/b/1.png", "x/A/1.jpg", "x/a-1.png")]
    names = picture_names(paths, {})
    assert list(names.values()) == ["a-1", "b-1", "A-1-2", "a-1-3"]
    # What was scored first keeps its name, wherever further images lie.
    later = picture_names([Path("y/a-1.png"), *paths], {"x/a/1.png": "a-1"})
    assert later["x/a/1.png"] == "a-1"
    assert len(set(later.values())) == 5
    assert picture_names([Path("ä" * 150 + ".png")], {}) == {"ä" * 150 + ".png": "ä" * 100}
