"""Sends records to a tracker, within a time limit, whatever the tracker does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from patchcore_ops.config.sections import TrackerSection

# A server that is down is found in seconds; this ends what hangs in another way.
_SECONDS_TO_START = 120
_SECONDS_A_RESULT = 20
_BYTES_A_SECOND = 1_000_000


@dataclass(frozen=True)
class Parcel:
    """A record in its folder, and the folders of the models that are sent with it."""

    id: str
    record: Path
    results: int
    models: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What has come of it.

    `delivered` are the ids of records that the tracker has; `place` is where they can be seen, and
    `problem` says what went wrong with the others, without any credentials.
    """

    delivered: tuple[str, ...] = ()
    place: str = ""
    problem: str = ""


def send(
    tracker: TrackerSection, parcels: Sequence[Parcel], seconds: float | None = None
) -> Outcome:
    """Send records to a tracker in a process of its own, in their order.

    The section has the absolute path of the tracker's folder. After `seconds`, by default the more,
    the more there is to send, the process is ended. Nothing is raised because of a tracker.
    """
    request = {
        "tracker": tracker.model_dump(mode="json"),
        "parcels": [
            {
                "id": parcel.id,
                "record": str(parcel.record),
                "models": {category: str(folder) for category, folder in parcel.models.items()},
            }
            for parcel in parcels
        ],
    }
    limit = _limit(parcels) if seconds is None else seconds
    output, ended = _ask(json.dumps(request), limit)
    # The last line of a process that was ended may be cut.
    answers = [json.loads(line) for line in output.splitlines(keepends=True) if line[-1] == "\n"]
    delivered = tuple(answer["delivered"] for answer in answers if "delivered" in answer)
    problems = [answer["problem"] for answer in answers if "problem" in answer]
    if not problems and len(delivered) < len(parcels):
        problems = [ended]
    return Outcome(
        delivered,
        next((answer["place"] for answer in answers if "place" in answer), ""),
        "; ".join(dict.fromkeys(problems)),
    )


def _ask(request: str, seconds: float) -> tuple[str, str]:
    """Return what the process has answered, and how it ended if it did not answer for all."""
    process = subprocess.Popen(
        [sys.executable, "-m", "patchcore_ops.tracking"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # What packages print may hold credentials.
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": _python_path()},
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(request, timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        output, _ = process.communicate()
        return output, f"the tracker took longer than {seconds:.0f} seconds"
    except BaseException:
        _end(process)
        raise
    return output, f"the process that sends ended with code {process.returncode}"


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _python_path() -> str:
    """Let the process find this package wherever this one has."""
    here = str(Path(__file__).parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def _limit(parcels: Sequence[Parcel]) -> float:
    size = sum(
        file.stat().st_size
        for parcel in parcels
        for folder in parcel.models.values()
        for file in folder.rglob("*")
        if file.is_file()
    )
    results = sum(parcel.results for parcel in parcels)
    return _SECONDS_TO_START + results * _SECONDS_A_RESULT + size / _BYTES_A_SECOND
