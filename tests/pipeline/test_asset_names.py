"""Everything about an asset stands in its module: no other module of the graph knows its name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_kit import BY_CATEGORY, OVER_ALL

from patchcore_assets.inputs.versions import INPUTS

REPOSITORY = Path(__file__).resolve().parents[2]
# Here it is the section of the configuration.
SECTION_METRICS = {"patchcore_assets/inputs/versions.py", "patchcore_ops/report/render.py"}
# Here it is a function.
FUNCTION_CATEGORY_METRICS = {"patchcore_ops/metrics/__init__.py"}
# Here it is what some files of weights are wrapped in.
WRAPPED_WEIGHTS = {"patchcore_ops/backbones/weights_files.py"}
# Here it is what trackers call what they keep.
TRACKED_MODELS = {
    f"patchcore_ops/tracking/{name}.py"
    for name in ("mlflow_model", "mlflow_tracker", "wandb_tracker")
}
# Here it is the group, and what an estimator, a journal and FastAPI call other things.
GROUP_MODEL = {
    "patchcore_assets/assets/score_calibration.py",
    "patchcore_assets/assets/inspections.py",
    "patchcore_ops/estimator/patchcore.py",
    "patchcore_ops/inspection/journal.py",
    "patchcore_ops/service/routes.py",
}
NAMESAKES = {
    "metrics": SECTION_METRICS,
    "category_metrics": FUNCTION_CATEGORY_METRICS,
    "model": GROUP_MODEL | WRAPPED_WEIGHTS | TRACKED_MODELS,
}


def strings(file: Path) -> Iterator[str]:
    """Yield the strings of a module, but no documentation."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def places(package: str, name: str) -> set[str]:
    """Return the modules of a package that have an asset's name as a string."""
    return {
        file.relative_to(REPOSITORY).as_posix()
        for file in (REPOSITORY / package).rglob("*.py")
        if file.name != "__init__.py"  # Its strings are the names of functions.
        and name in strings(file)
    }


@pytest.mark.parametrize("name", [*BY_CATEGORY, *OVER_ALL])
def test_an_asset_is_named_in_its_module_and_by_stages_alone(name: str) -> None:
    known = NAMESAKES.get(name, set())
    assert places("patchcore_assets", name) - known == {f"patchcore_assets/assets/{name}.py"}
    stages = "patchcore_ops/stages/"
    assert all(place.startswith(stages) for place in places("patchcore_ops", name) - known)


@pytest.mark.parametrize("name", [one.key.to_user_string() for one in INPUTS if one.sections])
def test_an_input_is_named_with_its_version_alone(name: str) -> None:
    assert places("patchcore_assets", name) == {"patchcore_assets/inputs/versions.py"}
    assert places("patchcore_ops", name) == set()
