"""One benchmark with several presets, each into a storage of its own, side by side at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.config.addresses import is_url
from patchcore_ops.config.paths import STORAGE_ROOT_VARIABLE
from patchcore_ops.config.presets import PRESET_VARIABLE
from patchcore_ops.runtime.errors import ConfigError


def run_presets(path: str, presets: Sequence[str], categories: Sequence[str]) -> int:
    """Run a wave for each preset, then print their means; return 1 if anything failed.

    A preset's results lie in the folder that `storage.root` names, followed by its name.
    """
    from patchcore_assets.assets.metrics import METRICS
    from patchcore_assets.commands.wave import run_wave, say

    root = load_config(path).storage_root
    if is_url(root) and not urlsplit(root).path.strip("/"):
        raise ConfigError(
            f"storage.root: {root} is a whole bucket, and --presets would need others beside it; "
            "name a folder in it"
        )
    is_failed = False
    configs = {}
    for preset in presets:
        os.environ[PRESET_VARIABLE] = preset
        os.environ[STORAGE_ROOT_VARIABLE] = f"{root.rstrip('/')}-{preset}"
        config = load_config(path)
        say(f"== preset {preset}, into {config.storage_root}")
        failed = run_wave(config, categories)
        is_failed |= bool(failed)
        # Otherwise the storage may have the table of an earlier wave.
        if METRICS not in failed:
            configs[preset] = config
    _show(configs)
    return int(is_failed)


def _show(configs: dict[str, BenchmarkConfig]) -> None:
    import pandas as pd

    from patchcore_assets.commands.wave import SHOWN, read_table, say
    from patchcore_assets.storage import MissingArtefact

    tables = []
    for preset, config in configs.items():
        try:
            table, _ = read_table(config)
        except MissingArtefact:
            continue
        tables.append(table[list(SHOWN)].assign(preset=preset))
    if not tables:
        return
    rows = pd.concat(tables, ignore_index=True)
    order = rows["category"].drop_duplicates().tolist()
    rows = rows.sort_values("category", key=lambda names: names.map(order.index), kind="stable")
    columns = ["category", "preset", *SHOWN[1:]]
    say("\n" + rows[columns].to_string(index=False, float_format=lambda value: f"{value:.4f}"))
