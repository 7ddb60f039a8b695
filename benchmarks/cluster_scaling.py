r"""Seconds of a wave on one and on two nodes, and what they say of more nodes and categories.

    python -m benchmarks.cluster_scaling --repeats 3

Starts the cluster of `tests/cluster` (PostgreSQL, a bucket, Ray's head, nodes of one processor
each) in a network namespace, so it needs root, the extras `dev` and `demo`, and PostgreSQL. Then
the measured seconds are laid on more nodes by list scheduling: the next run in the queue goes to
the node that is free first.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import tables
from benchmarks.measuring import REPOSITORY, positive, run_main, say

_KITS = ("tests/cluster", "tests/pipeline", "tests/storage_s3")
# How often Dagster looks through its queue, and how often for waves that are over.
_QUEUE_SECONDS = 5.0
_SENSOR_SECONDS = 30.0
_LONG = 3600.0
_NODES = (1, 2, 4, 8, 16)
_CATEGORIES = (4, 100, 1000)


@dataclass(frozen=True)
class Wave:
    """One measured wave: seconds from its launch, and of each run from start to end."""

    nodes: int
    until_the_last_run: float
    runs: Sequence[float]
    waits: Sequence[float]
    summary: float
    summary_of_one: float


def main() -> None:
    """Measure, simulate and write."""
    options = _options()
    sys.path[:0] = [str(REPOSITORY / kit) for kit in _KITS]
    waves = [
        _measure(nodes, options) for _ in range(options.repeats) for nodes in (1, options.nodes)
    ]
    one = _median([wave for wave in waves if wave.nodes == 1])
    several = _median([wave for wave in waves if wave.nodes == options.nodes])
    rows = [_measured_row(one, one), _measured_row(several, one)]
    runs = [seconds for wave in waves if wave.nodes == 1 for seconds in wave.runs]
    start = statistics.median(wait for wave in waves for wait in wave.waits)
    for categories in _CATEGORIES:
        alone = _simulate(runs, start, one, 1, categories)
        for nodes in _NODES:
            total = _simulate(runs, start, one, nodes, categories)
            rows.append(_row("simulated", nodes, categories, total, alone))
    notes = [
        f"{options.categories} categories of {options.train} training images of {options.size} "
        f"px, efficientnet_lite0; median of {options.repeats}; each node is tied to one processor. "
        "The head's services, PostgreSQL and the bucket's server compute on the same processors.",
        f"A run takes {statistics.median(runs):.0f} s from its start to its end, a summary "
        f"{one.summary:.1f} s, of one category alone {one.summary_of_one:.1f} s.",
        f"Simulated by list scheduling: a run's seconds are drawn from the {len(runs)} measured on "
        f"one node; before it are {start:.1f} s until its process is at work and the rest of "
        f"Dagster's {_QUEUE_SECONDS:.0f} s between two looks at its queue. The summary comes last, "
        f"alone, after up to {_SENSOR_SECONDS:.0f} s; it grows with the categories as from one to "
        f"{options.categories}.",
        "Not simulated: what PostgreSQL, the bucket and the network can bear; that one node is "
        "slower than another; that runs differ by more than those measured.",
    ]
    table = tables.Table("Scaling of a cluster", rows, notes)
    tables.write(options, "cluster_scaling", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--repeats", type=positive, default=3, help="[%(default)s]")
    parser.add_argument("--nodes", type=positive, default=2, help="[%(default)s]")
    parser.add_argument("--categories", type=positive, default=4, help="[%(default)s]")
    parser.add_argument("--train", type=positive, default=60, help="images [%(default)s]")
    parser.add_argument("--size", type=positive, default=224, help="pixels [%(default)s]")
    return parser.parse_args()


def _measure(nodes: int, options: argparse.Namespace) -> Wave:
    """Run one wave on a fresh cluster."""
    from cluster_kit import POOL
    from running_cluster import running_cluster, why_none

    from patchcore_assets.automation.waves import SUMMARY_JOB

    if reason := why_none():
        sys.exit(reason)
    names = [f"fabric_{number}" for number in range(options.categories)]
    with running_cluster(
        behind_proxy=False,
        nodes=nodes,
        categories=names,
        processors=True,
        images={"train": options.train, "test_good": 10, "per_defect": 5, "size": options.size},
        dataset={"resize": options.size, "imagesize": options.size},
        embedding={"target_embed_dimension": 256, "pretrain_embed_dimension": 256},
        coreset={"percentage": 0.1, "projection_dimension": 128},
    ) as operator:
        operator.instance.event_log_storage.set_concurrency_slots(POOL, nodes)
        operator.launch_wave("first", names[:1])
        operator.wait_for_summary("first", _LONG)
        launched = time.time()
        operator.launch_wave("measured")
        operator.wait_for_summary("measured", _LONG)
        assert operator.statuses("measured") == ["SUCCESS"] * len(names), operator.history()
        records = operator.runs("measured")
        first, summary = operator.runs(job=SUMMARY_JOB)
        begun = [_launch_time(operator, record.dagster_run.run_id) for record in records]
        wave = Wave(
            nodes,
            max(record.end_time for record in records) - launched,
            [record.end_time - record.start_time for record in records],
            [record.start_time - before for record, before in zip(records, begun, strict=True)],
            summary.end_time - summary.start_time,
            first.end_time - first.start_time,
        )
    say(f"{nodes} nodes: {wave}; load {os.getloadavg()[0]:.1f}")
    return wave


def _launch_time(operator: Any, run_id: str) -> float:
    """Return when Dagster took a run from its queue."""
    return float(operator.instance.get_run_stats(run_id).launch_time)


def _median(waves: Sequence[Wave]) -> Wave:
    return sorted(waves, key=lambda wave: wave.until_the_last_run)[len(waves) // 2]


def _measured_row(wave: Wave, one: Wave) -> tables.Row:
    total, alone = wave.until_the_last_run, one.until_the_last_run
    return _row("measured, without the summary", wave.nodes, len(wave.runs), total, alone)


def _row(how: str, nodes: int, categories: int, total: float, alone: float) -> tables.Row:
    return {
        "": how,
        "categories": categories,
        "nodes": nodes,
        "minutes": total / 60,
        "speed-up": alone / total,
        "efficiency": alone / total / nodes,
    }


def _simulate(runs: Sequence[float], start: float, one: Wave, nodes: int, categories: int) -> float:
    """Return the seconds of a wave with its summary."""
    draws = random.Random(0)  # noqa: S311 - no secret depends on it.
    free = [0.0] * nodes
    for _ in range(categories):
        # The queue is looked through at fixed times; a node waits for the next.
        looked = -(-heapq.heappop(free) // _QUEUE_SECONDS) * _QUEUE_SECONDS
        heapq.heappush(free, looked + start + draws.choice(runs))
    for_each = max(one.summary - one.summary_of_one, 0.0) / (len(one.runs) - 1)
    summary = one.summary_of_one + for_each * (categories - 1)
    return max(free) + _SENSOR_SECONDS / 2 + start + summary


def _draw(axes: Any, rows: Sequence[tables.Row]) -> None:
    for categories in _CATEGORIES:
        shown = [row for row in rows if row[""] == "simulated" and row["categories"] == categories]
        axes.plot(
            [row["nodes"] for row in shown],
            [row["speed-up"] for row in shown],
            marker="o",
            label=f"{categories} categories, simulated",
        )
    measured = [row for row in rows if row[""] != "simulated"]
    axes.plot(
        [row["nodes"] for row in measured],
        [row["speed-up"] for row in measured],
        "kx",
        label="measured",
    )
    axes.plot(_NODES, _NODES, "k:", linewidth=1)
    axes.set_xlabel("nodes")
    axes.set_ylabel("times as fast as one node")
    axes.legend()


if __name__ == "__main__":
    run_main(main)
