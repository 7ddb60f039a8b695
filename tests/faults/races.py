"""Two processes that materialise the same partition at once, while a third reads what there is."""

from __future__ import annotations

import time
from collections.abc import Sequence

from children import Child, run
from invariants import Broken, content_of, litter
from pipeline_kit import BY_CATEGORY, CATEGORY
from sites import Site, Sites

from patchcore_assets.storage import DamagedArtefact, MissingArtefact, open_store

WRITERS = 2


def race(sites: Sites, rounds: int, assets: Sequence[str] = BY_CATEGORY) -> list[str]:
    """Let two processes materialise assets at the same time, again and again."""
    site = sites.start("race", assets[0], "first")
    writers = [Child(lambda: _write_on(site, assets, rounds), site.log) for _ in range(WRITERS)]
    reader = Child(lambda: _read_on(site, assets), site.log)
    faults = []
    for writer in writers:
        failed = writer.wait(timeout=60 * rounds).result
        faults += [f"a writer ended: {_last_words(site)}"] if failed is None else failed
    (site.folder / "stop").touch()
    found = reader.wait().result
    if found is None:
        faults.append(f"the reader ended: {_last_words(site)}")
    elif not found["reads"]:
        faults.append("the reader has found nothing")
    else:
        faults += found["faults"]
    last = run(lambda: site.materialise(*assets), site.log)
    if not last["success"]:
        faults.append(f"the run after it fails: {last['said']}")
    faults += _differences(sites, site, assets)
    faults += [f"the run after it leaves {left}" for left in litter(site.storage)]
    return faults


def _write_on(site: Site, assets: Sequence[str], rounds: int) -> list[str]:
    """Materialise assets again and again; returns what failed."""
    outcomes = [site.materialise(*assets) for _ in range(rounds)]
    return [f"a run fails: {one['said']}" for one in outcomes if not one["success"]]


def _last_words(site: Site) -> str:
    return site.log.read_text()[-2000:]


def _read_on(site: Site, assets: Sequence[str]) -> dict[str, object]:
    """Open and verify artefacts until the writers are done."""
    faults: list[str] = []
    reads = 0
    while not (site.folder / "stop").exists():
        for asset in assets:
            # A new store has verified nothing yet.
            store = open_store(str(site.storage))
            try:
                with store.open(asset, CATEGORY) as artefact:
                    artefact.verify()
                    reads += 1
            except MissingArtefact:
                continue
            except DamagedArtefact as damage:
                faults.append(str(damage))
        time.sleep(0.002)
    return {"reads": reads, "faults": faults}


def _differences(sites: Sites, site: Site, assets: Sequence[str]) -> list[str]:
    differences = []
    for asset in assets:
        try:
            if content_of(site.storage, asset) != content_of(sites.new.storage, asset):
                differences.append(f"{asset} is not what one process makes")
        except Broken as error:
            differences.append(str(error))
    return differences
