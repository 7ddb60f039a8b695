"""Any valid configuration loads as what it says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from patchcore_ops.config.load import MVTEC_CATEGORIES, BenchmarkConfig, load_config
from patchcore_ops.config.sections import CategoryConfig, ConfigFile
from patchcore_ops.config.yaml_document import read_document

Content = dict[str, Any]

# None of them is a word that tables read as missing, or a device of Windows.
plain_names = st.from_regex(r"x[a-z0-9_.-]{0,11}[a-z0-9_-]", fullmatch=True).filter(
    lambda name: "..." not in name
)
words = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
layers = st.lists(words, min_size=1, max_size=3, unique=True)
members = st.fixed_dictionaries({}, optional={"backbone": words, "layers": layers})
fractions = st.floats(1e-300, 1, exclude_min=True) | st.just(1)


def section(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Content]:
    """Draw any of the keys of a section, in any order."""
    return st.fixed_dictionaries({}, optional=keys).flatmap(
        lambda drawn: st.permutations(list(drawn)).map(lambda order: {k: drawn[k] for k in order})
    )


# The image size always comes as a pair, for a crop must fit into its image in every combination.
image_sizes = st.tuples(st.integers(8, 4096), st.integers(8, 4096)).map(
    lambda sizes: {"resize": max(sizes), "imagesize": min(sizes)}
)
by_category = {
    "embedding": section(
        members=st.lists(members, min_size=1, max_size=3),
        pretrain_embed_dimension=st.integers(1, 65536),
        target_embed_dimension=st.integers(1, 65536),
        patchsize=st.integers(0, 15).map(lambda half: 2 * half + 1),
        precision=st.sampled_from(["float32", "bfloat16"]),
    ),
    "coreset": section(
        sampler=st.sampled_from(["identity", "random", "greedy_coreset", "approx_greedy_coreset"]),
        percentage=fractions,
        projection_dimension=st.integers(1, 65536),
        number_of_starting_points=st.integers(1, 1_000_000),
        seed=st.integers(0, 2**63 - 1),
    ),
    "index": section(
        factory=st.sampled_from(["Flat", "IVF64,Flat", "HNSW32", "PCA64,IVF16,PQ8x4"]),
        search_parameters=st.sampled_from(["", "nprobe=4", "efSearch=1,2"]),
    ),
    "scoring": section(
        anomaly_scorer_num_nn=st.integers(1, 65536), smoothing_sigma=st.floats(0, 1000)
    ),
    "metrics": section(
        aupro_fpr_limit=fractions, mask_threshold=fractions, reference_masks=st.booleans()
    ),
    "checks": section(
        minimum_train_images=st.integers(1, 1_000_000),
        regression=st.sampled_from(["fail", "warn", "ignore"]),
        published_tolerance=st.floats(0, 1),
    ),
}
others = {
    "runtime": section(
        device=st.sampled_from(["auto", "cpu", "cuda", "cuda:3", "mps"]),
        batch_size=st.integers(1, 4096),
        faiss_on_gpu=st.booleans(),
    ),
    "schedule": section(
        timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
        seconds_between_looks=st.integers(1, 86400),
    ),
    "storage": section(root=words),
}
categories = st.just("mvtec") | st.lists(
    plain_names,
    min_size=1,
    max_size=4,
    unique=True,
)


@st.composite
def documents(draw: st.DrawFn) -> Content:
    """Draw a valid configuration: any sections with any of their keys, and overrides."""
    content: Content = draw(st.fixed_dictionaries({}, optional={**by_category, **others}))
    named = draw(categories)
    content["dataset"] = {**draw(image_sizes), "categories": named}
    names = MVTEC_CATEGORIES if named == "mvtec" else named
    overridable = st.fixed_dictionaries({}, optional={**by_category, "dataset": image_sizes})
    content["overrides"] = draw(st.dictionaries(st.sampled_from(names), overridable, max_size=3))
    return content


def load(content: Content, **options: Any) -> BenchmarkConfig:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yaml"
        text = yaml.safe_dump(content, allow_unicode=True, **options)
        file.write_text(text, encoding="utf-8")
        return load_config(file)


def literal_merge(content: Content, category: str) -> Content:
    """Write down, key by key, what holds for one category: override, then file, then default."""
    override = content["overrides"].get(category, {})
    merged: Content = {}
    for name, field in CategoryConfig.model_fields.items():
        model: Any = field.annotation
        merged[name] = {}
        for key in model.model_fields:
            default = getattr(model(), key)
            from_file = content.get(name, {}).get(key, default)
            merged[name][key] = override.get(name, {}).get(key, from_file)
    return merged


@settings(deadline=None, max_examples=25)
@given(content=documents(), flow=st.sampled_from([None, True, False]))
def test_each_category_is_the_literal_merge_and_loads_again_as_it_was_written_down(
    content: Content, flow: bool | None
) -> None:
    config = load(content, default_flow_style=flow, sort_keys=False)
    named = content["dataset"]["categories"]
    assert config.categories == (MVTEC_CATEGORIES if named == "mvtec" else tuple(named))
    for category in config.categories:
        expected = CategoryConfig.model_validate(literal_merge(content, category))
        assert config.for_category(category) == expected
    for name in ("runtime", "schedule"):
        expected_section = ConfigFile.model_validate({name: content.get(name, {})})
        assert getattr(config, name) == getattr(expected_section, name)
    if named != "mvtec":  # Fifteen categories are written slowly, and say no more.
        written = {
            "dataset": {"categories": list(config.categories)},
            "runtime": config.runtime.model_dump(),
            "schedule": config.schedule.model_dump(),
            "overrides": {name: one.model_dump() for name, one in config.by_category.items()},
        }
        again = load(written)
        assert again.by_category == config.by_category
        assert (again.runtime, again.schedule) == (config.runtime, config.schedule)


@settings(deadline=None, max_examples=200)
@given(
    value=st.text(alphabet="0123456789+-._eEaAfilnuotyxN~<=TrsOFk", max_size=8)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
)
def test_scalars_mean_what_pyyaml_writes(value: Any) -> None:
    """What PyYAML writes for a value is read as that value again."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "value.yaml"
        file.write_text(yaml.safe_dump({"a": value}), encoding="utf-8")
        read = read_document(str(file)).content["a"]
    assert repr(read) == repr(value)
