"""Check of the table over all categories."""

from __future__ import annotations

from collections.abc import Sequence

from patchcore_ops.checks.finding import Finding, counted


def every_category_is_there(present: Sequence[str], absent: Sequence[str]) -> Finding:
    """Check that every configured category has metrics."""
    return Finding(
        not absent,
        f"All configured categories ({len(present):,}) are in the table."
        if not absent
        else f"{counted(len(absent), 'configured category has', 'configured categories have')} no "
        f"metrics yet, so the mean is over the others: {', '.join(absent)}.",
        is_error=False,
        facts={"present": len(present), "missing": list(absent)},
    )
