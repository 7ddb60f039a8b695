"""The resource that every asset uses: the configuration, the artefacts, and one run's work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from patchcore_assets.progress import log_progress
from patchcore_assets.storage import Artefact, ArtefactStore, Staging, missing, open_store
from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.errors import UserError
from patchcore_ops.progress import Progress
from patchcore_ops.sections import CategoryConfig, RuntimeSection


class Benchmark(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The benchmark that a configuration file describes, and where its artefacts are kept.

    Attributes
    ----------
    config_path : str
        The YAML file. It is read anew for each step, so that a run always follows the file.
    """

    config_path: str

    def config(self) -> BenchmarkConfig:
        """Read the configuration.

        Raises
        ------
        ConfigError
            If it holds a mistake.
        """
        return load_config(self.config_path)

    @contextmanager
    def work(self, context: dg.AssetExecutionContext) -> Iterator[Work]:
        """Open the work of one step; a user's mistake becomes a failure without a traceback.

        Yields
        ------
        Work
            For the category of the step's partition, or for all where the asset has none.
        """
        with plain_failures(), ExitStack() as stack:
            config = self.config()
            asset = context.asset_key.to_user_string()
            category = context.partition_key if context.assets_def.partitions_def else None
            store = open_store(config.storage_root)
            staging = stack.enter_context(store.stage(asset, category))
            yield Work(context, config, store, staging, stack, asset, category)


class Work:
    """One step at work: what it reads, where it writes, and what it reports.

    Attributes
    ----------
    config : BenchmarkConfig
        The whole configuration.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        config: BenchmarkConfig,
        store: ArtefactStore,
        staging: Staging,
        stack: ExitStack,
        asset: str,
        category: str | None,
    ) -> None:
        self.config = config
        self._context = context
        self._store = store
        self._staging = staging
        self._stack = stack
        self._asset = asset
        self._category = category
        self._started = time.monotonic()

    @property
    def category(self) -> str:
        """The category of the step's partition."""
        if self._category is None:
            raise ValueError(f"{self._asset} has no partitions")
        return self._category

    @property
    def settings(self) -> CategoryConfig:
        """The resolved sections of the step's category."""
        return self.config.for_category(self.category)

    @property
    def runtime(self) -> RuntimeSection:
        """Device, batch size and workers."""
        return self.config.runtime

    @property
    def output(self) -> Path:
        """The local folder that receives this step's files."""
        return self._staging.folder

    def open(self, asset: str, category: str | None = None) -> Artefact:
        """Open an upstream artefact, by default of the same category; it stays while at work.

        Raises
        ------
        MissingArtefact
            If it has not been materialised.
        """
        return self._stack.enter_context(self._store.open(asset, category or self._category))

    def read(self, asset: str, category: str | None = None) -> Path:
        """Open an upstream artefact, see `open`, and return its local folder."""
        return self.open(asset, category).folder

    def require_any(self, asset: str) -> tuple[list[str], list[str]]:
        """Return the configured categories that have an artefact, and those that have none.

        Raises
        ------
        MissingArtefact
            If none has.
        """
        existing = set(self._store.categories(asset))
        present = [category for category in self.config.categories if category in existing]
        absent = [category for category in self.config.categories if category not in existing]
        if not present:
            raise missing(asset, absent[0], self._store.root)
        return present, absent

    def per_second(self, items: int) -> float:
        """Return how many items a second this step has worked off so far."""
        return round(items / max(time.monotonic() - self._started, 1e-9), 2)

    def progress(self, what: str) -> Progress:
        """Return a callback that logs how far the work is."""
        return log_progress(self._context.log, what)

    def finish(self, metadata: Mapping[str, Any]) -> dg.MaterializeResult[Any]:
        """Keep the output folder as the artefact's new version and report it.

        Parameters
        ----------
        metadata : mapping
            What is worth seeing; seconds, bytes and the location are added.
        """
        seconds = time.monotonic() - self._started
        artefact = self._staging.commit({"run_id": self._context.run.run_id})
        return dg.MaterializeResult(
            metadata={
                **metadata,
                "seconds": dg.MetadataValue.float(round(seconds, 3)),
                "bytes": dg.MetadataValue.int(artefact.bytes),
                "location": dg.MetadataValue.path(
                    self._store.location(self._asset, self._category)
                ),
            },
            data_version=dg.DataVersion(artefact.data_version),
        )


@contextmanager
def plain_failures() -> Iterator[None]:
    """Turn a user's mistake into a Dagster failure that shows its sentence and no traceback."""
    try:
        yield
    except UserError as mistake:
        # Dagster would print the chain of causes, and with it the traceback.
        raise dg.Failure(
            description=str(mistake),
            metadata={"mistake": dg.MetadataValue.text(type(mistake).__name__)},
            allow_retries=False,
        ) from None


@contextmanager
def report_plainly() -> Iterator[None]:
    """Show a user's mistake as one sentence where a code location is being loaded."""
    import click

    try:
        yield
    except UserError as mistake:
        raise click.ClickException(str(mistake)) from None
