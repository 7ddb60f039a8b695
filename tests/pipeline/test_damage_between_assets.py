"""Artefacts that are damaged or removed between two assets, or while one reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    Configure,
    complete,
    contents,
    execute,
    failures,
    versions,
)

from patchcore_assets.storage import hashed
from patchcore_ops.runtime.fingerprints import file_hash
from patchcore_ops.stages import memory_bank as select

pytestmark = pytest.mark.usefixtures("pip_weights")

AGAIN = (
    "is not what was written; make the artefact again: dagster asset materialize "
    f"-m patchcore_assets --select raw_embeddings --partition {CATEGORY}"
)


def change(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_damage_before_the_next_asset_names_what_to_make_again(configure: Configure) -> None:
    config = configure()
    storage = complete(config, "image_manifest", "raw_embeddings")
    change(storage / "raw_embeddings" / CATEGORY / "0" / "embeddings.npy")
    sentence = failures(execute(config, "memory_bank"))["memory_bank"]
    assert sentence.startswith("0/embeddings.npy (another content)")
    assert sentence.endswith(AGAIN)
    complete(config, "raw_embeddings")
    complete(config, "memory_bank")


@pytest.mark.parametrize("damage", [Path.unlink, change])
def test_damage_while_it_is_read_does_not_reach_what_is_made_of_it(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    # Otherwise the second run takes the bank over, and reads nothing.
    config = configure(runtime={"recompute": True})
    storage = complete(config, "image_manifest", "raw_embeddings", "memory_bank")
    bank = storage / "memory_bank" / CATEGORY
    before = contents(bank)
    original = select.select_rows

    def select_rows(source: select.ArrayFile, *arguments: object) -> object:
        rows = original(source, *arguments)  # type: ignore[arg-type]
        damage(source.path)
        return rows

    monkeypatch.setattr(select, "select_rows", select_rows)
    sentence = failures(execute(config, "memory_bank"))["memory_bank"]
    assert sentence.startswith("0/embeddings.npy (")
    assert sentence.endswith(AGAIN)
    assert contents(bank) == before
    assert versions(storage, "memory_bank") == [bank.resolve()]


def test_a_damaged_version_does_not_keep_its_successor_from_being_made(
    configure: Configure,
) -> None:
    storage = complete(configure(), *BY_CATEGORY)
    for round_ in range(2):
        complete(configure(), "metrics", partition=None)
        if round_ == 0:
            change(storage / "metrics" / "metrics.csv")
            change(storage / "category_metrics" / CATEGORY / "metrics.json")
            said = failures(execute(configure(), "metrics", partition=None))["metrics"]
            assert said.endswith(f"--select category_metrics --partition {CATEGORY}")
            complete(configure(), "category_metrics")


def test_a_run_hashes_each_file_that_it_writes_once(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()

    def counted(file: Path) -> str:
        read[str(file)] += 1
        return file_hash(file)

    monkeypatch.setattr(hashed, "file_hash", counted)
    complete(configure(), *BY_CATEGORY)
    assert len(read) > len(BY_CATEGORY)
    assert set(read.values()) == {1}
