"""MLflow: an experiment for the project, a run for the mean, and below it one for each category."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchcore_ops.config.addresses import without_credentials
from patchcore_ops.config.sections import TrackerSection
from patchcore_ops.config.trackers import MLFLOW_URI
from patchcore_ops.tracking.record import CategoryResult, Record
from patchcore_ops.tracking.tracker import TrackerDown, moment, require_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlflow.entities import Run

RECORD_TAG = "patchcore.record"
CATEGORY_TAG = "patchcore.category"
WAVE_TAG = "patchcore.wave"
GROUP_TAG = "patchcore.group"
MODEL = "model"
_PARENT = "mlflow.parentRunId"
_AT_ONCE = 100  # MLflow's limit for one request.
_LONGEST_PARAMETER = 6000
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
# A server answers only when it has put a model's file where it keeps files.
_SECONDS_FOR_A_FILE = "300"
# Where the environment says nothing else: MLflow's own would try for minutes.
_ENVIRONMENT = {
    _TIMEOUT: "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class MlflowTracker:
    """Sends to a server, or to a database in a folder; see `Tracker`."""

    def __init__(self, section: TrackerSection) -> None:
        self._section = section
        if section.online:
            self._uri = section.uri or os.environ[MLFLOW_URI]
            if self._uri.startswith("http"):
                require_answer(f"{self._uri.rstrip('/')}/health")
        else:
            self._folder = Path(section.folder or "")
            self._folder.mkdir(parents=True, exist_ok=True)
            self._uri = f"sqlite:///{self._folder / 'mlflow.db'}"
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow

        # Its functions for models know no other way to name the server.
        mlflow.set_tracking_uri(self._uri)
        self._client = mlflow.MlflowClient(self._uri)

    def deliver(self, record: Record, models: Mapping[str, Path]) -> str:
        """Send a record; see `Tracker.deliver`."""
        with _failures_told_apart():
            experiment = self._experiment()
            mean, *categories = record.results
            parent = self._run_of(experiment, record, mean, None)
            for one in categories:
                run = self._run_of(experiment, record, one, parent.info.run_id)
                self._complete(run, record, one, models.get(one.category))
            self._complete(parent, record, mean, None)
        if not self._section.online:
            return str(self._folder)
        return f"{without_credentials(self._uri).rstrip('/')}/#/experiments/{experiment}"

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._section.project)
        if found is None:
            place = None if self._section.online else (self._folder / "artifacts").as_uri()
            return str(self._client.create_experiment(self._section.project, place))
        if found.lifecycle_stage != "active":
            raise ValueError(
                f"the experiment '{self._section.project}' has been deleted; restore it, or name "
                "another project"
            )
        return str(found.experiment_id)

    def _run_of(
        self, experiment: str, record: Record, result: CategoryResult, parent: str | None
    ) -> Run:
        """Return the run of a result: the one that an earlier attempt has made, or a new one."""
        tags = {RECORD_TAG: record.id, CATEGORY_TAG: result.category}
        wanted = " and ".join(f"tags.`{name}` = '{_quoted(value)}'" for name, value in tags.items())
        found = self._client.search_runs([experiment], wanted, max_results=1)
        if found:
            return found[0]
        group = self._section.group or record.group
        return self._client.create_run(
            experiment,
            start_time=_milliseconds(record),
            run_name=group if parent is None else f"{group} {result.category}",
            tags={
                **tags,
                WAVE_TAG: record.wave,
                GROUP_TAG: group,
                "patchcore.made": record.made,
                **({} if parent is None else {_PARENT: parent}),
            },
        )

    def _complete(
        self, run: Run, record: Record, result: CategoryResult, model: Path | None
    ) -> None:
        """Log what belongs to a run and end it, unless that has been done."""
        if run.info.status == "FINISHED":
            return
        self._log(run.info.run_id, record, result)
        for picture in record.pictures(result.category):
            self._client.log_artifact(run.info.run_id, str(picture), "pictures")
        has_model = run.outputs is not None and run.outputs.model_outputs
        if model is not None and not has_model:
            self._log_model(run.info.run_id, model)
        self._client.set_terminated(run.info.run_id, "FINISHED", _milliseconds(record))

    def _log(self, run_id: str, record: Record, result: CategoryResult) -> None:
        from mlflow.entities import Metric, Param, RunTag

        at = _milliseconds(record)
        for metrics in _in_pieces(by_key(result.metrics)):
            self._client.log_batch(
                run_id, metrics=[Metric(key, value, at, 0) for key, value in metrics]
            )
        for settings in _in_pieces(result.settings):
            self._client.log_batch(
                run_id,
                params=[Param(_key(name), value[:_LONGEST_PARAMETER]) for name, value in settings],
            )
        for versions in _in_pieces(result.versions):
            self._client.log_batch(
                run_id, tags=[RunTag(f"version.{_key(name)}", text) for name, text in versions]
            )

    def _log_model(self, run_id: str, model: Path) -> None:
        """Log the model's folder with the code that scores images: files, nothing is pickled."""
        import mlflow

        with _patience(), mlflow.start_run(run_id=run_id, log_system_metrics=False):
            mlflow.pyfunc.log_model(
                name=MODEL,
                python_model=str(Path(__file__).with_name("mlflow_model.py")),
                artifacts={MODEL: str(model)},
                pip_requirements=[
                    f"{package}=={version(package)}" for package in ("patchcore-assets", "mlflow")
                ],
            )


@contextmanager
def _patience() -> Iterator[None]:
    """Give a server time for large files, unless the user has said how much."""
    before = os.environ[_TIMEOUT]
    if before == _ENVIRONMENT[_TIMEOUT]:
        os.environ[_TIMEOUT] = _SECONDS_FOR_A_FILE
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = before


@contextmanager
def _failures_told_apart() -> Iterator[None]:
    """Turn what MLflow raises where a server is gone into TrackerDown."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import Timeout

    try:
        yield
    except (NoConnection, Timeout) as error:
        raise TrackerDown(f"the server does not answer ({type(error).__name__})") from None
    except MlflowException as error:
        text = str(error)
        if any(isinstance(one, NoConnection | Timeout) for one in _chain(error)) or (
            "API request to" in text and "failed with exception" in text
        ):
            raise TrackerDown("the server does not answer any more") from None
        raise


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _in_pieces(values: Mapping[str, Any]) -> Iterator[list[tuple[str, Any]]]:
    items: Iterable[tuple[str, Any]] = iter(values.items())
    while piece := list(islice(items, _AT_ONCE)):
        yield piece


def _key(name: str) -> str:
    """Replace what MLflow does not allow in names."""
    return "".join(one if one.isalnum() or one in "_-./ " else "_" for one in name)


def by_key(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics by names that MLflow allows and that differ, as it asks.

    Examples
    --------
    >>> by_key({"defects/bent+cut/aupro": 0.5, "defects/bent_cut/aupro": 0.6})
    {'defects/bent_cut/aupro': 0.5, 'defects/bent_cut/aupro_': 0.6}
    """
    found: dict[str, float] = {}
    for name, value in metrics.items():
        key = _key(name)
        while key in found:
            key += "_"
        found[key] = value
    return found


def _quoted(value: str) -> str:
    return value.replace("'", "_")


def _milliseconds(record: Record) -> int:
    return round(moment(record).timestamp() * 1000)
