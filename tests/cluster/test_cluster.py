"""Waves on two nodes that share PostgreSQL, a bucket and the images; and what may go wrong."""

from __future__ import annotations

import json

import pytest
from cluster_kit import CATEGORIES, POOL, Hold
from operator_kit import Operator
from pipeline_kit import BY_CATEGORY

from patchcore_assets.automation.waves import WAVE

pytestmark = pytest.mark.cluster


def test_a_scheduled_wave_uses_both_nodes_and_a_pool_of_one_runs_one(operator: Operator) -> None:
    operator.instance.event_log_storage.set_concurrency_slots(POOL, 1)
    held = Hold("PUT", ["/raw_embeddings/"])
    operator.cluster.hold(held)
    schedule = operator.start_schedule()
    operator.wait_for("the wave", operator.runs)
    operator.stop_schedule(schedule)
    operator.wait_for("a run at work", lambda: held.seen)
    [wave] = {one.dagster_run.tags[WAVE] for one in operator.runs()}
    operator.wait_for_queue()
    assert sorted(operator.statuses(wave)) == ["QUEUED", "STARTED"], "the pool has one place"

    operator.instance.event_log_storage.set_concurrency_slots(POOL, len(CATEGORIES))
    operator.wait_for(
        "both at work", lambda: set(operator.statuses(wave)) <= {"STARTED", "SUCCESS"}
    )
    operator.cluster.let_go()
    operator.wait_for_summary(wave)
    assert operator.statuses(wave) == ["SUCCESS"] * len(CATEGORIES)
    made = operator.verified()
    assert {host for host, _ in made.values()} >= {"node-1", "node-2"}
    for category in CATEGORIES:
        assert len({made[f"{asset}/{category}"][0] for asset in BY_CATEGORY}) == 1
    assert set(operator.staleness().values()) == {"FRESH"}
    assert operator.summaries(wave) == ["SUCCESS"]


def test_rays_list_of_jobs_shows_no_secret_and_no_folder_of_the_head(operator: Operator) -> None:
    shown = operator.jobs()
    assert "DAGSTER_POSTGRES_PASSWORD" in shown, "by name"
    cluster = operator.cluster
    for secret in (*cluster.secrets.values(), cluster.token):
        assert secret not in shown
    assert str(cluster.home) not in shown
    assert str(cluster.head.environment["DAGSTER_LOCAL_DIR"]) not in shown


def test_runs_of_killed_nodes_go_on_elsewhere_and_the_wave_has_one_summary(
    operator: Operator,
) -> None:
    cluster, (first, second) = operator.cluster, CATEGORIES
    operator.instance.event_log_storage.set_concurrency_slots(POOL, len(CATEGORIES))
    between_steps = Hold("PUT", [f"/memory_bank/{first}/"])
    uploading = Hold("PUT", [f"/memory_bank/{second}/", "features.npy"])
    cluster.hold(between_steps, uploading)
    runs = operator.launch_wave("killed")
    operator.wait_for("both at work", lambda: between_steps.seen and uploading.seen)
    hosts = {}
    for category, run in runs.items():
        made = cluster.sidecar(f"raw_embeddings/{category}")
        assert made["run_id"] == run
        hosts[category] = made["host"]
    assert sorted(hosts.values()) == ["node-1", "node-2"]

    cluster.machines[hosts[first]].kill()
    operator.wait_for("the run's end", lambda: operator.run(runs[first]).is_finished)
    operator.wait_for(
        "its retry", lambda: operator.last_try(runs[first]).status.value == "STARTING"
    )
    # Ray may have put the retry behind the other run, so that it is lost before it has started.
    cluster.machines[hosts[second]].kill()
    operator.wait_for("the other run's end", lambda: operator.run(runs[second]).is_finished)
    cluster.let_go()
    for host in hosts.values():
        cluster.start_node(host)
    operator.wait_for_summary("killed")

    statuses = operator.statuses("killed")
    assert statuses[:2] == ["FAILURE", "FAILURE"]
    assert sorted(statuses[2:]) in (["SUCCESS"] * 2, ["FAILURE", "SUCCESS", "SUCCESS"])
    for category, run in runs.items():
        assert operator.run(run).tags["dagster/will_retry"] == "true"
        retries = [retry.run_id for retry in operator.retries_of(run)]
        # What was finished stays, also by a retry that was lost later; each begins with the step
        # that was at work.
        assert cluster.sidecar(f"raw_embeddings/{category}")["run_id"] == run
        assert cluster.sidecar(f"memory_bank/{category}")["run_id"] in retries
        assert cluster.sidecar(f"model/{category}")["run_id"] == retries[-1]
    operator.verified()
    assert set(operator.staleness().values()) == {"FRESH"}
    assert operator.summaries("killed") == ["SUCCESS"]


def test_a_cancelled_run_is_cancelled_and_not_tried_again(operator: Operator) -> None:
    held = Hold("PUT", ["/memory_bank/"])
    operator.cluster.hold(held)
    run = operator.launch(CATEGORIES[0])
    operator.wait_for("the run at work", lambda: held.seen)
    operator.cancel(run)
    operator.wait_for("its end", lambda: operator.run(run).is_finished)
    operator.cluster.let_go()
    assert operator.run(run).status.value == "CANCELED"

    after = operator.launch(CATEGORIES[0])
    operator.wait_for("its place to be free", lambda: operator.run(after).status.value == "STARTED")
    assert operator.retry_of(run) is None
    assert not operator.run(run).is_complete_and_waiting_to_retry
    operator.cancel(after)
    operator.wait_for("its end", lambda: operator.run(after).is_finished)


def test_a_node_with_another_configuration_refuses_once_and_changes_nothing(
    operator: Operator,
) -> None:
    cluster, node = operator.cluster, operator.cluster.machines["node-1"]
    before = operator.verified()
    node.kill()
    other = cluster.configuration(node.folder / "benchmark.yaml", coreset={"percentage": 0.5})
    cluster.start_node("node-1", PATCHCORE_CONFIG=str(other))
    on_that_node = json.dumps({"num_cpus": 1, "resources": {"node-1": 1}})
    run = operator.launch(CATEGORIES[0], {"dagster-ray/config": on_that_node})
    # Ray may still send it to the killed node; then it goes on as any run that was lost.
    operator.wait_for("its end", lambda: operator.has_ended(operator.last_try(run)))
    refused = operator.last_try(run)
    assert refused.status.value == "FAILURE"
    [sentence] = operator.failures(refused.run_id)
    assert sentence.startswith(f"{other}: ")
    assert "are not those that the run was launched with" in sentence
    assert refused.tags["dagster/will_retry"] == "false"
    assert operator.verified() == before
    # So the automation finds nothing to rebuild.
    assert set(operator.staleness().values()) == {"FRESH"}
