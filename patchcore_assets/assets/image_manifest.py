"""`image_manifest`: what a category's folder holds, validated."""

from typing import Any

import dagster as dg

from patchcore_assets.benchmark import Benchmark
from patchcore_assets.inputs import IMAGES
from patchcore_assets.presentation import table


@dg.asset(deps=[IMAGES], group_name="dataset", kinds={"pandas", "parquet"}, code_version="1")
def image_manifest(
    context: dg.AssetExecutionContext, benchmark: Benchmark
) -> dg.MaterializeResult[Any]:
    """One row per image of a category: path, split, label, mask, size and fingerprint.

    Input is validated here; everything downstream reads the manifest instead of the folder.
    """
    from patchcore_ops.manifest import count_labels, scan_category
    from patchcore_ops.stages.layout import MANIFEST

    with benchmark.work(context) as work:
        scan = scan_category(work.config.dataset_root, work.category)
        scan.images.to_parquet(work.output / MANIFEST, index=False)
        return work.finish(
            {
                "train_images": int((scan.images["split"] == "train").sum()),
                "test_images": int((scan.images["split"] == "test").sum()),
                "defective_images": int(scan.images["is_anomaly"].sum()),
                "masks": int(scan.images["mask_path"].notna().sum()),
                "labels": table(count_labels(scan.images)),
                "skipped_files": len(scan.skipped),
                "skipped": dg.MetadataValue.json(list(scan.skipped[:100])),
            }
        )
