"""Notes beside figures that were made with differing settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from patchcore_ops.config.recorded_settings import Difference, Recorded, differences, differing_keys

_NAMED_KEYS = 5
_NAMED_CATEGORIES = 5


def changed_since(
    used: Mapping[str, Recorded], now: Mapping[str, Recorded | None]
) -> dict[str, list[Difference]]:
    """Map each category whose settings differ from the current ones to the differences."""
    found = {}
    for category, settings in used.items():
        current = now.get(category)
        if current is not None and (changes := differences(settings, current)):
            found[category] = changes
    return found


def changes_in_words(changes: Sequence[Difference]) -> str:
    """Name changed settings with the used value and the current one."""
    return _listed([f"{one.key} {one.used} (now {one.other})" for one in changes], _NAMED_KEYS)


def note_on_changes(changed: Mapping[str, Sequence[Difference]]) -> str | None:
    """Say which figures were made with settings that have changed since."""
    if not changed:
        return None
    alike: dict[str, list[str]] = {}
    for category, changes in changed.items():
        alike.setdefault(changes_in_words(changes), []).append(category)
    parts = [
        f"{_listed(categories, _NAMED_CATEGORIES)}: {words}" for words, categories in alike.items()
    ]
    return (
        "Made with other settings than the configuration has now: "
        f"{_listed(parts, _NAMED_CATEGORIES, '; ')}"
    )


def notes_on_mean(
    used: Mapping[str, Recorded],
    applied: Mapping[str, bool],
    code: Mapping[str, Mapping[str, str]],
) -> list[str]:
    """Say how the categories of a mean differ in settings, code, and the rule for masks.

    `applied` tells by category whether only fully white pixels count as defects; `code` has the
    version of each asset's code.
    """
    notes = (_settings_of_mean(used), _code_of_mean(code), _masks_of_mean(applied))
    return [note for note in notes if note]


def _settings_of_mean(used: Mapping[str, Recorded]) -> str | None:
    differing = differing_keys(used)
    if not differing:
        return None
    return f"Mean over categories with different settings: {_by_value(differing)}"


def _code_of_mean(code: Mapping[str, Mapping[str, str]]) -> str | None:
    differing = differing_keys({name: {"code of": versions} for name, versions in code.items()})
    if not differing:
        return None
    named = {key.replace("code of.", "code of "): value for key, value in differing.items()}
    return (
        "Mean over categories made by different releases, whose figures need not be comparable: "
        f"{_by_value(named)}; benchmark the earlier ones again"
    )


def _by_value(differing: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    keys = [
        f"{key} is "
        + ", ".join(
            f"{value} for {_listed(categories, _NAMED_CATEGORIES)}"
            for value, categories in by_value.items()
        )
        for key, by_value in differing.items()
    ]
    return _listed(keys, _NAMED_KEYS, "; ")


def _masks_of_mean(applied: Mapping[str, bool]) -> str | None:
    others = [category for category, is_applied in applied.items() if not is_applied]
    if not others or len(others) == len(applied):
        return None
    return (
        "Mean over categories whose masks are read by different rules: full_pixel_auroc and "
        f"anomaly_pixel_auroc of {_listed(others, _NAMED_CATEGORIES)} are judged by "
        "metrics.mask_threshold, for the rule of fully white pixels would lose a defect there"
    )


def _listed(names: Sequence[str], at_most: int, separator: str = ", ") -> str:
    more = len(names) - at_most
    return separator.join(names[:at_most]) + (f"{separator}and {more} more" if more > 0 else "")
