"""Exported networks that a user's cache keeps: made once, never seen in part, never damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_kit import NETWORK

from patchcore_ops.embedding.network_folder import NetworkFolder, copy_network
from patchcore_ops.runtime.errors import EnvironmentProblem


def writes(content: str, made: list[Path]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "network.xml").write_text(content)
        (folder / "network.bin").write_bytes(b"weights")

    return make


def test_a_network_is_made_once_and_its_files_are_copied(tmp_path: Path) -> None:
    folder, made = NetworkFolder(tmp_path / "networks"), []
    with folder.kept(NETWORK.identity) as kept:
        assert kept is None
    for _ in range(2):
        with folder.opened(NETWORK, writes("graph", made)) as opened:
            assert (opened / "network.xml").read_text() == "graph"
    assert len(made) == 1
    with folder.kept(NETWORK.identity) as kept:
        assert kept == opened
    (tmp_path / "copy").mkdir()
    copy_network(opened, tmp_path / "copy")
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == [
        "network.bin",
        "network.xml",
    ]
    assert [entry.name for entry in (tmp_path / "networks").iterdir()] == [NETWORK.identity]


def damage(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("name", ["network.xml", "network.bin", "sha256.json"])
@pytest.mark.parametrize("harm", [damage, Path.unlink])
def test_a_damaged_network_is_made_again(
    tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    folder, made = NetworkFolder(tmp_path), []
    with folder.opened(NETWORK, writes("graph", made)) as opened:
        harm(opened / name)
    with folder.kept(NETWORK.identity) as kept:
        assert kept is None
    with folder.opened(NETWORK, writes("anew", made)) as opened:
        assert (opened / "network.xml").read_text() == "anew"
        assert (opened / "network.bin").read_bytes() == b"weights"
    assert len(made) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == [NETWORK.identity]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "network.xml").touch()
        raise RuntimeError("no such layer")

    with (
        pytest.raises(RuntimeError, match="no such layer"),
        NetworkFolder(tmp_path).opened(NETWORK, fail),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_is_second_uses_what_the_first_has_made(tmp_path: Path) -> None:
    folder, made = NetworkFolder(tmp_path), []

    def overtaken(place: Path) -> None:
        with folder.opened(NETWORK, writes("first", made)):
            pass
        writes("second", made)(place)

    with folder.opened(NETWORK, overtaken) as opened:
        assert (opened / "network.xml").read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == [NETWORK.identity]


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    folder = NetworkFolder(tmp_path / "home" / ".cache" / "networks")
    said = "an exported network cannot be written here .* set XDG_CACHE_HOME to another folder"
    with pytest.raises(EnvironmentProblem, match=said), folder.opened(NETWORK, lambda _: None):
        pass

    def fill(place: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place / "network.bin"))

    full = NetworkFolder(tmp_path / "networks")
    with pytest.raises(EnvironmentProblem, match=said), full.opened(NETWORK, fill):
        pass

    def lack_weights(place: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/weights.pth")

    with pytest.raises(PermissionError, match=r"weights\.pth"), full.opened(NETWORK, lack_weights):
        pass
