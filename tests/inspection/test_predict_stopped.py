"""A prediction that is killed or stopped goes on, and ends as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from model_kit import Benchmarked

COPIES = 200
COMMAND = (sys.executable, "-m", "patchcore_assets.commands.main", "predict")


@pytest.fixture(scope="module")
def images(single: Benchmarked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    sources = single.images[:5]
    for number in range(COPIES):
        part = folder / f"line_{number % 2}"
        part.mkdir(exist_ok=True)
        (part / f"{number // 2:03d}.png").symlink_to(sources[number % len(sources)])
    return folder


def run(model: Path, images: Path, output: Path) -> subprocess.CompletedProcess[str]:
    arguments = (*COMMAND, "--model", model, images, "--output", output)
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def whole(model: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was left alone."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    assert run(model, images, folder).returncode == 0
    return folder


def stopped(model: Path, images: Path, output: Path, number: signal.Signals) -> tuple[int, str]:
    """Begin a run and send it a signal when some images are scored."""
    arguments = (*COMMAND, "--model", model, images, "--output", output)
    journal = output / "predictions.jsonl"
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.001)
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=60)
    assert journal.read_bytes().count(b"\n") <= COPIES
    return process.returncode, said


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "predictions.jsonl"
    }


def test_a_killed_run_goes_on_where_it_was(
    model: Path, images: Path, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    code, _ = stopped(model, images, output, signal.SIGKILL)
    assert code == -signal.SIGKILL
    journal = output / "predictions.jsonl"
    # As if it had been killed within a line.
    scored = journal.read_bytes()
    scored = scored[: scored.rindex(b"\n") + 1]
    journal.write_bytes(scored + scored.splitlines()[-1][:40])
    assert run(model, images, output).returncode == 0
    assert contents(output) == contents(whole)
    assert journal.read_bytes().startswith(scored)
    paths = [json.loads(line)["path"] for line in journal.read_bytes().splitlines()[1:]]
    assert len(paths) == len(set(paths)) == COPIES


def test_a_stopped_run_keeps_what_it_has(
    model: Path, images: Path, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    code, said = stopped(model, images, output, signal.SIGTERM)
    assert code == 130
    rows = (output / "predictions.csv").read_text().splitlines()
    assert 1 < len(rows) <= COPIES
    assert f"stopped after {len(rows) - 1} of {COPIES} images; the same command goes on" in said
    assert (whole / "predictions.csv").read_text().splitlines()[: len(rows)] == rows
    assert run(model, images, output).returncode == 0
    assert contents(output) == contents(whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_json_to_a_full_disk_is_said(single: Benchmarked, model: Path) -> None:
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(
            (*COMMAND, "--model", model, single.images[0], "--json"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert found.stderr == (
        "standard output: cannot be written (No space left on device); give it room, and run the "
        "same command again\n"
    )
    assert found.returncode == 2


def test_the_command_imports_what_it_needs(
    single: Benchmarked, model: Path, tmp_path: Path
) -> None:
    script = (
        "import sys\n"
        "from patchcore_assets.commands.main import main\n"
        "code = main(sys.argv[1:])\n"
        "heavy = {'torch', 'dagster', 'sklearn', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else code)"
    )
    arguments = ["predict", "--model", model, single.images[0], "--output", tmp_path / "out"]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, timeout=60)
