"""Trials: a run of an asset that is ended or hindered at one point, and what must hold after it."""

from __future__ import annotations

import json
import random
import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from children import Child, run
from file_events import FailOnce, FileEvents, fill_disk, kill
from invariants import Broken, check_history, content_of, data_version, litter
from sites import ASSETS, STARTS, Site, Sites

KILLS = ("kill at an event", "kill at a time")
ERRORS = ("full disk", "failing disk", "memory limit")
# Of memory, beyond what a process has that has imported everything.
_MOST_MEGABYTES = 100
# Has the time and the run on its page, and thus another content each time.
_NEVER_THE_SAME = "benchmark_report"


@dataclass(frozen=True)
class Point:
    """One point of one asset's run."""

    fault: str
    asset: str
    start: str
    at: float


@dataclass(frozen=True)
class Outcome:
    """What came of a trial."""

    point: Point
    held: str
    lost: str
    seconds: float


class Trials:
    """Tries points, each on a fresh copy of the benchmarks."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._number = 0

    def points(
        self, seed: int, kills: int, errors: int, assets: Sequence[str] = ASSETS
    ) -> list[Point]:
        """Choose points evenly over the assets and what there is before.

        Every asset's run is made once to count its events and to take its time.
        """
        chance = random.Random(seed)
        by_fault: dict[str, list[list[Point]]] = {fault: [] for fault in (*KILLS, *ERRORS)}
        for asset in assets:
            for start in STARTS:
                events, seconds = self._measure(asset, start)
                numbers = list(range(1, events + 1))
                for fault in ("kill at an event", "full disk", "failing disk"):
                    chance.shuffle(numbers)
                    by_fault[fault].append([Point(fault, asset, start, at) for at in numbers])
                limits = [chance.randrange(1, _MOST_MEGABYTES) for _ in range(len(numbers) // 4)]
                by_fault["memory limit"].append(
                    [Point("memory limit", asset, start, at) for at in limits]
                )
                times = sorted(chance.uniform(0, seconds) for _ in range(len(numbers) // 4))
                chance.shuffle(times)
                by_fault["kill at a time"].append(
                    [Point("kill at a time", asset, start, at) for at in times]
                )
        chosen = []
        for faults, number in ((KILLS, kills), (ERRORS, errors)):
            runs = [one for fault in faults for one in by_fault[fault]]
            chance.shuffle(runs)
            chosen += _in_turn(runs)[:number]
        return chosen

    def _measure(self, asset: str, start: str) -> tuple[int, float]:
        site = self._site(asset, start)
        began = time.monotonic()
        events = run(lambda: _counted(site, asset), site.log)
        seconds = time.monotonic() - began
        shutil.rmtree(site.folder)
        return events, seconds

    def _site(self, asset: str, start: str) -> Site:
        self._number += 1
        return self._sites.start(f"trial-{self._number}", asset, start)

    def attempt(self, point: Point) -> Outcome:
        """Run an asset up to a point, check, run it again, and check once more."""
        began = time.monotonic()
        site = self._site(point.asset, point.start)
        held, lost = "", ""
        try:
            claimed = self._hinder(site, point)
            held = self._check_after_fault(site, point)
            if claimed and held != "new":
                raise Broken(f"the run claims success, but what there is is {held}")
            self._check_rerun(site, point)
        except (Broken, RuntimeError, TimeoutError, OSError, ValueError) as error:
            lost = f"{type(error).__name__}: {error}"
        if not lost:
            shutil.rmtree(site.folder)
        return Outcome(point, held, lost, time.monotonic() - began)

    def _hinder(self, site: Site, point: Point) -> bool:
        """Run the asset up to the point; returns whether the run claims success."""
        if point.fault == "kill at a time":
            Child(lambda: site.materialise(point.asset), site.log).wait(kill_after=point.at)
            return False
        if point.fault == "memory limit":
            # Where memory runs out depends on the libraries; what remains is checked all the same.
            result = Child(lambda: _limited(site, point), site.log).wait().result
            return result is not None and bool(result["success"])
        ended = Child(lambda: _hindered(site, point), site.log).wait()
        if point.fault in KILLS:
            if not ended.killed:
                raise Broken(f"was not killed at event {point.at:.0f}: {ended.result}")
        elif ended.result is None:
            raise Broken("the process ended by an error of the storage")
        elif not ended.result["success"]:
            _check_sentences(ended.result["said"], site)
        return ended.result is not None and bool(ended.result["success"])

    def _check_after_fault(self, site: Site, point: Point) -> str:
        """See that each artefact is its old or its new version; returns which the asset's is."""
        check_history(site)
        position = ASSETS.index(point.asset)
        held = "nothing"
        for other, asset in enumerate(ASSETS):
            found = content_of(site.storage, asset)
            old = None if point.start == "first" else content_of(self._sites.old.storage, asset)
            new = content_of(self._sites.new.storage, asset)
            if other == position:
                is_new = found == new or (asset == _NEVER_THE_SAME and found not in (None, old))
                if not is_new and found != old:
                    raise Broken(f"{asset}: is neither the old nor the new version")
                held = "new" if is_new else "nothing" if found is None else "old"
            elif found != (new if other < position else old):
                raise Broken(f"{asset}: has changed though it was not run")
        return held

    def _check_rerun(self, site: Site, point: Point) -> None:
        """Run the asset again: as if nothing had happened."""
        before = content_of(site.storage, point.asset)
        outcome = run(lambda: _run_again(site, point.asset), site.log)
        if not outcome["success"]:
            raise Broken(f"the run after it fails: {outcome['said']}")
        if outcome["recorded"] and (before is None or outcome["recorded"] != data_version(before)):
            raise Broken("Dagster has recorded a version that is not there")
        content = content_of(site.storage, point.asset)
        if point.asset == _NEVER_THE_SAME:
            page = (site.storage / point.asset / "index.html").read_text()
            if not page.rstrip().endswith("</html>"):
                raise Broken("the page is not whole")
        elif content != content_of(self._sites.new.storage, point.asset):
            raise Broken("the run after it yields something else")
        if left := litter(site.storage):
            raise Broken(f"the run after it leaves {left}")


def _counted(site: Site, asset: str) -> int:
    events = FileEvents(str(site.storage.resolve()))
    events.install()
    outcome = site.materialise(asset)
    if not outcome["success"]:
        raise RuntimeError(str(outcome["said"]))
    return events.count


def _hindered(site: Site, point: Point) -> dict[str, Any]:
    fault = {"full disk": fill_disk, "failing disk": FailOnce()}.get(point.fault, kill)
    FileEvents(str(site.storage.resolve()), int(point.at), fault).install()
    return site.materialise(point.asset)


def _limited(site: Site, point: Point) -> dict[str, Any]:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + int(point.at * 1e6)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return site.materialise(point.asset)


def _run_again(site: Site, asset: str) -> dict[str, Any]:
    recorded = site.recorded_version(asset)
    return {"recorded": recorded, **site.materialise(asset)}


def _check_sentences(said: dict[str, str], site: Site) -> None:
    for sentence in said.values():
        if str(site.storage) not in sentence or not sentence.endswith("then run again"):
            raise Broken(f"is not said in one sentence: {sentence}")


def _in_turn(lists: Iterable[Sequence[Point]]) -> list[Point]:
    return [one for turn in zip_longest(*lists) for one in turn if one is not None]


def summarise(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Count, for each fault and asset, what was tried, what there was afterwards, what was lost."""
    rows: dict[tuple[str, str], Counter[str]] = {}
    for outcome in outcomes:
        counts = rows.setdefault((outcome.point.fault, outcome.point.asset), Counter())
        counts["tried"] += 1
        counts["lost" if outcome.lost else outcome.held] += 1
    return [
        {
            "fault": fault,
            "asset": asset,
            **{name: counts[name] for name in ("tried", "nothing", "old", "new", "lost")},
        }
        for (fault, asset), counts in sorted(
            rows.items(), key=lambda row: (row[0][0], ASSETS.index(row[0][1]))
        )
    ]


def write_figures(
    file: Path, outcomes: Sequence[Outcome], seconds: float, say: Callable[[str], object]
) -> None:
    """Write what was tried to a JSON file, and say the sums."""
    lost = [outcome for outcome in outcomes if outcome.lost]
    figures = {
        "tried": len(outcomes),
        "survived": len(outcomes) - len(lost),
        "lost": len(lost),
        "seconds": round(seconds, 1),
        "rows": summarise(outcomes),
        "losses": [f"{outcome.point}: {outcome.lost}" for outcome in lost],
    }
    file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for name in ("tried", "survived", "lost", "seconds"):
        say(f"{name}: {figures[name]}")
