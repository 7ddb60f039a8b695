"""The resource that every asset uses: the configuration, the artefacts, and one run's work."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import PrivateAttr

from patchcore_assets.checks import results
from patchcore_assets.failures import (
    memory_limits_named,
    plain_failures,
    transient_errors_retried,
)
from patchcore_assets.lineage import by_asset, lineage_of_category, lineage_over_categories
from patchcore_assets.one_category import category_of_step
from patchcore_assets.pools import device_of, device_tag
from patchcore_assets.progress import log_progress
from patchcore_assets.recording import file_hashes, record_inputs
from patchcore_assets.storage import (
    Artefact,
    ArtefactStore,
    DamagedArtefact,
    HashedFiles,
    MissingArtefact,
    Staging,
    missing,
    open_store,
)
from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.fingerprints import HashOf, file_hash
from patchcore_ops.process import return_freed_memory
from patchcore_ops.progress import Progress
from patchcore_ops.provenance import provenance_of_step
from patchcore_ops.sections import CategoryConfig, RuntimeSection

if TYPE_CHECKING:
    from patchcore_ops.checks.finding import Finding


class Benchmark(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The benchmark that a configuration file describes, and where its artefacts are kept.

    Attributes
    ----------
    config_path : str
        The YAML file. It is read anew for each step, so that a run always follows the file.
    """

    config_path: str
    # Dagster makes one resource per run: what a step has written is not hashed by the next.
    _hashes: HashedFiles = PrivateAttr(default_factory=HashedFiles)

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

        The inputs on which the step depends become known with the versions that it uses, whether
        or not anything has observed them. The run is tagged with the device that it computes on. A
        transient error of the storage starts the step again.

        Yields
        ------
        Work
            For the category of the step's partition, or for all where the asset has none.
        """
        with plain_failures(), transient_errors_retried(context), ExitStack() as stack:
            config = self.config()
            asset = context.asset_key.to_user_string()
            category = category_of_step(context, config)
            if tag := device_tag(asset, config.runtime):
                context.instance.add_run_tags(context.run.run_id, tag)
            hash_of: HashOf = file_hash
            used: Mapping[str, str] = {}
            if category is not None:
                hash_of = stack.enter_context(file_hashes(context.instance, config, category))
                used = record_inputs(
                    context.instance,
                    config,
                    category,
                    {dep.asset_key for dep in context.assets_def.get_asset_spec().deps},
                    hash_of,
                    f"run {context.run.run_id}",
                )
            stack.enter_context(memory_limits_named(asset))
            store = open_store(
                config.storage_root, self._hashes, config.storage_cache, config.storage_cache_bytes
            )
            staging = stack.enter_context(store.stage(asset, category))
            stack.callback(return_freed_memory)
            yield Work(context, config, store, staging, stack, asset, category, hash_of, used)


class Work:
    """One step at work: what it reads, where it writes, and what it reports.

    Attributes
    ----------
    config : BenchmarkConfig
        The whole configuration.
    hash_of : callable
        Gives a file's SHA-256: for every file the one that went into the recorded versions.
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
        hash_of: HashOf,
        used: Mapping[str, str],
    ) -> None:
        self.config = config
        self.hash_of = hash_of
        self._context = context
        self._store = store
        self._staging = staging
        self._stack = stack
        self._asset = asset
        self._category = category
        self._used = used
        self._read: list[Artefact] = []
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
        DamagedArtefact
            If its files are not those that were written.
        """
        artefact = self._stack.enter_context(self._store.open(asset, category or self._category))
        self._read.append(artefact)
        return artefact

    def read(self, asset: str, category: str | None = None) -> Path:
        """Open an upstream artefact, see `open`, and return its local folder."""
        return self.open(asset, category).folder

    def earlier(self) -> Path | None:
        """Open the version of this step's own artefact that it is about to replace, if any.

        A damaged one counts as none: it is about to be replaced.
        """
        try:
            own = self._store.open(self._asset, self._category)
            return self._stack.enter_context(own).folder
        except MissingArtefact:
            return None
        except DamagedArtefact as damage:
            self._context.log.warning(f"the version before is not taken into account: {damage}")
            return None

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

    @property
    def store(self) -> ArtefactStore:
        """Where the artefacts are kept."""
        return self._store

    def per_second(self, items: int) -> float:
        """Return how many items a second this step has worked off so far."""
        return round(items / max(time.monotonic() - self._started, 1e-9), 2)

    def progress(self, what: str) -> Progress:
        """Return a callback that logs how far the work is."""
        return log_progress(self._context.log, what)

    @property
    def location(self) -> str:
        """The path or URL at which users will find this step's files."""
        return self._store.location(self._asset, self._category)

    def finish(
        self,
        metadata: Mapping[str, Any],
        provenance: Mapping[str, str] | None = None,
        unversioned: Collection[str] = (),
        findings: Mapping[str, Finding] | None = None,
    ) -> dg.MaterializeResult[Any]:
        """Keep the output folder as the artefact's new version and report it.

        Its sidecar records the run, with what it was computed (see
        `patchcore_ops.provenance.provenance_of_step`), and the lineage of every artefact that was
        read. None of that counts in the data version.

        Parameters
        ----------
        metadata : mapping
            What is worth seeing; seconds, bytes and the location are added.
        provenance : mapping of str to str, optional
            What else the sidecar shall say about how the artefact came about.
        unversioned : collection of str
            Files that do not count in the data version, because they tell of earlier versions.
        findings : mapping of str to Finding, optional
            What the asset's checks have found, by name.
        """
        seconds = time.monotonic() - self._started
        recorded = {**self._provenance(), **(provenance or {}), **self._lineage()}
        for artefact in self._read:
            # What changed while it was read must not live on in what was made of it.
            artefact.verify()
        artefact = self._staging.commit(recorded, unversioned)
        return dg.MaterializeResult(
            metadata={
                **metadata,
                "seconds": dg.MetadataValue.float(round(seconds, 3)),
                "bytes": dg.MetadataValue.int(artefact.bytes),
                "location": dg.MetadataValue.path(self.location),
                "provenance": dg.MetadataValue.json(by_asset(recorded)),
            },
            data_version=dg.DataVersion(artefact.data_version),
            tags=self._used,
            check_results=self._checked(findings or {}),
        )

    def _checked(self, findings: Mapping[str, Finding]) -> list[dg.AssetCheckResult]:
        """Turn findings into check results; what failed is said in the log too."""
        for name, finding in findings.items():
            if not finding.passed:
                log = self._context.log.error if finding.is_error else self._context.log.warning
                log(f"{name} failed: {finding.sentence}")
        return results(self._asset, findings)

    def _provenance(self) -> dict[str, str]:
        """Say which run of which code has made the artefact, and with what."""
        code_version = self._context.assets_def.get_asset_spec().code_version
        return {
            "run_id": self._context.run.run_id,
            "code_version": code_version or "",
            **provenance_of_step(self.runtime, device_of(self._asset, self.runtime)),
        }

    def _lineage(self) -> dict[str, str]:
        """Say what the artefact was made from."""
        if self._category is None:
            return lineage_over_categories(self._read)
        return lineage_of_category(self._read, self._used)
