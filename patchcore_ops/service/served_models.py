"""The models being served: loaded in the background, and anew when their folder has changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.model import Model
from patchcore_ops.model.folder import MODEL
from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.runtime.processors import available_processors

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0

# Where a folder really is, and its model.json: inode, time of change, size.
_State = tuple[Path, int, int, int]
OnLoad = Callable[[str, Model | None], None]


@dataclass
class _Failure:
    """A state that could not be loaded: said once, tried again ever more rarely."""

    state: _State
    reason: str
    pause: float
    again_at: float


class ServedModels:
    """Models by category. One thread calls `refresh`, any thread the rest.

    `root` is a folder of models, or one model's folder. `most_pixels` bounds an image besides each
    model's own limit. `on_load` is called with a category and its new model, or None where that
    could not be loaded. Raises EnvironmentProblem if the folder holds no model or cannot be read.
    """

    def __init__(self, root: Path, most_pixels: int, on_load: OnLoad) -> None:
        self._root = root
        self._most_pixels = most_pixels
        self._on_load = on_load
        self._runtime = _runtime()
        self._models: dict[str, Model] = {}
        self._states: dict[str, _State] = {}
        self._failures: dict[str, _Failure] = {}
        try:
            self._awaited = set(self._folders())
        except OSError as error:
            raise EnvironmentProblem(
                f"{error.filename or root}: cannot be read ({error.strerror or error}); let the "
                "user who runs this read it"
            ) from None
        if not self._awaited:
            raise EnvironmentProblem(
                f"{root}: holds no model; name a folder such as storage/model or "
                "storage/model/bottle"
            )

    @property
    def categories(self) -> list[str]:
        """The categories that have a model, sorted."""
        return sorted(self._models)

    @property
    def awaited(self) -> set[str]:
        """The categories that were there at the start and have no model yet."""
        return self._awaited - self._models.keys()

    @property
    def ready(self) -> bool:
        """Whether every model that was there at the start has been loaded."""
        return not self.awaited

    def get(self, category: str) -> Model | None:
        """Return the model of a category as it is now."""
        return self._models.get(category)

    def refresh(self) -> None:
        """Load what is new or has changed; a model that cannot be loaded replaces nothing."""
        folders = self._folders()
        self._awaited.intersection_update({*folders, *self._models})
        for category, folder in folders.items():
            try:
                # All of a version, even if another becomes the current one meanwhile.
                place = folder.resolve()
                status = (place / MODEL).stat()
            except OSError:
                continue  # Being replaced at this moment, or gone: what is loaded stays.
            state = (place, status.st_ino, status.st_mtime_ns, status.st_size)
            if self._states.get(category) != state and self._is_due(category, state):
                self._load(category, state)

    def keep_fresh(self, stopped: threading.Event, seconds: float) -> None:
        """Call `refresh` now and then, until stopped."""
        while True:
            try:
                self.refresh()
            except Exception:  # The thread must outlive whatever a folder holds.
                _LOG.exception("%s: could not be looked at", self._root)
            if stopped.wait(seconds):
                return

    def _folders(self) -> dict[str, Path]:
        if (self._root / MODEL).is_file():
            return {self._root.absolute().name: self._root}
        return {
            file.parent.name: file.parent
            for file in sorted(self._root.glob(f"*/{MODEL}"))
            if not file.parent.name.startswith(".")
        }

    def _is_due(self, category: str, state: _State) -> bool:
        failure = self._failures.get(category)
        return failure is None or failure.state != state or time.monotonic() >= failure.again_at

    def _load(self, category: str, state: _State) -> None:
        started = time.monotonic()
        try:
            model = Model.load(state[0], self._runtime)
        except Exception as error:  # Whatever the readers of damaged files raise.
            self._failed(category, state, str(error) or type(error).__name__)
            return
        self._bound_pixels(model)
        # One assignment: a request has the model before or this one.
        self._models[category] = model
        self._states[category] = state
        self._failures.pop(category, None)
        self._on_load(category, model)
        version, seconds = model.description.sha256[:12], time.monotonic() - started
        _LOG.info("%s: serving version %s, loaded in %.1f s", category, version, seconds)

    def _failed(self, category: str, state: _State, reason: str) -> None:
        before = self._failures.get(category)
        pause = _FIRST_PAUSE
        if before is not None and before.state == state:
            pause = min(2 * before.pause, _LONGEST_PAUSE)
        again_at = time.monotonic() + pause
        self._failures[category] = _Failure(state, reason, pause, again_at)
        if before is None or (before.state, before.reason) != (state, reason):
            self._on_load(category, None)
            stays = "; the version before stays" if category in self._models else ""
            _LOG.error("%s: cannot be loaded%s: %s", category, stays, reason)

    def _bound_pixels(self, model: Model) -> None:
        preprocessing = model.description.preprocessing
        most = min(preprocessing.max_pixels, self._most_pixels)
        bounded = preprocessing.model_copy(update={"max_pixels": most})
        model.description = model.description.model_copy(update={"preprocessing": bounded})


def _runtime() -> RuntimeSection:
    processors = available_processors()
    return RuntimeSection(num_workers=min(processors, 16), faiss_num_workers=processors)
