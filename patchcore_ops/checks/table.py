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
    """Check that every configured category has metrics.

    Parameters
    ----------
    present : sequence of str
        Categories in the table.
    absent : sequence of str
        Categories that have no metrics yet.
    unusable : mapping of str to str
        Categories whose metrics cannot be used, and why.
    """
    missing = [*absent, *unusable]
    reasons = "".join(f" {reason}" for reason in unusable.values())
    return Finding(
        not missing,
        f"All configured categories ({len(present):,}) are in the table."
        if not missing
        else f"{counted(len(missing), 'configured category has', 'configured categories have')} no "
        f"metrics yet, so the mean is over the others: {', '.join(missing)}.{reasons}",
        is_error=False,
        facts={"present": len(present), "missing": missing},
    )


def settings_are_those_of_now(changed: Mapping[str, Sequence[Difference]]) -> Finding:
    """Check that figures were made with the settings that the configuration has now.

    Parameters
    ----------
    changed : mapping of str to sequence of Difference
        What `settings_notes.changed_since` has found.
    """
    rows = [
        {"category": category, "setting": one.key, "used": one.used, "now": one.other}
        for category, changes in changed.items()
        for one in changes
    ]
    note = note_on_changes(changed)
    return Finding(
        note is None,
        "All figures were made with the settings that the configuration has now."
        if note is None
        else f"{note}. Materialise these categories again, or set the configuration back.",
        is_error=False,
        facts={"settings": pd.DataFrame(rows[:NAMED_FILES])} if rows else {},
    )
