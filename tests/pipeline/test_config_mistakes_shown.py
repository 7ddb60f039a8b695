"""A mistake in the configuration is read where the user looks: every command says it plainly."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_kit import CATEGORY, MEMBER, Configure, complete, execute, failures, make_site

from patchcore_assets.commands.benchmark import main

MISTAKES = {
    "coreset": {"percentage": 7, "seeed": 1},
    "scoring": {"anomaly_scorer_num_nn": "one"},
}
SAID = (
    "coreset.percentage: input should be less than or equal to 1 (got 7)",
    "coreset.seeed: unknown key; did you mean seed?",
    "scoring.anomaly_scorer_num_nn: input should be a valid integer (got 'one'); write a plain "
    "number, without quotes or ${...}",
)


@pytest.mark.parametrize(
    "command",
    [
        (
            "asset",
            "materialize",
            "-m",
            "patchcore_assets",
            "--select",
            "*",
            "--partition",
            CATEGORY,
        ),
        # The check of the code location that `dagster dev` makes when it starts.
        ("definitions", "validate", "-m", "patchcore_assets"),
    ],
)
def test_dagsters_commands_say_every_mistake(tmp_path: Path, command: tuple[str, ...]) -> None:
    site = make_site(tmp_path / "site", tmp_path, **MISTAKES)
    process = site.dagster(*command)
    assert process.returncode != 0
    output = process.stdout + process.stderr
    for sentence in SAID:
        assert f"{site.config}: {sentence}" in output


def test_the_benchmark_command_says_every_mistake_and_nothing_else(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(**MISTAKES)
    assert main(["--config", str(config)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [f"{config}: {sentence}" for sentence in SAID]


@pytest.mark.usefixtures("pip_weights")
def test_what_must_fail_later_stops_before_the_network_runs(
    configure: Configure, tmp_path: Path
) -> None:
    complete(configure(), "image_manifest")
    wrong = configure(index={"factory": "IVF4096,Flat"}, scoring={"anomaly_scorer_num_nn": 1000})
    said = failures(execute(wrong, "raw_embeddings"))["raw_embeddings"].splitlines()
    assert [line.split(": ")[0] for line in said] == [
        "scoring.anomaly_scorer_num_nn",
        "index.factory",
    ]
    assert not (tmp_path / "storage" / "raw_embeddings" / CATEGORY).exists()


@pytest.mark.usefixtures("pip_weights")
def test_a_weights_file_with_code_is_refused_by_the_step(
    configure: Configure, tmp_path: Path
) -> None:
    import pickle

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Path("anywhere"), protocol=2))
    config = configure(embedding={"members": [{**MEMBER, "weights": "evil.pth"}]})
    complete(config, "image_manifest")
    said = failures(execute(config, "raw_embeddings"))["raw_embeddings"]
    assert said.startswith(
        f"embedding.members.0: {tmp_path / 'evil.pth'}: refused and not executed"
    )
    assert "\n" not in said
