"""A preset fills what a configuration does not write, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.config.load import section_hash
from patchcore_ops.config.presets import PRESETS
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.runtime.errors import ConfigError

Load = Callable[[str], BenchmarkConfig]


def test_the_reference_is_the_default(load: Load) -> None:
    found = load("preset: reference").for_category("bottle")
    assert found == load("").for_category("bottle") == CategoryConfig()


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_not_written_is_filled(load: Load, name: str) -> None:
    found = load(f"preset: {name}").for_category("bottle").model_dump()
    expected = CategoryConfig().model_dump()
    for section, keys in PRESETS[name].items():
        expected[section].update(keys)
    assert found == expected


def test_what_is_written_wins_also_for_one_category(load: Load) -> None:
    found = load(
        """
        preset: accurate
        coreset: {percentage: 0.3, seed: 4}
        overrides: {screw: {scoring: {distance: squared}}}
        """
    )
    screw, bottle = found.for_category("screw"), found.for_category("bottle")
    assert (bottle.coreset.percentage, bottle.coreset.seed) == (0.3, 4)
    assert bottle.scoring.distance == "root"
    assert screw.scoring.distance == "squared"
    assert screw.scoring.image_score == "smoothed_max"


def test_an_index_is_written_as_a_whole(load: Load) -> None:
    found = load("preset: fast\nindex: {factory: Flat}").for_category("bottle")
    assert found.index.model_dump() == {"factory": "Flat", "search_parameters": ""}


def test_search_parameters_of_a_preset_go_with_its_factory(load: Load) -> None:
    found = load(
        """
        preset: fast
        dataset: {categories: [bottle, cable, screw]}
        overrides:
          cable: {index: {factory: Flat}}
          screw: {index: {search_parameters: nprobe=9}}
        """
    )
    fast = PRESETS["fast"]["index"]
    assert found.for_category("bottle").index.model_dump() == fast
    assert found.for_category("cable").index.model_dump() == {
        "factory": "Flat",
        "search_parameters": "",
    }
    screw = {"factory": fast["factory"], "search_parameters": "nprobe=9"}
    assert found.for_category("screw").index.model_dump() == screw
    general = load("preset: fast\nindex: {search_parameters: nprobe=9}").for_category("bottle")
    assert general.index.model_dump() == screw


def test_a_preset_hashes_as_its_settings_written_out(load: Load) -> None:
    scoring = load("preset: accurate").for_category("bottle").scoring
    written = load(f"scoring: {scoring.model_dump_json()}").for_category("bottle").scoring
    assert section_hash(scoring) == section_hash(written)


@pytest.mark.parametrize("value", ["acurate", "3", "[accurate]", "{a: 1}", "true"])
def test_any_other_preset_is_refused(load: Load, value: str) -> None:
    with pytest.raises(ConfigError, match=r"bench\.yaml: preset: must be one of reference, accur"):
        load(f"preset: {value}")


def test_the_environment_wins_over_the_file(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHCORE_PRESET", "fast")
    found = load("preset: accurate\ncoreset: {seed: 2}").for_category("bottle")
    assert found.coreset.percentage == PRESETS["fast"]["coreset"]["percentage"]
    assert found.coreset.seed == 2
