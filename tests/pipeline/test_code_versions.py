"""Code that determines a result does not change without a decision about `code_version`."""

from __future__ import annotations

import code_digests
import pytest
from code_digests import COMMAND, DETERMINED_BY, module_file, read_table, source_digest
from pipeline_kit import Configure

from patchcore_ops.config import load_config

SOURCE = '''
"""A module."""
import os


def share(count, percentage=0.1):
    """Return how many."""
    # Rounded down, as the reference does.
    return int(count * percentage), f"{count:,} rows"
'''


@pytest.mark.parametrize("asset", DETERMINED_BY)
def test_changed_code_has_been_decided_on(asset: str, configure: Configure) -> None:
    accepted = read_table()[asset]
    now = code_digests.digests(asset)
    changed = sorted(
        file
        for file in now.keys() | accepted["digests"].keys()
        if now.get(file) != accepted["digests"].get(file)
    )
    graph = code_digests.whole_graph(load_config(configure()))
    version = code_digests.code_versions(graph)[asset]
    assert not changed, (
        f"{', '.join(changed)}: changed since code_version {accepted['code_version']} of {asset} "
        f"(now {version}) was decided on. If the same input now gives another result, raise "
        f"code_version in {module_file(asset).name}; then, or if it does not, run `{COMMAND}`."
    )
    assert version == accepted["code_version"], (
        f"{asset} has code_version {version}, but {accepted['code_version']} was accepted; "
        f"run `{COMMAND}`"
    )


def test_every_computed_asset_and_every_module_has_its_place(configure: Configure) -> None:
    graph = code_digests.whole_graph(load_config(configure()))
    assert set(code_digests.code_versions(graph)) == set(DETERMINED_BY) == set(read_table())
    unplaced = list(code_digests.unplaced_modules())
    assert not unplaced, (
        f"{', '.join(unplaced)}: say in code_digests.py which asset's result they determine"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Rounded down, as the reference does.", "# Another remark."),
        ('"""Return how many."""', '"""Return how many rows are kept."""'),
        ('"""A module."""\n', ""),
        ("(count, percentage=0.1)", "(\n    count,\n    percentage=0.1,\n)"),
    ],
)
def test_words_and_layout_are_no_change(old: str, new: str) -> None:
    assert old in SOURCE
    assert source_digest(SOURCE.replace(old, new)) == source_digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.1", "0.2"), ("int(", "round("), (" rows", " picks"), (":,", ""), ("import os\n", "")],
)
def test_anything_else_is_a_change(old: str, new: str) -> None:
    assert old in SOURCE
    assert source_digest(SOURCE.replace(old, new)) != source_digest(SOURCE)
