"""An artefact that is not what was written is refused, with the command that makes it again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import store_kit
from store_kit import flip_a_bit

from patchcore_assets.storage import Artefact, DamagedArtefact, MissingArtefact
from patchcore_assets.storage.local.store import LocalStore

REMEDY = (
    "is not what was written; make the artefact again: "
    "dagster asset materialize -m patchcore_assets --select memory_bank --partition bottle"
)


def put(store: LocalStore, text: str = "features", category: str = "bottle") -> Artefact:
    names = ("0/features.npy", "0/indices.npy", "grid.json")
    files = {name: f"{text} {name}" for name in names}
    return store_kit.put(store, files, "memory_bank", category)


def sentence_of(store: LocalStore) -> str:
    """Open with a store that has verified nothing, and return what it says."""
    with (
        pytest.raises(DamagedArtefact) as damage,
        LocalStore(store.root).open("memory_bank", "bottle"),
    ):
        pass
    return str(damage.value)


def edit_sidecar(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return a damage that changes the sidecar's content."""

    def damage(folder: Path) -> None:
        file = folder / "artefact.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return damage


def rename_file(name: str) -> Callable[[Path], None]:
    """Return a damage by which the sidecar claims a file of another name."""
    return edit_sidecar(
        lambda content: content["files"].update({name: content["files"].pop("grid.json")})
    )


def replace_by_link(folder: Path) -> None:
    outside = folder.parents[3] / "outside.json"
    shutil.move(folder / "grid.json", outside)
    (folder / "grid.json").symlink_to(outside)


def replace_folder_by_link(folder: Path) -> None:
    outside = folder.parents[3] / "outside"
    shutil.move(folder / "0", outside)
    (folder / "0").symlink_to(outside)


NO_PLAIN_NAMES = ("./a", "a//b", "a/", "", "a\0b", "artefact.json")
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (
        lambda folder: flip_a_bit(folder / "0/features.npy"),
        "0/features.npy (another content) of memory_bank of 'bottle' in ",
    ),
    "a truncated file": (
        lambda folder: os.truncate(folder / "0/features.npy", 5),
        "0/features.npy (5 bytes instead of 23) of ",
    ),
    "a removed file": (lambda folder: (folder / "grid.json").unlink(), "grid.json (missing) of "),
    "several at once": (
        lambda folder: ((folder / "grid.json").unlink(), os.truncate(folder / "0/indices.npy", 1)),
        "0/indices.npy (1 bytes instead of 22), grid.json (missing) of ",
    ),
    "a folder instead of a file": (
        lambda folder: ((folder / "grid.json").unlink(), (folder / "grid.json").mkdir()),
        "grid.json (missing) of ",
    ),
    "a link out of the folder": (replace_by_link, "grid.json (a link) of "),
    "a folder that is a link": (
        replace_folder_by_link,
        "0/features.npy (a link), 0/indices.npy (a link) of ",
    ),
    "a sidecar that is no JSON": (
        lambda folder: (folder / "artefact.json").write_text("{"),
        "artefact.json (Invalid JSON: ",
    ),
    "a sidecar of zeros": (
        lambda folder: (folder / "artefact.json").write_bytes(bytes(4096)),
        "artefact.json (Invalid JSON: ",
    ),
    "a sidecar nested without end": (
        lambda folder: (folder / "artefact.json").write_text("[" * 100_000),
        "artefact.json (Invalid JSON: ",
    ),
    "a removed sidecar": (
        lambda folder: (folder / "artefact.json").unlink(),
        "artefact.json (is missing) of memory_bank of 'bottle' in ",
    ),
    "a sidecar without files": (
        edit_sidecar(lambda content: content.pop("files")),
        "artefact.json (files: Field required) of ",
    ),
    "a size that is text": (
        edit_sidecar(lambda content: content["files"]["grid.json"].update(bytes="18")),
        "artefact.json (files.grid.json.bytes: Input should be a valid integer) of ",
    ),
    "a checksum that is none": (
        edit_sidecar(lambda content: content["files"]["grid.json"].update(sha256="0" * 63)),
        "artefact.json (files.grid.json.sha256: String should match pattern",
    ),
    "another checksum": (
        edit_sidecar(lambda content: content["files"]["grid.json"].update(sha256="0" * 64)),
        "artefact.json (data_version does not follow from its files) of ",
    ),
    **{
        f"a file by the name {name!r}": (
            rename_file(name),
            f"artefact.json (files: Value error, {name!r} is no file of the folder) of ",
        )
        for name in (*("../../../../secret", "/etc/passwd", "..", "a/..", "."), *NO_PLAIN_NAMES)
    },
    "the sidecar of another category": (
        edit_sidecar(lambda content: content.update(category="screw")),
        "artefact.json (of memory_bank of 'screw') of memory_bank of 'bottle' in ",
    ),
    "the sidecar of another asset": (
        edit_sidecar(lambda content: content.update(asset="faiss_index")),
        "artefact.json (of faiss_index of 'bottle') of memory_bank of 'bottle' in ",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artefact_is_refused_and_can_be_made_again(
    store: LocalStore, damage: str
) -> None:
    folder = put(store).folder
    do, beginning = DAMAGES[damage]
    do(folder)
    sentence = sentence_of(store)
    assert sentence.startswith(beginning)
    assert sentence.endswith(REMEDY)
    assert "\n" not in sentence
    put(store, "again")
    with LocalStore(store.root).open("memory_bank", "bottle") as artefact:
        assert (artefact.folder / "grid.json").read_text() == "again grid.json"


@pytest.mark.parametrize("target", ["..", "/", "../../..", "/etc", "gone", "."])
def test_a_link_that_names_no_version_leads_nowhere(store: LocalStore, target: str) -> None:
    put(store)
    link = Path(store.location("memory_bank", "bottle"))
    before = sorted(Path(store.root).rglob("*"))
    link.unlink()
    link.symlink_to(target)
    with pytest.raises(MissingArtefact), store.open("memory_bank", "bottle"):
        pass
    assert sorted(Path(store.root).rglob("*")) == before
    put(store, "again")
    with store.open("memory_bank", "bottle") as artefact:
        assert artefact.provenance == {"run_id": "a run"}


def test_a_version_that_is_a_link_is_refused(store: LocalStore, tmp_path: Path) -> None:
    folder = put(store).folder
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert "0/features.npy (a link)" in sentence_of(store)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_says_so(store: LocalStore) -> None:
    (put(store).folder / "grid.json").chmod(0)
    assert sentence_of(store).startswith("grid.json (cannot be read: Permission denied) of ")


def test_a_category_that_the_shell_would_split_is_quoted(store: LocalStore) -> None:
    folder = put(store, category="a part").folder
    (folder / "grid.json").unlink()
    with (
        pytest.raises(DamagedArtefact, match=r"--partition 'a part'$"),
        store.open("memory_bank", "a part"),
    ):
        pass


def test_damage_done_while_it_is_read_is_named(store: LocalStore) -> None:
    put(store)
    with pytest.raises(DamagedArtefact) as damage, store.open("memory_bank", "bottle") as artefact:
        (artefact.folder / "0/features.npy").unlink()
        (artefact.folder / "0/features.npy").read_bytes()
    assert str(damage.value).startswith("0/features.npy (missing) of memory_bank of 'bottle'")
    assert isinstance(damage.value.__context__, FileNotFoundError)


def test_an_error_of_the_reader_stays_what_it_is(store: LocalStore) -> None:
    put(store)
    with pytest.raises(ZeroDivisionError), store.open("memory_bank", "bottle"):
        raise ZeroDivisionError
