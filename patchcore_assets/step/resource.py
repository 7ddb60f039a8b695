"""The resource that every asset uses: the configuration of the run, and the artefacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import dagster as dg
from pydantic import PrivateAttr

from patchcore_assets.executor import process_tags
from patchcore_assets.inputs.recording import file_hashes, record_inputs, record_newer_settings
from patchcore_assets.pools import DEVICE_TAG
from patchcore_assets.step.configuration import configuration_of_run, keep_configuration
from patchcore_assets.step.failures import (
    memory_limits_named,
    plain_failures,
    transient_errors_retried,
)
from patchcore_assets.step.one_category import partition_of_step
from patchcore_assets.step.work import Work
from patchcore_assets.storage import HashedFiles, store_of
from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.config.snapshot import configuration_hash
from patchcore_ops.runtime.devices import device_name
from patchcore_ops.runtime.errors import UserError
from patchcore_ops.runtime.fingerprints import HashOf, file_hash


class Benchmark(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The benchmark of the configuration at `config_path`; a run reads it once.

    `configuration_hash` is that of the code location; see `inputs.launched`.
    """

    config_path: str
    configuration_hash: str
    # Dagster makes one resource per run: what a step has written is not hashed by the next.
    _hashes: HashedFiles = PrivateAttr(default_factory=HashedFiles)
    _of_run: dict[str, BenchmarkConfig] = PrivateAttr(default_factory=dict)

    @contextmanager
    def work(
        self,
        context: dg.AssetExecutionContext,
        device_of: Callable[[RuntimeSection], str] | None = None,
        less_memory: str = "let fewer runs go at once",
    ) -> Iterator[Work]:
        """Open the work of one step; a user's mistake becomes a failure without a traceback.

        The versions of the step's inputs become known. The run is tagged with its configuration,
        and with the device of a step with `device_of`. `less_memory` is the advice where memory
        runs out.
        """
        instance, run_id = context.instance, context.run.run_id
        with plain_failures(), transient_errors_retried(context), ExitStack() as stack:
            config, is_kept = self._configuration(instance, context.run)
            if is_kept and run_id not in self._of_run and self._has_changed(config):
                context.log.warning(
                    "the configuration has been edited since this run began; it goes on with what "
                    "it has read then. Start a new run to use the file as it is now"
                )
            asset = context.asset_key.to_user_string()
            partition = partition_of_step(context, config)
            category = partition.category
            deps = {dep.asset_key for dep in context.assets_def.get_asset_spec().deps}
            device = "cpu" if device_of is None else device_name(device_of(config.runtime))
            tags = {} if device_of is None else {DEVICE_TAG: device}
            hash_of: HashOf = file_hash
            used: Mapping[str, str] = {}
            if category is not None:
                hash_of = stack.enter_context(file_hashes(instance, config, category))
                seen_by = f"run {run_id}"
                used = record_inputs(instance, config, category, deps, hash_of, seen_by)
            stack.enter_context(memory_limits_named(asset, less_memory))
            store = store_of(config, self._hashes)
            staging = stack.enter_context(store.stage(asset, partition.place))
            if run_id not in self._of_run:
                tags.update(process_tags())
            if not is_kept:
                tags.update(keep_configuration(config, run_id, staging.folder))
            if tags:
                instance.add_run_tags(run_id, tags)
            self._of_run[run_id] = config
            yield Work(
                context, config, store, staging, stack, asset, partition, hash_of, used, device
            )
            if category is not None:
                record_newer_settings(instance, config, category, deps, hash_of)

    def _configuration(
        self, instance: dg.DagsterInstance, run: dg.DagsterRun
    ) -> tuple[BenchmarkConfig, bool]:
        """Return the configuration of a run, and whether it is kept already."""
        if run.run_id in self._of_run:
            return self._of_run[run.run_id], True
        # Another process may have tagged it since it began.
        latest = instance.get_run_by_id(run.run_id) or run
        return configuration_of_run(instance, latest, self.config_path)

    def _has_changed(self, config: BenchmarkConfig) -> bool:
        try:
            return configuration_hash(load_config(self.config_path)) != configuration_hash(config)
        except UserError:
            return True
