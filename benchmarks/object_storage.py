"""An artefact of a given size, to and from an S3 server on this machine: time and memory.

    python -m benchmarks.object_storage --megabytes 680 260

The server is moto's, in a process of its own, which keeps everything in memory: the figures say
what the client costs, not what a network does. Needs `pip install -e ".[dev]"`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import (
    Run,
    Stopwatch,
    median,
    median_seconds,
    peak_mb,
    positive,
    run_main,
    run_task,
    say,
)
from benchmarks.workloads import add_repeats_option, add_thread_option

_BUCKET = "benchmark"
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_STEPS = ("write", "read, not in the cache", "read, in the cache", "read, in the same process")
_READS = ("read", "again")
_SECONDS_TO_START = 60


def main() -> None:
    """Measure and write."""
    options = _options()
    runs: list[dict[str, Run]] = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, _server() as endpoint:
        environment = {**_CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}
        for repeat in range(options.repeats):
            say(f"[{repeat + 1}/{options.repeats}] write, read, read again")
            caches = [str(Path(folder, f"{repeat}-{name}")) for name in ("writer", "reader")]
            arguments = {"root": f"s3://{_BUCKET}/{repeat}", "megabytes": options.megabytes}
            steps = (("write", "write", caches[0]), *((name, "read", caches[1]) for name in _READS))
            runs.append(
                {
                    name: run_task(
                        f"benchmarks.object_storage:{task}",
                        {**arguments, "cache": cache},
                        options.threads,
                        environment=environment,
                    )
                    for name, task, cache in steps
                }
            )
    rows = _rows(runs, sum(options.megabytes))
    notes = [
        f"Medians of {options.repeats} runs; files of {options.megabytes} MB. Writing includes "
        "hashing, uploading and the switch.",
        "Peak memory is that of the client's process.",
    ]
    table = tables.Table("An artefact in an S3 bucket on this machine", rows, notes)
    tables.write(options, "object_storage", table, tables.bars(rows, "what", "seconds"))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument(
        "--megabytes",
        type=positive,
        nargs="+",
        default=[680, 260],
        help="of each file [%(default)s]",
    )
    add_repeats_option(parser)
    add_thread_option(parser)
    return parser.parse_args()


@contextmanager
def _server() -> Iterator[str]:
    """Start moto's server and make the bucket; gives its address."""
    port = 5000 + os.getpid() % 1000
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _SECONDS_TO_START
        while True:
            try:
                request = urllib.request.Request(f"{endpoint}/{_BUCKET}", method="PUT")
                request.add_header("Host", f"127.0.0.1:{port}")
                request.add_header(
                    "Authorization", "AWS4-HMAC-SHA256 Credential=testing/1/us-east-1/s3/aws4"
                )
                urllib.request.urlopen(request, timeout=5).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield endpoint
    finally:
        process.terminate()
        process.wait()


def write(root: str, megabytes: list[int], cache: str) -> dict[str, Any]:
    """Commit an artefact; a task for a fresh process."""
    import numpy as np

    from patchcore_assets.storage import open_store

    watch = Stopwatch()
    generator = np.random.default_rng(0)
    store = open_store(root, cache=Path(cache))
    with store.stage("raw_embeddings", "category") as staging:
        for number, size in enumerate(megabytes):
            with (staging.folder / f"{number}.bin").open("wb") as stream:
                for _ in range(size):
                    stream.write(generator.bytes(10**6))
        with watch.stage("write"):
            staging.commit({"run_id": "benchmark"})
    return {"seconds": watch.seconds, "peak_mb": peak_mb()}


def read(root: str, megabytes: list[int], cache: str) -> dict[str, Any]:
    """Open an artefact, and once more; a task for a fresh process."""
    from patchcore_assets.storage import open_store

    watch = Stopwatch()
    store = open_store(root, cache=Path(cache))
    for step in ("first", "again"):
        with watch.stage(step), store.open("raw_embeddings", "category") as artefact:
            if artefact.bytes != sum(megabytes) * 10**6:
                raise ValueError(f"{artefact.bytes} bytes were read")
    return {"seconds": watch.seconds, "peak_mb": peak_mb()}


def _rows(runs: list[dict[str, Run]], megabytes: int) -> list[dict[str, Any]]:
    sources = (("write", "write"), ("read", "first"), ("again", "first"), ("again", "again"))
    rows = []
    for step, (task, stage) in zip(_STEPS, sources, strict=True):
        of_task = [run[task] for run in runs]
        seconds = median_seconds(of_task)[stage]
        rows.append(
            {
                "what": step,
                "seconds": seconds,
                "MB/s": megabytes / seconds,
                "peak MB": median([run.result["peak_mb"] for run in of_task]),
                "runs": tables.listed(run.seconds[stage] for run in of_task),
            }
        )
    return rows


if __name__ == "__main__":
    run_main(main)
