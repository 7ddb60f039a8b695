"""Every mistake in a configuration that we could think of, and the sentence that it gets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_values import VALUES

from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.runtime.errors import ConfigError

Load = Callable[[str | bytes], BenchmarkConfig]


@pytest.mark.parametrize(
    ("text", "key", "words"), VALUES, ids=[f"{row[1]}-{n}" for n, row in enumerate(VALUES)]
)
def test_a_wrong_value_is_one_line_with_its_key(
    load: Load, file: Path, text: str, key: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert not [one for one in ("s3cr3t", "t0ken") if one in str(caught.value)]
    lines = str(caught.value).splitlines()
    about = [line for line in lines if line.startswith(f"{file}: {key}: ")]
    assert len(about) == 1, lines
    assert all(part in about[0] for part in words.split(" … ")), about[0]
    assert all(line.startswith(f"{file}: ") for line in lines)
    assert len(about[0]) < len(str(file)) + 450


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PATCHCORE_PRESET", "acurate", "must be one of … 'acurate'); did you mean accurate?"),
        ("PATCHCORE_DATASET_ROOT", "s3://bucket/x", "must be a folder on this machine"),
        ("PATCHCORE_STORAGE_ROOT", "s3://key:s3cr3t@bucket/x", "holds credentials"),
        ("PATCHCORE_STORAGE_ROOT", "~nobody-has-this-name/x", "'~' names no home folder"),
    ],
)
def test_a_wrong_value_of_the_environment_is_said_of_its_variable(
    load: Load,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load("preset: fast\ndataset: {root: images}\nstorage: {root: results}")
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{file}: {variable}: ")
    assert all(part in line for part in words.split(" … "))
    assert "s3cr3t" not in line


def test_a_variable_in_place_of_a_number_is_refused_with_what_to_write(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS", "8")
    words = r"\(got '8'\); write a plain number, without quotes or \$\{\.\.\.\}$"
    with pytest.raises(ConfigError, match=rf"runtime\.num_workers: .*{words}"):
        load("runtime: {num_workers: '${WORKERS}'}")


MAPPING = "must be a mapping of section names"
YAML = "not valid YAML (line "
# What is no configuration: the file, and words of the one line that it gets.
FILES = {
    "list": ("- a\n- b", f"{MAPPING} to sections, such as 'coreset: … ['a"),
    "text": ("coreset", f"{MAPPING} … (got 'coreset')"),
    "number": ("3", f"{MAPPING} … (got 3)"),
    "unclosed": ("coreset: {percentage: 0.1", f"{YAML}1: … expected ',' or '}}'"),
    "tab": ("coreset:\n\tpercentage: 0.1", f"{YAML}2: … with spaces, not with tabs"),
    "bad indent": ("coreset:\n  seed: 1\n percentage: 1", f"{YAML}3: "),
    "colons": ("coreset: percentage: 0.1", f"{YAML}1: … mapping values"),
    "unclosed quote": ("dataset: {root: 'a}\n", f"{YAML}2: … end of stream"),
    "escape": (r'dataset: {root: "\UFFFFFFFF"}', "not valid YAML ("),
    "version": ("%YAML 3.0\n---\na: b", f"{YAML}1: … version"),
    "two documents": ("coreset: {}\n---\nindex: {}", f"{YAML}2: … another document"),
    "deep list": ("a: " + "[" * 2000, "nested too deeply"),
    "deep mapping": ("{a: " * 2000, "nested too deeply"),
    "deep blocks": ("- " * 2000, "nested too deeply"),
    "self": ("a: &a [*a]", f"{YAML}1: an alias lies within"),
    "no anchor": ("a: *b", f"{YAML}1: … undefined alias 'b'"),
    "list as key": ("{[a]: b}", f"{YAML}1: a key must be a plain word"),
    "merge": ("a: {<<: 3}", f"{YAML}1: … expected a mapping or list of mappings"),
    "utf-16": ("coreset: {}".encode("utf-16"), "cannot be read as UTF-8 text (line 1, byte 0xff)"),
    "latin-1": ("# Maße\nx: é".encode("latin-1"), "cannot be read as UTF-8 text … save it"),
    "binary": (b"a: b\n\x00\x01", "line 2 holds the control character U+0000; remove it"),
    "bell": (b"a: b\nc: \x07", "line 2 holds the control character U+0007; remove it"),
}


@pytest.mark.parametrize(("text", "words"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_configuration_is_one_sentence(
    load: Load, file: Path, text: str | bytes, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    message = str(caught.value)
    begins, *others = words.split(" … ")
    assert message.startswith(f"{file}: {begins}")
    assert all(part in message for part in others)
    assert "\n" not in message
    assert len(message) < len(str(file)) + 250


def test_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    for path, sentence in (
        (tmp_path, "is a folder; name the YAML file in it"),
        (tmp_path / "absent.yaml", "no such configuration file; set PATCHCORE_CONFIG"),
        (tmp_path / "absent" / "bench.yaml", "no such configuration file"),
        (tmp_path / "pipe.yaml", "is no regular file"),
        (Path("/dev/zero"), "is no regular file"),
        (tmp_path / "loop.yaml", "cannot be read ("),
        (tmp_path / ("a" * 300), "cannot be read (File name too long)"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert str(caught.value).startswith(f"{path}: {sentence}")
    with pytest.raises(ConfigError, match="'~' names no home folder"):
        load_config("~nobody-has-this-name/bench.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_says_so(file: Path) -> None:
    file.write_text("", encoding="utf-8")
    file.chmod(0)
    with pytest.raises(ConfigError, match=r"cannot be read \(Permission .*; make it readable"):
        load_config(file)


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
    lines = str(caught.value).splitlines()
    keys = [line.removeprefix(f"{file}: ").split(": ")[0] for line in lines]
    members = ["embedding.members.0.layers", "embedding.members.1.backbone", "embedding.patchsize"]
    assert sorted(keys) == [
        *("coreset.percentage", "coreset.seed", "dataset.imagesize", "dataset.layout", "datasets"),
        *(*members, "index.factory", "overrides.a.coreset.percentage", "overrides.a.runtime"),
        *("overrides.z.metrics.mask_threshold", "runtime.batch_size", "schedule.timezone"),
        *("scoring", "storage.root"),
    ]


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
        dataset: {categories: [2024-01-01, '0815', "on", 007, 1e5]}
        overrides: {0815: {coreset: {seed: 8}}, on: {coreset: {seed: 9}}, 007: {}}
        """
    )
    assert config.categories == ("2024-01-01", "0815", "on", "007", "1e5")
    assert config.for_category("0815").coreset.seed == 8
    assert config.for_category("on").coreset.seed == 9


def test_discovered_folders_that_cannot_be_categories_are_all_named(
    load: Load, tmp_path: Path
) -> None:
    for name in ("good", "my valve", "a,b", "größe ", "new\nline", "tab\tbed"):
        (tmp_path / "images" / name / "train").mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        load("dataset: {root: images, categories: discover}")
    message = str(caught.value)
    assert r"'a,b', 'größe ', 'new\nline', 'tab\tbed' cannot be a category" in message
    assert f"rename the folder below {tmp_path / 'images'}" in message
    assert "\n" not in message


def test_letters_of_every_language_and_blanks_make_a_category(load: Load) -> None:
    config = load(
        """
        dataset: {categories: [Ventil groß 2, 部品 A, деталь, "क\u093f", _x-1.5, LONGEST]}
        overrides: {部品 A: {coreset: {seed: 8}}}
        """.replace("LONGEST", "a" * 100)
    )
    expected = ("Ventil groß 2", "部品 A", "деталь", "क\u093f", "_x-1.5", "a" * 100)
    assert config.categories == expected
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
