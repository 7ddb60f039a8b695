"""The process that sends records to one tracker; `sending.py` starts it and reads its answers.

A process of its own, so that a tracker's package neither keeps settings, threads and connections
in a benchmark's process, nor can hold it up or end it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from patchcore_ops.config.sections import TrackerSection
from patchcore_ops.tracking.record import read_record
from patchcore_ops.tracking.redaction import without_secrets
from patchcore_ops.tracking.tracker import Tracker, TrackerDown


def main() -> None:
    """Read a request from standard input; write one line for each record to standard output."""
    request = json.load(sys.stdin)
    with _own_output() as answers:
        for answer in _answers(request):
            print(json.dumps(answer), file=answers, flush=True)


def _own_output() -> TextIO:
    """Keep standard output for the answers; what packages print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answers(request: dict[str, Any]) -> Any:
    section = TrackerSection.model_validate(request["tracker"])
    tracker: Tracker | None = None
    for parcel in request["parcels"]:
        try:
            tracker = tracker or _open(section)
            models = {category: Path(folder) for category, folder in parcel["models"].items()}
            place = tracker.deliver(read_record(Path(parcel["record"])), models)
        except TrackerDown as down:
            yield {"problem": without_secrets(str(down))}
            return
        except ModuleNotFoundError as error:
            if error.name != section.kind:
                raise
            yield {
                "problem": f"the package {error.name} is not installed; run: "
                f'pip install "patchcore-assets[{section.kind}]"'
            }
            return
        except Exception as error:
            # One record that a tracker refuses must not hold up those after it.
            yield {"problem": without_secrets(f"{type(error).__name__}: {error}")}
            if tracker is None:
                return
        else:
            yield {"delivered": parcel["id"], "place": without_secrets(place)}


def _open(section: TrackerSection) -> Tracker:
    """Open a tracker; only now its package is imported."""
    if section.kind == "mlflow":
        from patchcore_ops.tracking.mlflow_tracker import MlflowTracker

        return MlflowTracker(section)
    if section.kind == "wandb":
        from patchcore_ops.tracking.wandb_tracker import WandbTracker

        return WandbTracker(section)
    from patchcore_ops.tracking.tensorboard_tracker import TensorBoardTracker

    return TensorBoardTracker(section)


if __name__ == "__main__":
    main()
