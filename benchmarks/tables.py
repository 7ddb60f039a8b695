"""Results as a CSV file, a Markdown page and a plot."""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.measuring import median

PACKAGES = ("torch", "torchvision", "timm", "faiss-cpu", "faiss-gpu", "numpy", "scipy", "dagster")
DEFAULT_FOLDER = Path("benchmarks/results")
# Before anything is measured: others at work on the machine would show here.
_LOAD_AT_START = os.getloadavg()

Row = Mapping[str, Any]


@dataclass
class Table:
    """What a benchmark found."""

    title: str
    rows: list[Row]  # every row has the columns of the first
    notes: list[str] = field(default_factory=list)  # what a reader must know
    hidden: tuple[str, ...] = ("runs",)  # columns for the CSV file alone

    def markdown(self) -> str:
        """Lay the rows out as a Markdown table."""
        columns = [column for column in self.rows[0] if column not in self.hidden]
        lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for row in self.rows:
            lines.append("| " + " | ".join(shown(row[column]) for column in columns) + " |")
        return "\n".join(lines)


def shown(value: Any) -> str:
    """Format a value for people: four significant digits, nothing where there is no number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def listed(values: Iterable[float]) -> str:
    """Format the values of all runs for the CSV file."""
    return " ".join(f"{value:.4f}" for value in values)


def ratio(numerator: float, denominator: float) -> float:
    """Divide, NaN where there is nothing to divide by."""
    return numerator / denominator if denominator else float("nan")


def compared(
    other: str, what: str, theirs: Sequence[float], ours: Sequence[float], unit: str
) -> dict[str, Any]:
    """Make a row of another implementation and this one: their medians, and the ratio of these."""
    return {
        "what": what,
        "unit": unit,
        other: median(theirs),
        "ours": median(ours),
        f"{other} / ours": ratio(median(theirs), median(ours)),
        "runs": f"{other} {listed(theirs)}; ours {listed(ours)}",
    }


def write(
    options: argparse.Namespace,
    default_name: str,
    table: Table,
    draw: Callable[[Any], None],
    extra_packages: Mapping[str, str] | None = None,
) -> None:
    """Write and print a table.

    The options have `out`, the folder, and `name`, the files' name where it is not the default.
    `draw` draws the plot into a matplotlib axes. `extra_packages` are names and versions of
    packages of another environment.
    """
    name = options.name or default_name
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(table.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.rows)
    _plot(folder / f"{name}.png", table.title, draw)
    lines = [f"# {table.title}", "", table.markdown(), ""]
    lines += [f"- {note}" for note in (*table.notes, *_circumstances(extra_packages or {}))]
    lines += ["", f"![plot]({name}.png)"]
    page = "\n".join(lines) + "\n"
    (folder / f"{name}.md").write_text(page, encoding="utf-8")
    print(page)
    print(f"written: {folder / name}.csv, .md, .png")


def command_parser(description: str | None) -> argparse.ArgumentParser:
    """Make the parser of a benchmark, with its module's docstring, `--out` and `--name`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_FOLDER, help="folder of the results [%(default)s]"
    )
    parser.add_argument("--name", help="name of the result files [the benchmark's name]")
    return parser


def describe_machine() -> str:
    """Describe the processor, the memory and the system in a line."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB, "
        f"{platform.system()} {platform.release()}"
    )


def _circumstances(extra_packages: Mapping[str, str]) -> list[str]:
    versions = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    versions.update(extra_packages)
    load = ", ".join(f"{value:.1f}" for value in _LOAD_AT_START)
    return [
        f"Machine: {describe_machine()}",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"Command: `{_command()}`",
        f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; load averages before the runs: {load}",
    ]


def _command() -> str:
    """Return this command, with each absolute path cut to its end."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return " ".join(["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *words])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _plot(path: Path, title: str, draw: Callable[[Any], None]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    draw(axes)
    axes.set_title(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_compared(axes: Any, other: str, rows: Iterable[Row]) -> None:
    """Draw the rows of `compared` that are seconds."""
    seconds = [row for row in rows if row["unit"] == "s"]
    labels = [f"{row['what']} ({row[f'{other} / ours']:.1f}x)" for row in seconds]
    series = {system: [row[system] for row in seconds] for system in (other, "ours")}
    draw_bars(axes, labels, series, "seconds")


def bars(
    rows: Sequence[Row], label: str, column: str, unit: str = "seconds"
) -> Callable[[Any], None]:
    """Return what draws a column of a table as bars, which another one names."""
    names, values = [str(row[label]) for row in rows], [float(row[column]) for row in rows]
    return lambda axes: draw_bars(axes, names, {column: values}, unit)


def draw_bars(
    axes: Any, labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str
) -> None:
    """Draw groups of horizontal bars on a logarithmic axis, the first label on top."""
    height = 0.8 / len(series)
    for position, (name, values) in enumerate(series.items()):
        places = [place + position * height for place in range(len(labels))]
        axes.barh(places, [max(value, 1e-3) for value in values], height, label=name)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(labels))], labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    if len(series) > 1:
        axes.legend()
