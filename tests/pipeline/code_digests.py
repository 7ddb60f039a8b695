"""The code that determines each asset's result, as digests that a test compares.

Run as a script, it accepts the code as it is now:

    python tests/pipeline/code_digests.py

The modules of an asset are named here, not derived from imports: what an asset imports for its
pictures, tables and messages would be swept in, and every change of a caption would ask whether
results have changed. A module that is new must be given a place, or a test fails.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("code_versions.json")
COMMAND = "python tests/pipeline/code_digests.py"

_OPS = "patchcore_ops"
_READING_IMAGES = ("dataset.images", "dataset.crop", "dataset.image_formats", "dataset.png")
_BACKBONE = (
    "backbones.names",
    "backbones.load",
    "backbones.efficientnet_lite",
    "backbones.weight_loading",
    "backbones.input_size",
    "backbones.weights_files",
    "backbones.features",
    "backbones.feature_layout",
    "backbones.layout_probe",
    "embedding.exported_network",
    "embedding.network_export",
    "embedding.openvino_engine",
    "embedding.torch_engine",
)
_SEARCH = (
    "scoring.excluded_rows",
    "scoring.neighbours",
    "scoring.index_file",
    "scoring.certified_search",
    "scoring.distance_bounds",
)

# What determines the files of each asset, besides its own module.
DETERMINED_BY: Mapping[str, tuple[str, ...]] = {
    "image_manifest": (
        "stages.image_manifest",
        "dataset.manifest",
        "dataset.category_folder",
        "dataset.mask_pairing",
        "dataset.same_images",
        "dataset.image_inspection",
        "dataset.mask_doubts",
        "dataset.masks",
        "runtime.fingerprints",
        *_READING_IMAGES,
    ),
    "raw_embeddings": (
        "stages.raw_embeddings",
        "stages.earlier_rows",
        "stages.embedding_shards",
        "embedding.ensemble",
        "dataset.auto_size",
        "dataset.image_stream",
        *_READING_IMAGES,
        *_BACKBONE,
        "embedding.embedder",
        "embedding.patch_pooling",
        "runtime.arrays",
        "runtime.rows",
    ),
    "memory_bank": (
        "stages.memory_bank",
        "coreset.samplers",
        "coreset.shards",
        "coreset.projection",
        "coreset.torch_draws",
        "coreset.greedy",
        "coreset.lazy_distances",
        "coreset.candidates",
        "runtime.block_threads",
        "runtime.array_namespace",
        "runtime.arrays",
        "runtime.rows",
    ),
    "faiss_index": ("stages.faiss_index", "scoring.index_building", "scoring.index_file"),
    "test_predictions": (
        "stages.predictions",
        "stages.patch_scores",
        "stages.member_units",
        "stages.leave_one_out",
        "stages.index_search",
        *_SEARCH,
        "scoring.ensemble",
        "scoring.maps",
        "scoring.padding",
        "runtime.block_threads",
        "runtime.arrays",
        "runtime.rows",
    ),
    "score_calibration": (
        "stages.score_calibration",
        "stages.leave_one_out",
        "stages.index_search",
        "calibration.conformal",
        "calibration.record",
        *_SEARCH,
        "scoring.ensemble",
        "scoring.maps",
        "scoring.padding",
    ),
    "model": ("stages.model", "model.description", "model.folder"),
    "evaluation": (
        "stages.evaluation",
        "stages.predictions",
        "stages.category_metrics",
        "model.predictor",
        "model.prediction",
        "model.pixels",
        "model.regions",
        "model.member_engine",
    ),
    "inspections": (
        "inspection.day",
        "inspection.day_table",
        "inspection.arrivals",
        "inspection.rows",
        "inspection.heat_map",
        "model.predictor",
        "model.pixels",
        "model.member_engine",
        "model.regions",
    ),
    "category_metrics": (
        "stages.category_metrics",
        *_READING_IMAGES,
        "dataset.masks",
        "metrics.category",
        "metrics.lost_defects",
        "metrics.pixel_ranking",
        "metrics.ranking",
        "metrics.region_overlap",
        "metrics.per_image_overlap",
    ),
    "metrics": ("stages.metrics", "metrics.category", "metrics.history"),
    "benchmark_report": ("stages.benchmark_report", "metrics.history"),
    "tracked_results": ("tracking.wave", "tracking.record", "tracking.group_name"),
}
# No result depends on these: they name files, describe settings (whose values are observed inputs),
# say what is wrong, manage the machine, judge what is there, or draw.
DETERMINES_NOTHING = (
    "config.load",
    "config.mistakes",
    "config.snapshot",
    "config.recorded_settings",
    "dataset.recorded_files",
    "dataset.additions",
    "config.settings_notes",
    "config.categories",
    "config.overrides",
    "config.paths",
    "config.remote_file",
    "config.results_hash",
    "config.sections",
    "config.image_size",
    "config.operating_sections",
    "config.setting_types",
    "config.yaml_document",
    "config.addresses",
    "config.trackers",
    "stages.provenance",
    "stages.early_refusals",
    "stages.plan",
    "stages.plan_laws",
    "backbones.costs",
    "embedding.known_networks",
    "model.plain_pickle",
    "model.reference_bank",
    "model.reference_files",
    "model.reference_import",
    "model.reference_parameters",
    "runtime.errors",
    "runtime.files",
    "runtime.progress",
    "runtime.devices",
    "runtime.process",
    "runtime.process_settings",
    "runtime.process_identity",
    "runtime.processors",
    "runtime.control_groups",
    "runtime.machine",
    "embedding.engine",
    "embedding.engine_choice",
    "scoring.faiss_library",
    "embedding.openvino_library",
    "embedding.onnx_export",
    "model.export",
    "model.export_note",
    "model.onnx_member",
    "inspection",
    "service",
    "report.pictures",
    "stages.layout",
    "stages.illustrations",
    "metrics.published",
    "report",
    "checks",
    "estimator",
    "embedding.network_folder",
    "calibration.suspects",
    "config.presets",
    "tracking",
    "metrics.bootstrap",
    "coreset.coverage",
    "demo",
)


def module_file(asset: str) -> Path:
    """Return the file that defines an asset."""
    return REPOSITORY / "patchcore_assets" / "assets" / f"{asset}.py"


def digests(asset: str) -> dict[str, str]:
    """Return the digest of every file that determines an asset, by path."""
    files = [
        module_file(asset),
        *(REPOSITORY / _OPS / f"{module.replace('.', '/')}.py" for module in DETERMINED_BY[asset]),
    ]
    return {
        file.relative_to(REPOSITORY).as_posix(): source_digest(file.read_text(encoding="utf-8"))
        for file in files
    }


def source_digest(source: str) -> str:
    """Hash what Python makes of a source: layout, comments and docstrings do not count."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[1:] if ast.get_docstring(node, clean=False) else node.body
    return hashlib.sha256(_canonical(tree).encode()).hexdigest()[:16]


def code_versions(definitions_of: Any) -> dict[str, str]:
    """Return the code version of every computed asset of a resolved asset graph."""
    return {
        asset: definitions_of.get(key).code_version
        for key in definitions_of.materializable_asset_keys
        if (asset := key.to_user_string())
    }


def unplaced_modules() -> Iterator[str]:
    """Yield the modules of patchcore_ops that are named neither above nor below."""
    named = {module for modules in DETERMINED_BY.values() for module in modules}
    for file in sorted((REPOSITORY / _OPS).rglob("*.py")):
        module = ".".join(file.relative_to(REPOSITORY / _OPS).with_suffix("").parts)
        if module.endswith("__init__"):
            continue
        top = module.split(".")[0]
        if module not in named and not {module, top} & set(DETERMINES_NOTHING):
            yield module


def read_table() -> dict[str, dict[str, Any]]:
    """Read what was accepted: of each asset its code version and its digests."""
    table: dict[str, dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def whole_graph(config: Any) -> Any:
    """Return the asset graph of a configuration that asks for every asset there is."""
    from patchcore_assets.graph import define
    from patchcore_ops.config.load import Evaluated, Inbox
    from patchcore_ops.config.sections import TrackerSection

    everything = replace(
        config,
        evaluation=Evaluated(Path("images"), None),
        inbox=Inbox("inbox", "2026-01-01", 0.0),
        tracking=(TrackerSection(kind="tensorboard"),),
    )
    return define(everything).resolve_asset_graph()


def accept() -> None:
    """Write the table anew from the code as it is."""
    from patchcore_ops.config import load_config

    versions = code_versions(whole_graph(load_config(REPOSITORY / "patchcore.yaml")))
    table = {
        asset: {"code_version": versions[asset], "digests": digests(asset)}
        for asset in DETERMINED_BY
    }
    TABLE.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def _canonical(node: object) -> str:
    """Write a syntax tree down in a way that does not depend on Python's version."""
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_canonical(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != []
        ]
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(_canonical(item) for item in node)}]"
    return repr(node)


if __name__ == "__main__":
    accept()
