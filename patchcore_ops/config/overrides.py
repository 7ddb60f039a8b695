"""A category's settings: the general sections with its overrides applied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from patchcore_ops.config.categories import composed
from patchcore_ops.config.mistakes import Mistakes, did_you_mean, dotted, listed, locate, shown
from patchcore_ops.config.paths import resolve_path
from patchcore_ops.config.presets import Sections, fill
from patchcore_ops.config.sections import CategoryConfig, EmbeddingSection, ImageSize
from patchcore_ops.config.yaml_document import join_key


def read_overrides(
    raw: Mapping[str, Any], categories: Collection[str], mistakes: Mistakes
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the overrides by category and section; refuse what cannot be overridden."""
    overrides = raw.get("overrides", {})
    if not isinstance(overrides, dict):
        mistakes.add("overrides", f"must be a mapping of categories (got {shown(overrides)})")
        return {}
    kept: dict[str, dict[str, dict[str, Any]]] = {}
    known, names = frozenset(categories), listed(categories)
    for written, sections in overrides.items():
        where, category = join_key("overrides", written), composed(written)
        if known and category not in known:
            # Of so many that not all are reported, none is worth a search.
            near = "" if mistakes.are_many else did_you_mean(category, known)
            mistakes.add(where, f"not one of the configured categories ({names}){near}")
        if not isinstance(sections, dict):
            mistakes.add(where, f"must be a mapping of sections (got {shown(sections)})")
            continue
        kept[category] = {}
        for name, keys in sections.items():
            key = join_key(where, name)
            if name not in CategoryConfig.model_fields:
                mistakes.add(key, _not_overridable(CategoryConfig, name))
            elif not isinstance(keys, dict):
                mistakes.add(key, f"must be a mapping of keys to values (got {shown(keys)})")
            else:
                kept[category][name] = keys
                if name == "dataset":
                    for foreign in keys:
                        if foreign not in ImageSize.model_fields:
                            said = _not_overridable(ImageSize, foreign)
                            mistakes.add(join_key(key, foreign), said)
    return kept


def _not_overridable(model: type[BaseModel], name: str) -> str:
    return (
        f"cannot be overridden per category; these can: {', '.join(model.model_fields)}"
        + did_you_mean(name, model.model_fields)
    )


def resolve_category(
    raw: Mapping[str, Any],
    override: Mapping[str, Mapping[str, Any]],
    preset: Sections,
    mistakes: Mistakes,
    where: str,
) -> CategoryConfig | None:
    """Merge a category's overrides into the general sections, fill and validate them."""
    merged = {}
    for name in CategoryConfig.model_fields:
        section = raw.get(name, {})
        general = section if isinstance(section, dict) else {}
        merged[name] = fill(name, {**general, **override.get(name, {})}, preset)
    merged["dataset"] = {
        key: value for key, value in merged["dataset"].items() if key in ImageSize.model_fields
    }
    try:
        config = CategoryConfig.model_validate(merged)
    except ValidationError as error:
        for location, sentence in locate(error, CategoryConfig):
            section_name, *keys = location
            is_own = str(keys[0]) in override.get(str(section_name), {}) if keys else True
            # What is wrong in the general section has been said there.
            if not where or is_own or mistakes.at(dotted("", location)) is None:
                mistakes.add(dotted(where, location), sentence)
        return None
    embedding = _with_absolute_weights(config.embedding, mistakes)
    return config.model_copy(update={"embedding": embedding})


def _with_absolute_weights(embedding: EmbeddingSection, mistakes: Mistakes) -> EmbeddingSection:
    members = []
    for position, member in enumerate(embedding.members):
        weights = member.weights
        if weights is not None:
            key = f"embedding.members.{position}.weights"
            weights = resolve_path(key, weights, mistakes)
        members.append(member.model_copy(update={"weights": weights}))
    return embedding.model_copy(update={"members": members})
