"""The history of waves: each wave is an artefact of its own, which is never rewritten.

Several machines may make the table at once, and a bucket has no locks: a shared file that each
reads, extends and writes back would lose blocks. `history.parquet` is the sum of all blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from patchcore_assets.storage import ArtefactStore, DamagedArtefact, MissingArtefact

if TYPE_CHECKING:
    import pandas as pd

# The place of the blocks in the storage, beside the assets.
WAVES = "waves"


def keep_wave(
    store: ArtefactStore,
    earlier: Path | None,
    summary: pd.DataFrame,
    wave: str,
    run_id: str,
    folder: Path,
    warn: Callable[[str], None],
) -> int:
    """Keep what a wave has measured and write `history.parquet`; return its number of waves.

    The history of the table before (in `earlier`) spares reading its waves again, and holds those
    of releases that kept no blocks.
    """
    import pandas as pd

    from patchcore_ops.metrics.history import KEPT_WAVES, WAVE, add_up, block_of_wave
    from patchcore_ops.stages.layout import HISTORY

    block = block_of_wave(summary, wave, datetime.now(UTC), run_id)
    _keep(store, block)
    file = None if earlier is None else earlier / HISTORY
    before = pd.read_parquet(file) if file is not None and file.is_file() else None
    known = set() if before is None else _names(before)
    names = store.categories(WAVES)
    others = [name for name in names[-KEPT_WAVES:] if name not in known | _names(block)]
    history = add_up(before, list(_blocks(store, others, warn)), block)
    history.to_parquet(folder / HISTORY, index=False)
    for name in names[:-KEPT_WAVES]:
        store.remove(WAVES, name)
    return int(history[WAVE].nunique())


def _keep(store: ArtefactStore, block: pd.DataFrame) -> None:
    from patchcore_ops.metrics.history import RUN_ID, WAVE
    from patchcore_ops.stages.layout import WAVE_PARQUET

    [name] = _names(block)
    with store.stage(WAVES, name) as staging:
        block.to_parquet(staging.folder / WAVE_PARQUET, index=False)
        staging.commit({"run_id": block[RUN_ID].iloc[0], "wave": block[WAVE].iloc[0]})


def _names(blocks: pd.DataFrame) -> set[str]:
    """Name blocks by time and run, so that names sort by age."""
    from patchcore_ops.metrics.history import FINISHED, RUN_ID

    moments = blocks[[FINISHED, RUN_ID]].drop_duplicates().itertuples(index=False, name=None)
    return {f"{finished:%Y%m%dT%H%M%S.%fZ}-{run_id}" for finished, run_id in moments}


def _blocks(
    store: ArtefactStore, names: list[str], warn: Callable[[str], None]
) -> Iterator[pd.DataFrame]:
    import pandas as pd

    from patchcore_ops.stages.layout import WAVE_PARQUET

    for name in names:
        try:
            with store.open(WAVES, name) as artefact:
                yield pd.read_parquet(artefact.folder / WAVE_PARQUET)
        except MissingArtefact:
            continue  # Another run has just removed it, as one of the oldest.
        except DamagedArtefact:
            warn(
                f"{store.location(WAVES, name)} is not what was written; the history goes on "
                "without this wave, remove it to hear no more of it"
            )
