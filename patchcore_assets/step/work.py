"""One step at work: what it reads, where it writes, and what it reports.

This is where every step uses one configuration, interprets what it reads by the recorded settings,
refuses artefacts that do not belong together, and keeps aside what its own checks refuse.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from patchcore_assets.partitions import Partition
from patchcore_assets.step.artefact_settings import SECTIONS, sections_of, settings_of
from patchcore_assets.step.checks import log_findings, refusals, results
from patchcore_assets.step.earlier import Suits, is_alike, is_same, open_earlier
from patchcore_assets.step.lineage import Ancestry, by_asset, lineage_of, made_anew_since
from patchcore_assets.step.networks import KeptNetworks
from patchcore_assets.step.presentation import place
from patchcore_assets.step.progress import log_progress
from patchcore_assets.step.ray_shards import is_on_cluster
from patchcore_assets.step.shards import MakeShard, ShardRead, Shards
from patchcore_assets.storage import Artefact, ArtefactStore, Staging, missing, store_of
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.config.recorded_settings import (
    SETTINGS,
    Recorded,
    apply,
    record,
    write_settings,
)
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.runtime.fingerprints import HashOf
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.stages.provenance import package_versions, provenance_of_step

if TYPE_CHECKING:
    from patchcore_assets.step.checks import CheckedResult
    from patchcore_ops.checks.finding import Finding


@dataclass(eq=False)
class Work:
    """One step; `config` is read when the run begins, `hash_of` gives the recorded SHA-256."""

    _context: dg.AssetExecutionContext
    config: BenchmarkConfig
    store: ArtefactStore
    _staging: Staging
    _stack: ExitStack
    _asset: str
    _partition: Partition
    hash_of: HashOf
    _used: Mapping[str, str]
    _device: str
    _read: list[Artefact] = field(default_factory=list, init=False)
    _still_open: list[Artefact] = field(default_factory=list, init=False)
    _ancestry: Ancestry = field(default_factory=Ancestry, init=False)
    _inherited: dict[str, Mapping[str, Any]] = field(default_factory=dict, init=False)
    _recorded_by_settings: dict[int, Recorded] = field(default_factory=dict, init=False)
    _decided: CategoryConfig | None = field(default=None, init=False)
    _as_computed: dict[str, str] = field(default_factory=dict, init=False)
    _started: float = field(default_factory=time.monotonic, init=False)

    @property
    def category(self) -> str:
        """The category of the step's partition."""
        if self._category is None:
            raise ValueError(f"{self._asset} has no partitions")
        return self._category

    @property
    def day(self) -> str:
        """The day of the step's partition: ISO 8601."""
        if self._partition.day is None:
            raise ValueError(f"{self._asset} has no days")
        return self._partition.day

    @property
    def _category(self) -> str | None:
        return self._partition.category

    @property
    def settings(self) -> CategoryConfig:
        """The sections of the step's category.

        Sections that determined what the step has read are the recorded ones; the others come from
        the configuration.
        """
        return apply(self._configured, self._inherited)

    @property
    def _configured(self) -> CategoryConfig:
        return self._decided or self.config.for_category(self.category)

    def decide(self, settings: CategoryConfig) -> None:
        """Use and record settings that say in numbers what the configured ones leave open."""
        self._decided = settings

    @property
    def runtime(self) -> RuntimeSection:
        """Device, batch size and workers."""
        return self.config.runtime

    @property
    def output(self) -> Path:
        """The local folder that receives this step's files."""
        return self._staging.folder

    def read(self, asset: str) -> Path:
        """Open an upstream artefact of the category for the whole step; return its local folder."""
        artefact = self._stack.enter_context(self.store.open(asset, self._category))
        self._take_in(artefact)
        self._still_open.append(artefact)
        return artefact.folder

    @contextmanager
    def opened(self, asset: str, category: str) -> Iterator[Artefact]:
        """Open one artefact of many, as `read` does, only while it is read."""
        with self.store.open(asset, category) as artefact:
            self._take_in(artefact)
            yield artefact

    def earlier(self) -> Path | None:
        """Open the version that this step replaces, if there is an undamaged one."""
        return None if self._before is None else self._before.folder

    def replaces_own_code(self) -> bool:
        """Tell whether the version that `earlier` opens was made by the same code."""
        own = self._spec.code_version
        return self._before is not None and self._before.provenance.get("code_version") == own

    @cached_property
    def _before(self) -> Artefact | None:
        return self._earlier(None)

    def earlier_alike(self, suits: Suits) -> Artefact | None:
        """Open the version that this step replaces, if it was computed as this one and `suits`."""
        if self.runtime.recompute:
            return None
        own = self._provenance(self._device)
        artefact = self._earlier(lambda artefact: is_alike(artefact, own) and suits(artefact))
        if artefact is not None:
            self._still_open.append(artefact)
        return artefact

    def takes_over(self, *names: str) -> bool:
        """Share files of the version that this step replaces, if it would compute them again.

        `names` are those of the files, by default all. Call it when all is read.
        """
        own, settings = self._provenance(self._device), self.recorded
        before = self.earlier_alike(
            lambda artefact: (
                is_same(artefact, own, self._read, settings) and artefact.files.keys() >= {*names}
            )
        )
        if before is None:
            return False
        for name in names or before.files.keys() - {SETTINGS}:
            self.share(before.folder / name, name)
        self._shards.remove()
        computed = before.provenance.get("computed", before.provenance["made"])
        self._as_computed = {
            "computed": computed,
            **{key: before.provenance[key] for key in ("host", "platform")},
        }
        self._context.log.info(
            f"taken over as computed on {computed}, for all that it depends on is as it "
            "was; runtime.recompute: true computes it anew"
        )
        return True

    def _earlier(self, suits: Suits | None) -> Artefact | None:
        place_of = self._partition.place
        return open_earlier(self.store, self._asset, place_of, suits, self.warn, self._stack)

    def require_any(self, asset: str) -> tuple[list[str], list[str]]:
        """Return the configured categories with an artefact, and those without; refuse if none."""
        existing = set(self.store.categories(asset))
        present = [category for category in self.config.categories if category in existing]
        absent = [category for category in self.config.categories if category not in existing]
        if not present:
            raise missing(asset, absent[0], self.store.root)
        return present, absent

    def recorded_now(self, category: str) -> Recorded | None:
        """Return what a category's artefacts would record now; None if not configured."""
        settings = self.config.by_category.get(category)
        if settings is None:
            return None
        # Most categories share one object.
        if id(settings) not in self._recorded_by_settings:
            recorded = record(settings, SECTIONS, self.hash_of)
            self._recorded_by_settings[id(settings)] = recorded
        return self._recorded_by_settings[id(settings)]

    def warn(self, sentence: str) -> None:
        """Log a warning in the run."""
        self._context.log.warning(sentence)

    @property
    def networks(self) -> KeptNetworks:
        """Where exported networks are kept."""
        return KeptNetworks(self.store, self._context.log)

    @property
    def recorded(self) -> Recorded:
        """The settings of what was read, and of the sections that the step adds."""
        sections = sections_of({dep.asset_key for dep in self._spec.deps})
        if not sections or self._category is None:
            return self._inherited
        own = record(self._configured, sections, self.hash_of)
        return {**self._inherited, **own}

    def shards(
        self,
        makes: Sequence[MakeShard],
        reads: Sequence[Mapping[str, Collection[str] | None]] | None = None,
    ) -> list[Path]:
        """Return the folders of the shards that so many functions make; see `Shards`.

        `reads` says for each which of the artefacts that were read it reads, and which files.
        """
        shards = self._shards
        common = [
            json.dumps(self.recorded, sort_keys=True),
            *(f"{one.place} {one.data_version}" for one in self._read),
            *(f"{name} {version}" for name, version in package_versions().items()),
            self._spec.code_version or "",
            f"{self.runtime.engine} {self._device}",
            f"{len(makes)} shards",
        ]
        if self.runtime.recompute:
            # Only this run and its retries use them.
            common.append(self._context.run.root_run_id or self._context.run.run_id)
        versions = {one.asset: one.data_version for one in self._read}
        tasks = [
            shards.task(
                [*common, str(number)],
                make,
                [
                    ShardRead(asset, versions[asset], only)
                    for asset, only in (reads[number] if reads else {}).items()
                ],
            )
            for number, make in enumerate(makes)
        ]
        on_cluster = self.runtime.shards_on == "auto" and is_on_cluster()
        return self._stack.enter_context(shards.made(tasks, on_cluster))

    @property
    def _shards(self) -> Shards:
        open_again = partial(store_of, self.config)
        return Shards(self._asset, self.category, open_again, self.store, self._context.log)

    def share(self, source: Path, name: str) -> None:
        """Put a file of what was read into the output folder, without a second copy."""
        self._staging.share(source, name)

    def lineage(self, asset: str) -> Mapping[str, str]:
        """Return the lineage of an artefact that was read; see `Artefact.lineage`."""
        return next(one.lineage for one in self._read if one.asset == asset)

    def per_second(self, items: int) -> float:
        """Return how many items a second this step has handled so far."""
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
        computing: Mapping[str, Any] | None = None,
    ) -> CheckedResult:
        """Keep the output folder as the artefact's new version and report it.

        A version that a blocking check refuses is kept aside; only its checks are reported. Files
        in `unversioned` tell of earlier versions and do not count in the data version. `findings`
        are by check, in the order of declaration; `device` computed, if not the one asked for.
        `computing` is metadata that is left out where nothing was computed.
        """
        seconds, taken_over = time.monotonic() - self._started, self._as_computed
        recorded = {
            **self._provenance(device or self._device),
            **taken_over,
            **(provenance or {}),
            **lineage_of(self._read, self._category, self._used),
        }
        if settings := self.recorded:
            write_settings(self.output, settings)
        for artefact in self._still_open:
            # What changed while it was read must not live on in what was made of it.
            artefact.verify()
        findings = findings or {}
        if sentences := refusals(self._context.assets_def, findings):
            return self._refused(sentences, findings, recorded)  # type: ignore[return-value]
        made_from = {artefact.place: artefact.data_version for artefact in self._read}
        artefact = self._staging.commit(recorded, unversioned, made_from)
        log_findings(self._context.log, findings)
        return dg.MaterializeResult(
            metadata={
                **metadata,
                **(
                    {"taken_over": f"computed on {taken_over['computed']}"}
                    if taken_over
                    else computing or {}
                ),
                "seconds": dg.MetadataValue.float(round(seconds, 3)),
                "bytes": dg.MetadataValue.int(artefact.bytes),
                "location": place(self.location),
                "provenance": dg.MetadataValue.json(by_asset(recorded)),
            },
            data_version=dg.DataVersion(artefact.data_version),
            tags=self._used,
            check_results=results(findings),
        )

    def _refused(
        self, sentences: list[str], findings: Mapping[str, Finding], recorded: Mapping[str, str]
    ) -> Iterator[dg.AssetCheckResult]:
        """Keep the output folder aside; report its checks but no materialisation."""
        why = " ".join(sentences)
        place = self._staging.refuse({**recorded, "refused": why})
        log_findings(self._context.log, findings)
        kept = (
            f"What was made is kept in {place}; the version before stays in use, if there is one."
        )

        def report() -> Iterator[dg.AssetCheckResult]:
            yield from results(findings)
            raise dg.Failure(description=f"{why} {kept}", allow_retries=False)

        return report()

    def _take_in(self, artefact: Artefact) -> None:
        """Note the versions and the settings of an artefact that is read."""
        self._ancestry.add(artefact)
        if artefact.category is not None and artefact.category == self._category:
            self._inherited.update(settings_of(artefact))
            if newer := made_anew_since(self._context.instance, artefact):
                self.warn(
                    f"{artefact.asset} is used as it is, though it was made from earlier versions "
                    f"of {' and '.join(newer)}; materialise {artefact.asset} and what follows it "
                    "to take the newer ones in"
                )
        self._read.append(artefact)

    @property
    def _spec(self) -> dg.AssetSpec:
        spec: dg.AssetSpec = self._context.assets_def.get_asset_spec()
        return spec

    def _provenance(self, device: str) -> dict[str, str]:
        """Say which run of which code made the artefact, when, and with what."""
        return {
            "run_id": self._context.run.run_id,
            "made": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "code_version": self._spec.code_version or "",
            **provenance_of_step(self.runtime, device),
        }
