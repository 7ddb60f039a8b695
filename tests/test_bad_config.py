"""Every mistake in a configuration that we could think of, and the sentence that it gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.errors import ConfigError

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


# (text, key, what is said of it, what else is in the sentence: value and remedy)
VALUES = [
    # Keys that do not exist, or exist twice.
    ("coreset: {percentge: 0.1}", "coreset.percentge", "unknown key; did you mean percentage?", ""),
    ("corset: {}", "corset", "unknown key; did you mean coreset", ""),
    ("zzz: 1", "zzz", "unknown key; there are dataset, embedding", ""),
    ("1: {}", "1", "unknown key", "there are"),
    ('"a\\nb": {}', r"'a\nb'", "unknown key", ""),
    ("embedding: {members: [{layer: [a]}]}", "embedding.members.0.layer", "unknown key", "layers"),
    (
        "coreset:\n  seed: 1\n  seed: 2",
        "coreset.seed",
        "is given in line 2 and again in line 3",
        "",
    ),
    ("index: {}\nindex: {}", "index", "is given in line 1 and again in line 2; keep one", ""),
    (
        "overrides:\n  screw: {coreset: {seed: 1}}\n  screw: {index: {}}",
        "overrides.screw",
        "is given in line 2 and again in line 3",
        "",
    ),
    ("a: {<<: 3}", "a.<<", "takes mappings only", ""),
    # Tags never build anything.
    (
        "coreset: !!python/object/apply:os.system ['true']",
        "coreset",
        "line 1 carries the tag",
        "os.sys",
    ),
    (
        "coreset: {seed: !!int '3'}",
        "coreset.seed",
        "line 1 carries the tag",
        "write the plain value",
    ),
    ("storage: {root: !env X}", "storage.root", "line 1 carries the tag '!env'", "not read"),
    # Kinds.
    ("coreset: 3", "coreset", "must be a mapping of keys to values (got 3)", ""),
    ("coreset: [a]", "coreset", "must be a mapping of keys to values (got ['a'])", ""),
    (
        "coreset: {percentage: yes}",
        "coreset.percentage",
        "",
        "(got True); yes, no, on and off mean",
    ),
    ("coreset: {percentage: '0.1'}", "coreset.percentage", "", "(got '0.1'); write a plain number"),
    ("coreset: {percentage: 10%}", "coreset.percentage", "", "(got '10%'); write a plain number"),
    ("coreset: {percentage: 0,1}", "coreset.percentage", "", "(got 0)"),
    ("coreset: {percentage: }", "coreset.percentage", "", "(got None)"),
    ("coreset: {percentage: .nan}", "coreset.percentage", "", "(got nan)"),
    ("coreset: {percentage: .inf}", "coreset.percentage", "", "(got inf)"),
    ("coreset: {percentage: 1e400}", "coreset.percentage", "", "(got inf)"),
    ("coreset: {percentage: 1e-2x}", "coreset.percentage", "", "(got '1e-2x')"),
    ("scoring: {smoothing_sigma: .nan}", "scoring.smoothing_sigma", "", "(got nan)"),
    ("scoring: {smoothing_sigma: -.inf}", "scoring.smoothing_sigma", "", "(got -inf)"),
    ("coreset: {seed: 1.0}", "coreset.seed", "", "(got 1.0)"),
    ("coreset: {seed: 010}", "coreset.seed", "", "(got '010'); write a plain number"),
    ("coreset: {seed: 0x10}", "coreset.seed", "", "(got '0x10'); write a plain number"),
    (
        f"coreset: {{seed: {'9' * 30}}}",
        "coreset.seed",
        "input should be less than 9223372036",
        "99",
    ),
    (f"coreset: {{seed: {'9' * 5000}}}", "coreset.seed", "input should be a valid integer", "..."),
    (
        f"scoring: {{anomaly_scorer_num_nn: {'9' * 20}}}",
        "scoring.anomaly_scorer_num_nn",
        "",
        "65536",
    ),
    (f"checks: {{minimum_test_images: {'9' * 20}}}", "checks.minimum_test_images", "", "1000000"),
    ("runtime: {faiss_on_gpu: 1}", "runtime.faiss_on_gpu", "", "(got 1); write true or false"),
    ("runtime: {num_workers: true}", "runtime.num_workers", "", "mean true and false"),
    ("runtime: {device: gpu}", "runtime.device", "", "(got 'gpu')"),
    ("runtime: {device: 'cuda:99999999999'}", "runtime.device", "", ""),
    ("embedding: {members: {}}", "embedding.members", "input should be a valid list (got {})", ""),
    ("embedding: {members: [wide]}", "embedding.members.0", "must be a mapping of keys", "'wide'"),
    ("embedding: {members: []}", "embedding.members", "list should have at least 1 item", ""),
    (
        "embedding: {members: [{backbone: 18}]}",
        "embedding.members.0.backbone",
        "",
        "put it in quotes",
    ),
    ("embedding: {members: [{layers: layer2}]}", "embedding.members.0.layers", "", "valid list"),
    (
        "embedding: {members: [{layers: [a, b, a]}]}",
        "embedding.members.0.layers",
        "lists one",
        "a, b",
    ),
    (
        "embedding: {members: [{layers: [on]}]}",
        "embedding.members.0.layers.0",
        "",
        "put it in quotes",
    ),
    ("embedding: {patchsize: 2}", "embedding.patchsize", "must be odd, so that a patch has a", "2"),
    ("embedding: {target_embed_dimension: 0}", "embedding.target_embed_dimension", "", "(got 0)"),
    ("embedding: {precision: half}", "embedding.precision", "input should be 'float32' or", "half"),
    ("dataset: {resize: 7}", "dataset.resize", "input should be greater than or equal to 8", "7"),
    (
        "dataset: {imagesize: 300}",
        "dataset.imagesize",
        "imagesize (300) must not exceed resize",
        "256",
    ),
    (
        "dataset: {resize: 128}",
        "dataset.imagesize",
        "imagesize (224) must not exceed resize",
        "128",
    ),
    (
        'dataset: {root: "a\\0b"}',
        "dataset.root",
        "must not contain the control character U+0000",
        "",
    ),
    (
        'storage: {root: "a\\nb"}',
        "storage.root",
        "must not contain the control character U+000A",
        "",
    ),
    (
        'dataset: {root: "\\ud800"}',
        "dataset.root",
        "input should be a valid string, unable to parse",
        "",
    ),
    (f"dataset: {{root: {'a' * 5000}}}", "dataset.root", "string should have at most 4096", "..."),
    ("dataset: {root: ''}", "dataset.root", "string should have at least 1 character", ""),
    ("dataset: {root: ~nobody-has-this-name/x}", "dataset.root", "'~' names no home folder", ""),
    ("storage: {root: ~nobody-has-this-name/x}", "storage.root", "'~' names no home folder", ""),
    (
        "embedding: {members: [{weights: ~nobody-has-this-name/x}]}",
        "embedding.members.0.weights",
        "'~' names no home folder",
        "",
    ),
    (
        "schedule: {timezone: Mars}",
        "schedule.timezone",
        "must be a time zone by its IANA name",
        "Mars",
    ),
    ('schedule: {timezone: "../../etc/passwd"}', "schedule.timezone", "must be a time zone", ""),
    # FAISS would crash, not fail, on some of these.
    (
        "index: {factory: 'IVF0,Flat'}",
        "index.factory",
        "must be a FAISS factory string",
        "from 1 to",
    ),
    ("index: {factory: HNSW0}", "index.factory", "must be a FAISS factory string", "'HNSW0'"),
    ("index: {factory: HNSW1}", "index.factory", "HNSW needs at least 2 links; write HNSW32", ""),
    ("index: {factory: 'IVF4_HNSW1,Flat'}", "index.factory", "HNSW needs at least 2 links", ""),
    ("index: {factory: PQ4x0}", "index.factory", "must be a FAISS factory string", ""),
    (
        "index: {factory: HNSW100000000}",
        "index.factory",
        "must be a FAISS factory string",
        "1048576",
    ),
    ("index: {factory: Flât}", "index.factory", "must be a FAISS factory string", ""),
    # Categories become folders.
    (
        "dataset: {categories: all}",
        "dataset.categories",
        "must be 'mvtec', 'discover' or a list",
        "all",
    ),
    ("dataset: {categories: {a: b}}", "dataset.categories", "must be 'mvtec', 'discover' or a", ""),
    ("dataset: {categories: [3]}", "dataset.categories.0", "", "(got 3); put it in quotes"),
    ("dataset: {categories: [no]}", "dataset.categories.0", "", "(got False); put it in quotes"),
    ("dataset: {categories: ['']}", "dataset.categories.0", "string should have at least 1", ""),
    *(
        (f"dataset: {{categories: [ok, {name}]}}", "dataset.categories", shown, "a folder's name")
        for name, shown in (
            ("../x", "'../x' cannot be a category"),
            ("a/b", "'a/b' cannot be a category"),
            ("/etc", "'/etc' cannot be a category"),
            ("'.'", "'.' cannot be a category"),
            ("'..'", "'..' cannot be a category"),
            (".hidden", "'.hidden' cannot be a category"),
            ("-rf", "'-rf' cannot be a category"),
            ("a b", "'a b' cannot be a category"),
            ("a...b", "'a...b' cannot be a category"),
            ("Mean", "'Mean' cannot be a category"),
            ("größe", "'größe' cannot be a category"),
            ("a" * 101, "'aaaa"),
            ("'a/b', '../c'", "'a/b', '../c' cannot be a category"),
        )
    ),
    (
        'dataset: {categories: ["a\\nb"]}',
        "dataset.categories.0",
        "must not contain the control",
        "",
    ),
    ("dataset: {categories: []}", "dataset.categories", "names no category; name one", ""),
    ("dataset: {categories: [b, a, b]}", "dataset.categories", "names one category twice: 'b'", ""),
    (
        "dataset: {root: x, categories: discover}",
        "dataset.categories",
        "discover found no",
        "train",
    ),
    # Variables.
    (
        "storage: {root: '${NO_SUCH}/x'}",
        "storage.root",
        "uses ${NO_SUCH}, which is not set",
        "set it",
    ),
    (
        "embedding: {members: [{}, {weights: '${NO_SUCH}'}]}",
        "embedding.members.1.weights",
        "uses ${NO_SUCH}, which is not set",
        "",
    ),
    (
        "overrides: {screw: {index: {factory: '${NO_SUCH}'}}}",
        "overrides.screw.index.factory",
        "uses ${NO_SUCH}, which is not set",
        "",
    ),
    # Overrides.
    ("overrides: []", "overrides", "must be a mapping of keys to values (got [])", ""),
    ("overrides: {screw: 3}", "overrides.screw", "must be a mapping of sections (got 3)", ""),
    (
        "overrides: {screw: {coreset: 3}}",
        "overrides.screw.coreset",
        "must be a mapping of keys",
        "3",
    ),
    (
        "overrides: {screws: {}}",
        "overrides.screws",
        "not one of the configured",
        "did you mean screw",
    ),
    (
        "overrides: {screw: {runtime: {}}}",
        "overrides.screw.runtime",
        "cannot be overridden",
        "coreset",
    ),
    (
        "overrides: {screw: {corset: {}}}",
        "overrides.screw.corset",
        "cannot be",
        "did you mean coreset",
    ),
    (
        "overrides: {screw: {dataset: {root: x}}}",
        "overrides.screw.dataset.root",
        "cannot be overridden per category; these can: resize, imagesize",
        "",
    ),
    (
        "overrides: {screw: {coreset: {sed: 1}}}",
        "overrides.screw.coreset.sed",
        "unknown key",
        "seed",
    ),
    (
        "overrides: {screw: {coreset: {seed: yes}}}",
        "overrides.screw.coreset.seed",
        "",
        "(got True)",
    ),
    (
        "overrides: {screw: {dataset: {resize: 128}}}",
        "overrides.screw.dataset.imagesize",
        "imagesize (224) must not exceed resize (128)",
        "",
    ),
    (
        "overrides: {screw: {embedding: {members: [{layers: []}]}}}",
        "overrides.screw.embedding.members.0.layers",
        "list should have at least 1 item",
        "",
    ),
]


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
    for name in ("good", "my valve", "größe", "tab\tbed"):
        (tmp_path / "images" / name / "train").mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        load("dataset: {root: images, categories: discover}")
    message = str(caught.value)
    assert r"'größe', 'my valve', 'tab\tbed' cannot be a category" in message
    assert f"rename the folder below {tmp_path / 'images'}" in message
    assert "\n" not in message
