"""Waves on two nodes that share PostgreSQL, a bucket and the images; and what may go wrong."""

from __future__ import annotations

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
