"""Judges what pip-audit has found: a known vulnerability that a newer version fixes is an error.

Run by `make audit`. Exit code 1 only where a package that pyproject.toml names itself has a known
vulnerability and a version without it. What comes with those packages, or has no fix yet, is
printed. Where the advisories are out of reach nothing is known, which is said, and no error.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
SECONDS = 300


def main() -> int:
    """Ask pip-audit about the packages of this environment."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--skip-editable"]
    command += ["--progress-spinner", "off"]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        report = json.loads(asked.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        reason = "it did not answer in time"
        if isinstance(error, json.JSONDecodeError):
            reason = (asked.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"audit SKIPPED: pip-audit could not ask for advisories ({reason})")
        return 0
    code, lines = judge(report, direct_dependencies(PROJECT))
    print("\n".join(lines))
    return code


def direct_dependencies(project: Path) -> set[str]:
    """Return the normalised names that a pyproject.toml requires, with every extra."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    required = [*table["dependencies"]]
    for extra in table.get("optional-dependencies", {}).values():
        required += extra
    return {normalised(re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0]) for one in required}


def judge(report: Mapping[str, Any], direct: Collection[str]) -> tuple[int, list[str]]:
    """Turn pip-audit's report into an exit code and lines for people.

    Parameters
    ----------
    report : mapping
        What `pip-audit --format json` prints.
    direct : collection of str
        Normalised names whose vulnerabilities count.
    """
    packages = report["dependencies"]
    audited = [one for one in packages if "vulns" in one]
    unknown = [one for one in packages if "vulns" not in one]
    if not audited:
        why = unknown[0].get("skip_reason", "no reason given") if unknown else "no packages"
        return 0, [f"audit SKIPPED: no advisories for any of {len(unknown)} packages ({why})"]
    lines = list(_lines(audited, direct))
    errors = sum(line.startswith("error") for line in lines)
    lines.append(
        f"audit: {len(audited)} packages looked up, {len(lines)} known vulnerabilities, "
        f"{errors} of them errors"
    )
    if unknown:
        names = ", ".join(sorted(str(one["name"]) for one in unknown)[:10])
        lines.append(f"audit: {len(unknown)} packages could not be looked up: {names}")
    return int(errors > 0), lines


def _lines(audited: list[dict[str, Any]], direct: Collection[str]) -> Iterator[str]:
    for package in audited:
        for found in package["vulns"]:
            fixes = found.get("fix_versions") or []
            counts = bool(fixes) and normalised(package["name"]) in direct
            remedy = f"fixed in {', '.join(fixes)}" if fixes else "no fixed version yet"
            yield (
                f"{'error' if counts else 'warning'}: {package['name']} {package['version']}: "
                f"{found['id']}, {remedy}"
            )


def normalised(name: str) -> str:
    """Write a package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
