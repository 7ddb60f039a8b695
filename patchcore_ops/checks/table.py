"""Checks of the table over all categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from patchcore_ops.checks.finding import NAMED_FILES, Finding, counted
from patchcore_ops.config.recorded_settings import Difference
from patchcore_ops.config.settings_notes import note_on_changes


def every_category_is_there(
    present: Sequence[str], absent: Sequence[str], unusable: Mapping[str, str]
) -> Finding:
    """Check that every configured category has metrics; `unusable` gives a reason by category."""
    missing = [*absent, *unusable]
    reasons = "".join(f" {reason}" for reason in unusable.values())
    return Finding.of(
        not missing,
        f"All configured categories ({len(present):,}) are in the table.",
        f"{counted(len(missing), 'configured category has', 'configured categories have')} no "
        f"metrics yet, so the mean is over the others: {', '.join(missing)}.{reasons}",
        {"present": len(present), "missing": missing},
        is_error=False,
    )


def settings_are_those_of_now(changed: Mapping[str, Sequence[Difference]]) -> Finding:
    """Check that figures were made with the settings that the configuration has now.

    `changed` comes from `settings_notes.changed_since`.
    """
    rows = [
        {"category": category, "setting": one.key, "used": one.used, "now": one.other}
        for category, changes in changed.items()
        for one in changes
    ]
    note = note_on_changes(changed)
    return Finding.of(
        note is None,
        "All figures were made with the settings that the configuration has now.",
        f"{note}. Materialise these categories again, or set the configuration back.",
        {"settings": pd.DataFrame(rows[:NAMED_FILES])} if rows else {},
        is_error=False,
    )
