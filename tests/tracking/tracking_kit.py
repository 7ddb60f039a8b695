"""What the tests of trackers share: a record, and MLflow's own server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from PIL import Image

from patchcore_ops.tracking import CategoryResult, Parcel, Record, read_record, write_record

CATEGORIES = ("Mean", "bottle", "metal nut")


def make_record(folder: Path, number: int = 0) -> Record:
    """Write a record of two categories and their mean, made in the minute `number`."""
    folder.mkdir(parents=True)
    record = Record(
        id=f"record{number}",
        wave=f"wave {number}",
        made=f"2026-11-28T20:{number:02}:00.250+00:00",
        group="IM64_A_L1_P01_D8-8_PS-3_AN-1_S0",
        results=tuple(
            CategoryResult(
                category,
                {"aupro": 0.25 + place / 8, "seconds/memory_bank": 1.5, "bank_rows": 51.0},
                {"coreset.percentage": "0.1", "embedding.members.0.layers": "[layer2, layer3]"},
                {"torch": "2.9.0", "memory_bank.data_version": "0123456789abcdef"},
            )
            for place, category in enumerate(CATEGORIES)
        ),
    )
    write_record(record, folder)
    for category in CATEGORIES[1:]:
        place = folder / "pictures" / category
        place.mkdir(parents=True)
        pixels = np.full((20, 30, 3), 40 * len(category) % 256, dtype=np.uint8)
        Image.fromarray(pixels).save(place / "most_wrong.jpg")
    return read_record(folder)


def parcel(record: Record, **models: Path) -> Parcel:
    assert record.folder is not None
    return Parcel(record.id, record.folder, len(record.results), models)


class MlflowServer:
    """`mlflow server` on the loopback interface, with SQLite; it can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *("--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(self.folder / "artifacts")),
            ],
            env={
                **os.environ,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, "the server has ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it at once, with what it has started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            urlopen(f"http://{self.address}/health", timeout=5).close()
        except (URLError, OSError):
            return False
        return True
