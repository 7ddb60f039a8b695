"""Settings that artefacts record, read by a later release."""

from __future__ import annotations

from pathlib import Path

from patchcore_ops.config.recorded_settings import (
    Difference,
    apply,
    differences,
    differing_keys,
    read_settings,
    read_settings_by_category,
    record,
    write_settings,
    write_settings_by_category,
)
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.config.settings_notes import changes_in_words
from patchcore_ops.runtime.fingerprints import file_hash

SETTINGS = CategoryConfig.model_validate(
    {"coreset": {"seed": 3}, "embedding": {"members": [{"backbone": "resnet18"}]}}
)


def test_a_key_that_was_not_yet_there_has_its_default(tmp_path: Path) -> None:
    now = record(SETTINGS, ["embedding", "coreset"], file_hash)
    before = record(SETTINGS, ["embedding", "coreset"], file_hash)
    for keys, key in (
        (before["coreset"], "projection_dimension"),
        (before["embedding"], "precision"),
        (before["embedding"]["members"][0], "weights"),
    ):
        del keys[key]  # type: ignore[attr-defined]
    write_settings(tmp_path, before)
    write_settings_by_category(tmp_path, {"screw": before})
    for read in (read_settings(tmp_path), read_settings_by_category(tmp_path)["screw"]):
        assert read == now
        assert differences(read, now) == []
        assert apply(CategoryConfig(), read) == SETTINGS


def test_a_setting_that_is_empty_is_said_to_be_none() -> None:
    used = {"index": {"factory": "Flat", "search_parameters": "nprobe=5"}}
    now = {"index": {"factory": "Flat", "search_parameters": ""}}
    said = changes_in_words(differences(used, now))
    assert said == "index.search_parameters nprobe=5 (now none)"


def test_the_default_fit_is_named_where_another_one_was_used() -> None:
    crop, pad = (
        record(CategoryConfig.model_validate({"dataset": {"fit": fit}}), ["dataset"], file_hash)
        for fit in ("crop", "pad")
    )
    assert differences(pad, crop) == [Difference("dataset.fit", "pad", "crop")]
    assert differences(crop, pad) == [Difference("dataset.fit", "crop", "pad")]
    assert differing_keys({"nut": crop, "screw": pad}) == {
        "dataset.fit": {"crop": ["nut"], "pad": ["screw"]}
    }
    assert differences(crop, crop) == []
