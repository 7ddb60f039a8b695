"""What `make audit` makes of pip-audit's answers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DIRECT = {"pillow", "scikit-learn"}


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", REPOSITORY / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(name: str, *fixes: list[str]) -> dict[str, Any]:
    vulns = [{"id": f"PYSEC-{at}", "fix_versions": fix} for at, fix in enumerate(fixes)]
    return {"name": name, "version": "1.0", "vulns": vulns}


def skipped(name: str) -> dict[str, Any]:
    return {"name": name, "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([package("pillow")], 0, "1 packages looked up, 0 known"),
        ([package("Pillow", ["1.1"])], 1, "error: Pillow 1.0: PYSEC-0, fixed in 1.1"),
        ([package("scikit_learn", ["1.1", "2.0"])], 1, "fixed in 1.1, 2.0"),
        ([package("pillow", [])], 0, "warning: pillow 1.0: PYSEC-0, no fixed version yet"),
        ([package("starlette", ["1.1"])], 0, "warning: starlette 1.0: PYSEC-0, fixed in 1.1"),
        ([package("pillow", []), package("pillow", ["2"])], 1, "2 known vulnerabilities, 1 of"),
        ([skipped("pillow"), skipped("numpy")], 0, "audit SKIPPED: no advisories for any of 2"),
        ([skipped("pillow"), package("numpy")], 0, "1 packages could not be looked up: pillow"),
        ([], 0, "audit SKIPPED"),
    ],
)
def test_verdict(audit: Any, packages: list[dict[str, Any]], code: int, said: str) -> None:
    found, lines = audit.judge({"dependencies": packages}, DIRECT)
    assert found == code
    assert said in "\n".join(lines)


def test_what_the_project_requires_itself_counts(audit: Any) -> None:
    direct = audit.direct_dependencies(REPOSITORY / "pyproject.toml")
    assert {"dagster", "torch", "pillow", "jinja2", "scikit-learn", "pytest"} <= direct
    assert "starlette" not in direct


@pytest.mark.parametrize("output", ["", "no json", "raise SystemExit(1)"])
def test_a_failing_pip_audit_is_said_and_no_error(tmp_path: Path, output: str) -> None:
    broken = f"print({output!r})" if "raise" not in output else output
    (tmp_path / "pip_audit.py").write_text(broken)
    ran = subprocess.run(
        [sys.executable, str(REPOSITORY / ".ci" / "audit.py")],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("audit SKIPPED")
