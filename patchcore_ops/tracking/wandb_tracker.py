"""W&B: a run for each category and one for the mean, in one group; offline, folders to sync."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from patchcore_ops.config.sections import TrackerSection
from patchcore_ops.config.trackers import WANDB_URI
from patchcore_ops.metrics.category import MEAN
from patchcore_ops.tracking.record import CategoryResult, Record
from patchcore_ops.tracking.tracker import TrackerDown, moment, require_answer

if TYPE_CHECKING:
    import wandb

_DEFAULT_SERVER = "https://api.wandb.ai"
_SECONDS = 10.0
# Until a run with its model is on the server.
_FINISH_SECONDS = 600.0
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


class WandbTracker:
    """Sends to a server, or writes folders for `wandb sync`; see `Tracker`."""

    def __init__(self, section: TrackerSection) -> None:
        self._section = section
        self._folder: Path | None = None
        # Errors of W&B's own are none of a benchmark's business.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        if section.online:
            server = section.uri or os.environ.get(WANDB_URI, _DEFAULT_SERVER)
            os.environ[WANDB_URI] = server
            require_answer(server)
        else:
            self._folder = Path(section.folder or "")
            self._folder.mkdir(parents=True, exist_ok=True)
            # Copies of models wait here for `wandb sync`.
            os.environ["WANDB_DATA_DIR"] = str(self._folder)
        import wandb

        self._wandb = wandb

    def deliver(self, record: Record, models: Mapping[str, Path]) -> str:
        """Send a record; see `Tracker.deliver`."""
        with TemporaryDirectory() as scratch:
            folder = self._folder or Path(scratch)
            try:
                for result in (*record.results[1:], record.results[0]):
                    place = self._send(folder, record, result, models.get(result.category))
            except (self._wandb.errors.CommError, TimeoutError) as error:
                raise TrackerDown(f"the server does not answer ({error})") from None
        return place if self._folder is None else str(self._folder / "wandb")

    def _send(
        self, folder: Path, record: Record, result: CategoryResult, model: Path | None
    ) -> str:
        run_id = _run_id(record, result)
        for interrupted in (folder / "wandb").glob(f"offline-run-*-{run_id}"):
            shutil.rmtree(interrupted)
        run = self._wandb.init(
            id=run_id,
            resume="allow" if self._section.online else None,
            project=self._section.project,
            group=self._section.group or record.group,
            job_type="mean" if result.category == MEAN else "category",
            name=f"{result.category} {record.made[:16]}",
            config={
                **nested(result.settings),
                "versions": dict(result.versions),
                "category": result.category,
                "wave": record.wave,
                "made": record.made,
                "record": record.id,
            },
            settings=self._settings(folder, record),
        )
        pictures = {
            f"pictures/{picture.stem}": self._wandb.Image(str(picture))
            for picture in record.pictures(result.category)
        }
        run.log({**result.metrics, **pictures, "_timestamp": moment(record).timestamp()})
        if model is not None:
            artefact = self._wandb.Artifact(
                artefact_name(result.category), type="model", metadata={"version": result.model}
            )
            artefact.add_dir(str(model))
            run.log_artifact(artefact)
        place = run.url or ""
        run.finish()
        return str(place)

    def _settings(self, folder: Path, record: Record) -> wandb.Settings:
        """Send what is in the record, and nothing of this process or its folder."""
        options: dict[str, Any] = {
            "mode": "online" if self._section.online else "offline",
            "root_dir": str(folder),
            "console": "off",
            "silent": True,
            "save_code": False,
            "disable_git": True,
            "x_disable_stats": True,
            "x_disable_meta": True,
            "x_disable_machine_info": True,
            "x_save_requirements": False,
            "init_timeout": _SECONDS,
            "login_timeout": _SECONDS,
            "finish_timeout": _FINISH_SECONDS,
            "finish_timeout_raises": True,
        }
        return self._wandb.Settings(**options)


def artefact_name(category: str) -> str:
    """Name the model of a category; letters that W&B refuses are replaced, and a hash added.

    Examples
    --------
    >>> artefact_name("metal_nut"), artefact_name("Gehäuse")
    ('model-metal_nut', 'model-Geh_use-066ffcc8')
    """
    allowed = _NOT_IN_NAMES.sub("_", category)
    if allowed != category:
        # Two names may have the same letters left.
        allowed = f"{allowed}-{hashlib.sha256(category.encode()).hexdigest()[:8]}"
    return f"model-{allowed}"


def nested(settings: Mapping[str, str]) -> dict[str, Any]:
    """Turn dotted keys into mappings, and texts that are numbers into numbers.

    Examples
    --------
    >>> nested({"coreset.percentage": "0.1", "coreset.sampler": "random"})
    {'coreset': {'percentage': 0.1, 'sampler': 'random'}}
    """
    content: dict[str, Any] = {}
    for key, text in settings.items():
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = _number_or_text(text)
    return content


def _number_or_text(text: str) -> float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _run_id(record: Record, result: CategoryResult) -> str:
    """Name a run, so that sending it again makes no second one."""
    return hashlib.sha256(f"{record.id}\0{result.category}".encode()).hexdigest()[:16]
