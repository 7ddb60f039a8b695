"""Every mistake in a configuration that we could think of, and the sentence that it gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bad_values import VALUES

from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.runtime.errors import ConfigError

Load = Callable[[str | bytes], BenchmarkConfig]


@pytest.fixture(autouse=True)
def no_roots_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATCHCORE_DATASET_ROOT", "PATCHCORE_STORAGE_ROOT", "NOWHERE", "NO_SUCH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bench.yaml"


@pytest.fixture
def load(file: Path) -> Load:
    """Return a function that loads a configuration from its text or its bytes."""

    def load_text(text: str | bytes) -> BenchmarkConfig:
        file.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
        return load_config(file)

    return load_text


@pytest.mark.parametrize(
    ("text", "key", "begins", "holds"),
    VALUES,
    ids=[f"{row[1]}-{n}" for n, row in enumerate(VALUES)],
)
def test_a_wrong_value_is_one_line_with_its_key(
    load: Load, file: Path, text: str, key: str, begins: str, holds: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    lines = str(caught.value).splitlines()
    about = [line for line in lines if line.startswith(f"{file}: {key}: {begins}")]
    assert len(about) == 1, lines
    assert holds in about[0]
    assert all(line.startswith(f"{file}: ") for line in lines)
    assert len(about[0]) < len(str(file)) + 450


def test_all_mistakes_of_all_kinds_are_reported_together(load: Load, file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            """
            datasets: {}
            dataset: {resize: 64, categories: [a, b/c], layout: x}
            embedding: {patchsize: 4, members: [{layers: []}, {backbone: 3}]}
            coreset: {percentage: 7, seed: 1, seed: 2}
            index: {factory: '${NOWHERE}'}
            scoring: !!python/name:os.system {}
            runtime: {batch_size: 0}
            storage: {root: ''}
            schedule: {timezone: Mars}
            overrides:
              a: {coreset: {percentage: 8}, runtime: {}}
              z: {metrics: {mask_threshold: 2}}
            """
        )
    keys = [
        line.removeprefix(f"{file}: ").split(": ")[0] for line in str(caught.value).splitlines()
    ]
    assert sorted(keys) == sorted(
        [
            "coreset.percentage",
            "coreset.seed",
            "dataset.imagesize",
            "dataset.layout",
            "datasets",
            "embedding.members.0.layers",
            "embedding.members.1.backbone",
            "embedding.patchsize",
            "index.factory",
            "overrides.a.coreset.percentage",
            "overrides.a.runtime",
            "overrides.z.metrics.mask_threshold",
            "runtime.batch_size",
            "schedule.timezone",
            "scoring",
            "storage.root",
        ]
    )


def test_a_mistake_of_the_general_sections_is_not_repeated_for_every_category(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            """
            coreset: {percentage: 7}
            overrides: {screw: {coreset: {seed: 1}}, tile: {index: {factory: Flat}}}
            """
        )
    assert len(str(caught.value).splitlines()) == 1


def test_very_many_mistakes_are_counted(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("\n".join(f"unknown{n}: {{}}" for n in range(500)))
    lines = str(caught.value).splitlines()
    assert len(lines) == 51
    assert lines[-1].endswith(": and 450 more mistakes")


ACCEPTED = [
    ("coreset: {percentage: 1e-2}", "coreset", "percentage", 0.01),
    ("coreset: {percentage: 1.5E-3}", "coreset", "percentage", 0.0015),
    ("scoring: {smoothing_sigma: 2e0}", "scoring", "smoothing_sigma", 2.0),
    ("scoring: {smoothing_sigma: 1.5e1}", "scoring", "smoothing_sigma", 15.0),
    ("coreset: {percentage: 1}", "coreset", "percentage", 1.0),
    ("coreset: {seed: 1_000}", "coreset", "seed", 1000),
    ("metrics: {reference_masks: no}", "metrics", "reference_masks", False),
    ("overrides: {bottle: {coreset: {percentage: 2e-2}}}", "coreset", "percentage", 0.02),
    ("overrides: {bottle: }", "coreset", "percentage", 0.1),
    ("overrides: {bottle: {coreset: }}", "coreset", "percentage", 0.1),
    ("coreset:\n# percentage: 0.3", "coreset", "percentage", 0.1),
    ("", "coreset", "percentage", 0.1),
    ("# nothing but a comment\n", "coreset", "percentage", 0.1),
    ("\ufeffcoreset: {percentage: 0.3}", "coreset", "percentage", 0.3),
    ("coreset: &c {percentage: 0.3}\noverrides: {bottle: {coreset: *c}}", "coreset", "seed", 0),
    (
        "coreset: &c {percentage: 0.3, seed: 1}\noverrides: {bottle: {coreset: {<<: *c, seed: 2}}}",
        "coreset",
        "seed",
        2,
    ),
]


@pytest.mark.parametrize(("text", "section", "key", "value"), ACCEPTED)
def test_what_looks_odd_but_is_clear_is_accepted(
    load: Load, text: str, section: str, key: str, value: float | bool
) -> None:
    got = getattr(getattr(load(text).for_category("bottle"), section), key)
    assert got == value
    assert type(got) is type(value)


def test_names_that_yaml_takes_for_something_else_can_be_keys_and_quoted(load: Load) -> None:
    config = load(
        """
        dataset: {categories: [2024-01-01, 12:30x, '0815', "on", 007, 1e5]}
        overrides: {0815: {coreset: {seed: 8}}, on: {coreset: {seed: 9}}, 007: {}}
        """.replace("12:30x, ", "")
    )
    assert config.categories == ("2024-01-01", "0815", "on", "007", "1e5")
    assert config.for_category("0815").coreset.seed == 8
    assert config.for_category("on").coreset.seed == 9


def test_the_longest_category_name_is_accepted(load: Load) -> None:
    assert load(f"dataset: {{categories: [{'a' * 100}]}}").categories == ("a" * 100,)


def test_discovered_folders_that_cannot_be_categories_are_all_named(
    load: Load, tmp_path: Path
) -> None:
    for name in ("good", "my valve", "a,b", "größe ", "tab\tbed"):
        (tmp_path / "images" / name / "train").mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        load("dataset: {root: images, categories: discover}")
    message = str(caught.value)
    assert r"'a,b', 'größe ', 'tab\tbed' cannot be a category" in message
    assert f"rename the folder below {tmp_path / 'images'}" in message
    assert "\n" not in message


def test_letters_of_every_language_and_blanks_make_a_category(load: Load) -> None:
    config = load(
        """
        dataset: {categories: [Ventil groß 2, 部品 A, деталь, "क\u093f", "0815", _x-1.5]}
        overrides: {部品 A: {coreset: {seed: 8}}}
        """
    )
    assert config.categories == ("Ventil groß 2", "部品 A", "деталь", "क\u093f", "0815", "_x-1.5")
    assert config.for_category("部品 A").coreset.seed == 8


def test_a_name_is_composed_however_it_was_typed(load: Load, tmp_path: Path) -> None:
    apart, together = "gro\u0308ße", "größe"
    config = load(f"dataset: {{categories: [{apart}]}}\noverrides: {{{apart}: {{}}}}")
    assert config.categories == (together,)
    (tmp_path / "images" / apart / "train").mkdir(parents=True)
    for categories in ("discover", f"[{together}]"):
        with pytest.raises(ConfigError, match="decomposed form") as caught:
            load(f"dataset: {{root: images, categories: {categories}}}")
        assert f"rename it below {tmp_path / 'images'}" in str(caught.value)
