"""`memory_bank`: the coreset of a category's normal patches."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from patchcore_assets.assets.by_category import by_category, categories
from patchcore_assets.assets.raw_embeddings import RAW_EMBEDDINGS
from patchcore_assets.inputs.versions import CORESET_CONFIG
from patchcore_assets.pools import pool_of
from patchcore_assets.step.checks import Check, CheckedResult, specs
from patchcore_assets.step.presentation import charts
from patchcore_assets.step.resource import Benchmark
from patchcore_assets.step.work import Work
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.runtime.devices import coreset_device

if TYPE_CHECKING:
    from patchcore_ops.checks.bank import MemberBank
    from patchcore_ops.stages.memory_bank import Bank

MEMORY_BANK = "memory_bank"
_LESS_MEMORY = "raise coreset.shards, or lower coreset.percentage or coreset.projection_dimension"
_CHECKS = (
    Check(
        "bank_has_its_size",
        "There are as many picks as `coreset.percentage` gives. Blocks.",
        blocking=True,
    ),
    Check("picks_differ", "No row is picked twice. Blocks.", blocking=True),
    Check("features_differ", "No two features of the bank are equal. Warns."),
    Check(
        "bank_covers_the_patches",
        "The coverage radius: how far the patches are from the bank, by number of picks. Warns.",
    ),
)


def memory_bank(config: BenchmarkConfig) -> dg.AssetsDefinition:
    """Define the asset for a configuration."""

    @dg.asset(
        name=MEMORY_BANK,
        deps=[RAW_EMBEDDINGS, CORESET_CONFIG],
        group_name="memory",
        kinds={"numpy"},
        code_version="3",
        pool=pool_of(_device(config.runtime), config.runtime),
        check_specs=specs(MEMORY_BANK, _CHECKS, categories(config)),
        **by_category(config),
    )
    def compute(context: dg.AssetExecutionContext, benchmark: Benchmark) -> CheckedResult:
        """The embeddings that represent normality: a coreset of the train images' patches."""
        from patchcore_ops.checks import bank

        with benchmark.work(context, _device, _LESS_MEMORY) as work:
            embeddings = work.read(RAW_EMBEDDINGS)
            banks = _select(work, embeddings)
            picks = sum(one.picks for one in banks)
            picks_per_second = work.per_second(picks)
            written = bank.read_banks(embeddings, work.output, work.settings)
            return work.finish(
                {
                    "members": len(banks),
                    "rows": sum(one.rows for one in banks),
                    "picks": picks,
                    "dimension": banks[0].dimension,
                    "sampler": work.settings.coreset.sampler,
                    "percentage": work.settings.coreset.percentage,
                    "shards": work.settings.coreset.shards,
                    **_coverage(written),
                },
                findings={
                    "bank_has_its_size": bank.bank_has_its_size(written, work.settings.coreset),
                    "picks_differ": bank.picks_differ(written),
                    "features_differ": bank.features_differ(written),
                    "bank_covers_the_patches": bank.bank_covers_the_patches(written),
                },
                computing={"picks_per_second": picks_per_second},
            )

    return compute


def _select(work: Work, embeddings: Path) -> "list[Bank]":
    """Take the bank over, or select it: at once, or in shards if the configuration says so."""
    from patchcore_ops.stages.memory_bank import (
        banks,
        join_shards,
        select_memory_bank,
        select_shard,
        shards_of,
    )

    settings, runtime = work.settings, work.runtime
    if work.takes_over():
        return banks(embeddings, work.output, settings)
    if settings.coreset.shards == 1:
        progress = work.progress("rows picked")
        return select_memory_bank(embeddings, settings, runtime, work.output, progress)
    shards = shards_of(embeddings, settings)
    folders = work.shards(
        [partial(select_shard, shard, settings, runtime) for shard in shards],
        [{RAW_EMBEDDINGS: [file for of in shard for file in of.files]} for shard in shards],
    )
    join_shards(folders, settings, work.output)
    return banks(embeddings, work.output, settings)


def _device(runtime: RuntimeSection) -> str:
    return coreset_device(runtime.device)


def _coverage(banks: "Sequence[MemberBank]") -> dict[str, dg.MetadataValue[Any]]:
    """Show the coverage of the member whose bank covers worst."""
    from patchcore_ops.report.charts.coverage import coverage_chart

    measured = [one.coverage for one in banks if one.coverage is not None]
    if not measured:
        return {"coverage_radius": dg.MetadataValue.float(0.0)}
    worst = max(measured, key=lambda one: one.final)
    title = "Coverage radius by number of picks"
    return {
        "coverage_radius": dg.MetadataValue.float(worst.final),
        "coverage_curve": charts({title: coverage_chart(title, worst.picks, worst.radius)}),
    }
