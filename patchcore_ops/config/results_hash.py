"""The hash of what a configuration says about results, equal on all machines that share one."""

from __future__ import annotations

from patchcore_ops.config.load import BenchmarkConfig, section_hash
from patchcore_ops.config.recorded_settings import record
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.runtime.fingerprints import HashOf, file_hash


def results_hash(config: BenchmarkConfig, hash_of: HashOf = file_hash) -> str:
    """Hash what determines results, and where they are kept: 16 hexadecimal digits.

    Weights count by content (`hash_of`), not by path. `runtime`, the cache and the folders of
    images are each machine's own. Of discovered categories only the settings count: one that is
    being added makes no difference.
    """
    general = config.of_discovered
    by_settings: dict[int, str] = {}

    def hash_of_settings(settings: CategoryConfig) -> str:
        # Most categories share one object.
        if id(settings) not in by_settings:
            recorded = record(settings, CategoryConfig.model_fields, hash_of)
            by_settings[id(settings)] = section_hash(CategoryConfig.model_validate(recorded))
        return by_settings[id(settings)]

    counted = {
        f"settings of {name}": hash_of_settings(settings)
        for name, settings in config.by_category.items()
        if settings is not general
    }
    # Only where there is one: the partitions must be the same on all machines.
    inbox = {} if config.inbox is None else {"first day": config.inbox.first_day}
    return section_hash(
        extra={
            **counted,
            **inbox,
            "categories": "\n".join(config.categories)
            if general is None
            else hash_of_settings(general),
            "storage": config.storage_root,
            "pictures": str(config.runtime.save_segmentation_images),
            "evaluation": str(config.evaluation is not None),
        }
    )
