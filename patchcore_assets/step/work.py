"""One step at work: what it reads, where it writes, and what it reports.

Everything that keeps results true is here, so that no asset need think of it: a step uses one
configuration, interprets what it reads by the settings that this was made with, refuses artefacts
that do not belong together, and keeps aside what its own checks refuse.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from patchcore_assets.step.artefact_settings import SECTIONS, sections_of, settings_of
from patchcore_assets.step.checks import refusals, results
from patchcore_assets.step.lineage import (
    Ancestry,
    by_asset,
    lineage_of_category,
    lineage_over_categories,
    made_anew_since,
)
from patchcore_assets.step.networks import KeptNetworks
from patchcore_assets.step.progress import log_progress
from patchcore_assets.storage import (
    Artefact,
    ArtefactStore,
    DamagedArtefact,
    MissingArtefact,
    Staging,
    missing,
)
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.config.recorded_settings import Recorded, apply, record, write_settings
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.runtime.fingerprints import HashOf
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.stages.provenance import provenance_of_step

if TYPE_CHECKING:
    from patchcore_assets.step.checks import CheckedResult
    from patchcore_ops.checks.finding import Finding


class Work:
    """One step at work.

    Attributes
    ----------
    config : BenchmarkConfig
        The whole configuration, as it was when the run began.
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
        device: str,
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
        self._device = device
        self._read: list[Artefact] = []
        self._still_open: list[Artefact] = []
        self._ancestry = Ancestry()
        self._inherited: dict[str, Mapping[str, Any]] = {}
        self._recorded_by_settings: dict[int, Recorded] = {}
        self._started = time.monotonic()

    @property
    def category(self) -> str:
        """The category of the step's partition."""
        if self._category is None:
            raise ValueError(f"{self._asset} has no partitions")
        return self._category

    @property
    def settings(self) -> CategoryConfig:
        """The sections of the step's category.

        Those that determined what the step has read are the ones recorded there; its own, and those
        that change no result, come from the configuration.
        """
        return apply(self.config.for_category(self.category), self._inherited)

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
        MixedVersions
            If it does not belong to what was opened before.
        """
        artefact = self._stack.enter_context(self._store.open(asset, category or self._category))
        self._take_in(artefact)
        self._still_open.append(artefact)
        return artefact

    @contextmanager
    def opened(self, asset: str, category: str) -> Iterator[Artefact]:
        """Open one artefact of many, see `open`, for as long as it takes to read it."""
        with self._store.open(asset, category) as artefact:
            self._take_in(artefact)
            yield artefact

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

    def recorded_now(self, category: str) -> Recorded | None:
        """Return what artefacts of a category would record with the run's configuration.

        None where the configuration does not have the category.
        """
        settings = self.config.by_category.get(category)
        if settings is None:
            return None
        # Most categories share one object.
        if id(settings) not in self._recorded_by_settings:
            recorded = record(settings, SECTIONS, self.hash_of)
            self._recorded_by_settings[id(settings)] = recorded
        return self._recorded_by_settings[id(settings)]

    def warn(self, sentence: str) -> None:
        """Say something in the run's log."""
        self._context.log.warning(sentence)

    @property
    def store(self) -> ArtefactStore:
        """Where the artefacts are kept."""
        return self._store

    @property
    def networks(self) -> KeptNetworks:
        """Where exported networks are kept."""
        return KeptNetworks(self._store, self._context.log)

    def per_second(self, items: int) -> float:
        """Return how many items a second this step has worked off so far."""
        return round(items / max(time.monotonic() - self._started, 1e-9), 2)

    def progress(self, what: str) -> Progress:
        """Return a callback that logs how far the work is."""
        return log_progress(self._context.log, what)

    @property
    def location(self) -> str:
        """The path or URL at which users will find this step's files."""
        return self._staging.location

    def finish(
        self,
        metadata: Mapping[str, Any],
        provenance: Mapping[str, str] | None = None,
        unversioned: Collection[str] = (),
        findings: Mapping[str, Finding] | None = None,
        device: str | None = None,
    ) -> CheckedResult:
        """Keep the output folder as the artefact's new version and report it.

        Its sidecar records the run, with what it was computed (see `stages.provenance`), and the
        lineage of every artefact that was read. A version that a blocking check refuses does not
        become current: it is kept aside, and only its checks are reported.

        Parameters
        ----------
        metadata : mapping
            What is worth seeing; seconds, bytes and the location are added.
        provenance : mapping of str to str, optional
            What else the sidecar shall say about how the artefact came about.
        unversioned : collection of str
            Files that do not count in the data version, because they tell of earlier versions.
        findings : mapping of str to Finding, optional
            What the asset's checks have found, by name, in the order of the checks.
        device : str, optional
            The device that computed, if it is not the one that the step has asked for.
        """
        seconds = time.monotonic() - self._started
        recorded = {
            **self._provenance(device or self._device),
            **(provenance or {}),
            **self._lineage(),
        }
        if settings := self._recorded():
            write_settings(self.output, settings)
        for artefact in self._still_open:
            # What changed while it was read must not live on in what was made of it.
            artefact.verify()
        findings = findings or {}
        if sentences := refusals(self._context.assets_def, findings):
            return self._refused(sentences, findings, recorded)  # type: ignore[return-value]
        made_from = {artefact.place: artefact.data_version for artefact in self._read}
        artefact = self._staging.commit(recorded, unversioned, made_from)
        self._log(findings)
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
            check_results=results(findings),
        )

    def _refused(
        self, sentences: list[str], findings: Mapping[str, Finding], recorded: Mapping[str, str]
    ) -> Iterator[dg.AssetCheckResult]:
        """Keep the output folder aside, and report its checks but no materialisation."""
        place = self._staging.refuse({**recorded, "refused": " ".join(sentences)})
        self._log(findings)
        said = (
            f"{' '.join(sentences)} What was made is kept in {place}; the version before stays "
            "in use, if there is one."
        )

        def report() -> Iterator[dg.AssetCheckResult]:
            yield from results(findings)
            raise dg.Failure(description=said, allow_retries=False)

        return report()

    def _log(self, findings: Mapping[str, Finding]) -> None:
        """Say in the run's log what checks have found fault with."""
        for name, finding in findings.items():
            if not finding.passed:
                log = self._context.log.error if finding.is_error else self._context.log.warning
                log(f"{name} failed: {finding.sentence}")

    def _take_in(self, artefact: Artefact) -> None:
        """Note what was read: its versions, and the settings that it was made with."""
        self._ancestry.add(artefact)
        if artefact.category is not None and artefact.category == self._category:
            self._inherited.update(settings_of(artefact))
            if newer := made_anew_since(self._context.instance, artefact):
                self.warn(
                    f"{artefact.asset} is used as it is, but {' and '.join(newer)}, from which it "
                    f"was made, has been made again since; materialise {artefact.asset} and what "
                    "follows it to take that in"
                )
        self._read.append(artefact)

    @cached_property
    def _own(self) -> Recorded:
        """The sections that determine this step's result beyond what it reads."""
        deps = {dep.asset_key for dep in self._context.assets_def.get_asset_spec().deps}
        sections = sections_of(deps)
        if not sections or self._category is None:
            return {}
        return record(self.config.for_category(self._category), sections, self.hash_of)

    def _recorded(self) -> Recorded:
        """Return what this step's artefact records: the settings of what it read, and its own."""
        return {**self._inherited, **self._own}

    def _provenance(self, device: str) -> dict[str, str]:
        """Say which run of which code has made the artefact, when, and with what."""
        code_version = self._context.assets_def.get_asset_spec().code_version
        return {
            "run_id": self._context.run.run_id,
            "made": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "code_version": code_version or "",
            **provenance_of_step(self.runtime, device),
        }

    def _lineage(self) -> dict[str, str]:
        """Say what the artefact was made from."""
        if self._category is None:
            return lineage_over_categories(self._read)
        return lineage_of_category(self._read, self._used)
