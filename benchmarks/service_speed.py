r"""How quick the service is, and what memory it takes: `patchcore serve` and its clients.

    python -m benchmarks.service_speed --models storage/model/bottle other/model/bottle \
        --images data/mvtec/bottle/test/good/*.png

Each model is served by a process of its own: its start to the first answer, one client, many
clients for a while, and a burst of a thousand at once.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.measuring import REPOSITORY, median, positive, run_main, say

_WARMING = 10
_RETRY_SECONDS = 0.05


def main() -> None:
    """Measure and write."""
    options = _options()
    images = [image.read_bytes() for image in options.images]
    rows = [_row(options, model, images) for model in options.models]
    notes = [
        f"{len(images)} images, {sum(map(len, images)) / len(images) / 1e6:.1f} MB each on "
        "average. Clients run on the same machine and take their share of it.",
        f"Start: from `patchcore serve` to the first score, median of {options.starts}. Memory: "
        "resident, of the process that serves.",
        f"Many: {options.clients} clients for {options.seconds:g} s, each with one request at a "
        "time. Memory flat: the median of the last third of that time against the first.",
        f"Burst: {options.burst} clients at the same moment; a 503 asks to come again.",
    ]
    table = tables.Table("The service's speed", rows, notes)
    tables.write(options, "service_speed", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="models' folders")
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--requests", type=positive, default=100, help="of one client [%(default)s]"
    )
    parser.add_argument("--starts", type=positive, default=3, help="[%(default)s]")
    parser.add_argument("--clients", type=positive, default=16, help="[%(default)s]")
    parser.add_argument("--seconds", type=float, default=60, help="of many clients [%(default)g]")
    parser.add_argument("--burst", type=int, default=1000, help="clients at once [%(default)s]")
    return parser.parse_args()


def _row(options: argparse.Namespace, model: Path, images: Sequence[bytes]) -> dict[str, Any]:
    starts = []
    for number in range(options.starts):
        say(f"{model}: start {number + 1}/{options.starts}")
        with _served(model) as (port, started, _):
            _predict_until_answered(port, model.name, images[0])
            starts.append(time.perf_counter() - started)
    with _served(model) as (port, _, process):
        _predict_until_answered(port, model.name, images[0])
        say(f"{model}: one client")
        _client(port, model.name, images, _WARMING)
        alone = _client(port, model.name, images, options.requests)
        of_one = _resident_mb(process)
        say(f"{model}: {options.clients} clients")
        many, seconds, resident = _many_clients(options, port, model.name, images, process)
        say(f"{model}: {options.burst} clients at once")
        burst = _burst(port, model.name, images[0], options.burst)
        after = _client(port, model.name, images, 1)
    third = max(len(resident) // 3, 1)
    return {
        "model": str(Path(*model.parts[-3:])),
        "s, start": median(starts),
        "ms, one client": 1000 * median(alone),
        "ms, its p95": 1000 * _quantile(alone, 0.95),
        "MB, after it": of_one,
        "images/s, many": len(many) / seconds,
        "ms, many": 1000 * median(many),
        "ms, their p99": 1000 * _quantile(many, 0.99),
        "MB, many, at most": max(resident),
        "MB gained": median(resident[-third:]) - median(resident[:third]),
        "burst": ", ".join(f"{count} x {status}" for status, count in sorted(burst.items())),
        "ms, after the burst": 1000 * after[0],
        "runs": tables.listed(alone),
    }


@contextmanager
def _served(model: Path) -> Iterator[tuple[int, float, subprocess.Popen[str]]]:
    """Serve a model; give the port, the time of the start and the process."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "patchcore_assets.commands.main", "serve"]
    process = subprocess.Popen(
        [*command, "--models", str(model.absolute()), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip().rstrip("/")
        if not url:
            raise SystemExit(f"{model}: cannot be served")
        yield int(url.rpartition(":")[2]), started, process
    finally:
        process.terminate()
        if process.wait() != 0:
            raise SystemExit(f"the service ended with {process.returncode}")


def _predict_until_answered(port: int, category: str, image: bytes) -> None:
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", f"/v1/models/{category}/predict", image)
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        time.sleep(_RETRY_SECONDS)


def _client(port: int, category: str, images: Sequence[bytes], requests: int) -> list[float]:
    """Ask one request after the other; return the seconds of each."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    seconds = []
    for number in range(requests):
        started = time.perf_counter()
        connection.request("POST", f"/v1/models/{category}/predict", images[number % len(images)])
        response = connection.getresponse()
        said = response.read()
        seconds.append(time.perf_counter() - started)
        if response.status != 200:
            raise SystemExit(f"{response.status}: {said.decode()}")
    connection.close()
    return seconds


def _many_clients(
    options: argparse.Namespace,
    port: int,
    category: str,
    images: Sequence[bytes],
    process: subprocess.Popen[str],
) -> tuple[list[float], float, list[float]]:
    """Return the seconds of every request, the seconds of all, and the memory now and then."""
    found: list[float] = []
    failures: list[BaseException] = []
    until = time.perf_counter() + options.seconds

    def ask(first: int) -> None:
        turned = [*images[first:], *images[:first]]
        try:
            while time.perf_counter() < until:
                found.extend(_client(port, category, turned, 4))
        except (SystemExit, OSError) as failure:
            failures.append(failure)

    clients = [
        threading.Thread(target=ask, args=(number % len(images),))
        for number in range(options.clients)
    ]
    started = time.perf_counter()
    for client in clients:
        client.start()
    resident = []
    while any(client.is_alive() for client in clients):
        time.sleep(0.5)
        resident.append(_resident_mb(process))
    seconds = time.perf_counter() - started
    if failures:
        raise SystemExit(f"{len(failures)} clients failed, the first by: {failures[0]}")
    return found, seconds, resident


def _burst(port: int, category: str, image: bytes, clients: int) -> Counter[str]:
    """Send many requests at the same moment; return how often each status came."""
    head = f"POST /v1/models/{category}/predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    request = f"{head}Content-Length: {len(image)}\r\n\r\n".encode() + image
    statuses: Counter[str] = Counter()
    together = threading.Barrier(clients)

    def ask() -> None:
        try:
            together.wait()
            with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
                connection.sendall(request)
                answer = connection.makefile("rb").readline().split()
            statuses[answer[1].decode() if answer else "closed"] += 1
        except OSError as failure:
            statuses[type(failure).__name__] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def _resident_mb(process: subprocess.Popen[str]) -> float:
    pages = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096 / 1e6


def _quantile(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


def _draw(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    series = {
        name: [row[f"ms, {name}"] for row in rows]
        for name in ("one client", "its p95", "many", "their p99")
    }
    tables.draw_bars(axes, [row["model"] for row in rows], series, "milliseconds")


if __name__ == "__main__":
    run_main(main)
