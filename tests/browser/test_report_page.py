"""The report in a real browser: keyboard, phone, colour schemes, accessibility, and no requests."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_samples import figures, make_category, make_gallery, make_metrics, make_report

from patchcore_ops.inspection.day_table import Figures
from patchcore_ops.metrics.category import METRICS
from patchcore_ops.report import ImageScores, Origin, published_baseline, render_report
from patchcore_ops.report.contents import InspectedDay

NAMES = ("bottle", "cable", "capsule", "screw")
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
DESKTOP, PHONE = (1360, 900), (390, 844)
BY_IMAGE_AUROC = "#summary thead tr:last-child th:nth-child(2)"


def sample_categories() -> list[Any]:
    rng = np.random.default_rng(0)
    is_anomaly = np.arange(60) % 3 > 0
    scores = ImageScores(
        np.where(is_anomaly, "crack", "good").tolist(),
        is_anomaly,
        np.where(is_anomaly, rng.normal(3, 0.7, 60), rng.normal(1.5, 0.4, 60)),
    )
    undefined = make_metrics(
        0.81,
        instance_auroc=math.nan,
        notes={"instance_auroc": "the test images are all normal or all defective"},
    )
    return [
        make_category(
            name,
            0.97 - 0.04 * at,
            scores=scores,
            gallery=make_gallery(12, side=192),
            metrics=undefined if name == "screw" else make_metrics(0.97 - 0.04 * at),
            origins=[
                Origin(
                    "image_manifest", "14ade2e38b96e77d", "71afc19b-cab3-4899-bdfa-bd49ab356adf"
                ),
                Origin("images", "738c9f52f7a32bdb"),
            ],
            provenance={"raw_embeddings.weights_sha256_0": 64 * "a"},
        )
        for at, name in enumerate(NAMES)
    ]


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "index.html"
    report = make_report(
        *sample_categories(),
        inspections=[
            InspectedDay("bottle", "2026-03-03", Figures(412, 3, 1, 0.4876)),
            InspectedDay("bottle", "2026-03-02", Figures(398, 0, 0, 0.5123)),
            InspectedDay("cable", "2026-03-03", Figures(0, None, 0, None)),
        ],
        missing=["zipper"],
        published=published_baseline(),
        previous=figures(bottle=0.96, cable=0.94),
    )
    file.write_text(render_report(report), encoding="utf-8")
    return file


@pytest.fixture
def report(page: Any, report_file: Path) -> Any:
    page.goto(report_file.as_uri())
    return page


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def styled(chromium: Any, report_file: Path, scheme: str, size: tuple[int, int]) -> Iterator[Any]:
    context = chromium.new_context(
        viewport=dict(zip(("width", "height"), size, strict=True)),
        color_scheme=scheme,
        has_touch=size == PHONE,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(report_file.as_uri())
    yield page
    context.close()


def first_column(page: Any) -> list[str]:
    return [name.strip() for name in page.locator("#summary tbody th").all_inner_texts()]


def focused(page: Any, attribute: str = "textContent") -> str:
    return str(page.evaluate(f"document.activeElement.{attribute} ?? ''")).strip()


def test_nothing_is_requested_and_nothing_is_refused(page: Any, report_file: Path) -> None:
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report_file.as_uri())
    page.locator(".enlarge").first.click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.locator("details > summary").first.click()
    page.mouse.wheel(0, 20_000)
    page.wait_for_load_state("networkidle")
    assert [url for url in requests if not url.startswith("data:")] == [report_file.as_uri()]
    assert complaints == []


def test_what_the_policy_forbids_does_not_happen(report: Any) -> None:
    outcome = report.evaluate(
        """() => new Promise((done) => {
          const image = new Image();
          document.addEventListener("securitypolicyviolation", (event) => done(event.blockedURI));
          image.src = "http://127.0.0.1:9/pixel.png";
        })"""
    )
    assert outcome == "http://127.0.0.1:9/pixel.png"


def test_no_violation_of_accessibility_rules(
    styled: Any, scheme: str, size: tuple[int, int], screenshot: Any
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason='the accessibility check needs: pip install -e ".[dev]"',
    ).Axe()
    styled.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    device = "phone" if size == PHONE else "desktop"
    screenshot(styled, f"report-{device}-{scheme}")
    for place, action in (
        ("page", lambda: None),
        ("viewer", styled.locator(".enlarge").first.click),
    ):
        action()
        results = axe.run(styled)
        assert results.violations_count == 0, f"{place}:\n{results.generate_report()}"
        passed = {rule["id"] for rule in results.response["passes"]}
        assert {"color-contrast", "button-name", "image-alt"} <= passed, "rules were not applied"
    screenshot(styled, f"report-viewer-{device}-{scheme}")


@pytest.mark.parametrize("width", [320, 390, 768])
def test_only_tables_scroll_sideways(report: Any, width: int, screenshot: Any) -> None:
    report.set_viewport_size({"width": width, "height": 844})
    report.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert report.evaluate("document.documentElement.scrollWidth") <= width
    report.evaluate("window.scrollTo(10_000, 0)")
    assert report.evaluate("window.scrollX") == 0
    table = report.locator("#summary .scroll")
    if width < 500:
        assert table.evaluate("(box) => box.scrollWidth > box.clientWidth")
        table.evaluate("(box) => { box.scrollLeft = 200; }")
        assert table.evaluate("(box) => box.scrollLeft") == 200
        name = report.locator("#summary tbody th").first.bounding_box()
        assert name["x"] >= 0, "the category's name stays in view"
    report.locator(".gallery").first.scroll_into_view_if_needed()
    screenshot(report, f"report-width-{width}")


def test_a_finger_hits_every_control(report: Any) -> None:
    report.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    controls = report.locator(".contents a, .filters button, .order select, .metrics thead button")
    for control in controls.all():
        box = control.bounding_box()
        if box is not None:
            assert box["height"] >= 24, control.inner_text()


def test_the_table_is_sorted_by_keyboard(report: Any) -> None:
    header = report.locator(BY_IMAGE_AUROC)
    header.locator("button").focus()
    report.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert first_column(report) == ["bottle", "cable", "capsule", "screw"]
    report.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "ascending"
    # Undefined values stay last.
    assert first_column(report) == ["capsule", "cable", "bottle", "screw"]
    assert report.locator("#summary tfoot th").inner_text() == "Mean"


def test_comparisons_can_be_switched(report: Any) -> None:
    shown = "#summary tbody .difference:visible"
    assert report.locator(shown).first.inner_text() == "−3.00"
    report.get_by_label("the previous wave").check()
    assert report.locator(shown).first.inner_text() == "+1.00"
    report.get_by_label("nothing").check()
    assert report.locator(shown).count() == 0


def test_gallery_is_filtered_and_sorted(report: Any) -> None:
    gallery = report.locator(".gallery").first
    visible = gallery.locator(".card:visible")
    assert visible.count() == 12
    gallery.locator("[data-filter=scratch]").click()
    assert set(visible.locator(".card-label").all_inner_texts()) == {"scratch"}
    assert gallery.get_by_role("status").inner_text() == "4 of 12 shown: scratch"
    assert gallery.locator("[aria-pressed=true]").inner_text().startswith("scratch")
    gallery.get_by_role("combobox").select_option("lowest")
    scores = [
        float(score)
        for score in visible.locator(".card-score").evaluate_all(
            "(all) => all.map((one) => one.lastChild.textContent)"
        )
    ]
    assert scores == sorted(scores)
    assert len(scores) == 4
    # The viewer pages through what is shown, in that order.
    visible.first.locator(".enlarge").click()
    assert report.locator("[data-viewer=position]").inner_text() == "1 of 4"
    assert report.locator(".gallery").nth(1).locator(".card:visible").count() == 12


def test_viewer_is_used_by_keyboard_and_gives_the_focus_back(report: Any) -> None:
    opener = report.locator(".enlarge").nth(1)
    opener.focus()
    report.keyboard.press("Enter")
    dialog = report.locator("#viewer")
    assert dialog.evaluate("(one) => one.open")
    assert dialog.evaluate("(one) => one.contains(document.activeElement)")
    first = dialog.locator("h2").inner_text()
    report.keyboard.press("ArrowRight")
    assert dialog.locator("h2").inner_text() != first
    assert dialog.locator("[data-viewer=position]").inner_text() == "3 of 12"
    for _ in range(12):
        report.keyboard.press("Tab")
        inside = report.evaluate(
            "document.activeElement === document.body"
            " || document.getElementById('viewer').contains(document.activeElement)"
        )
        assert inside, "the focus left the open viewer"
    report.keyboard.press("Escape")
    assert not dialog.evaluate("(one) => one.open")
    # Back to the image that was shown last.
    third = report.locator(".enlarge").nth(2).inner_text()
    assert focused(report) == third


def test_focus_goes_through_the_page_in_order_and_is_visible(report: Any) -> None:
    report.keyboard.press("Tab")
    assert focused(report) == "Skip to the results"
    assert report.locator(".skip").bounding_box()["y"] >= 0
    seen = 0
    for _ in range(60):
        before = report.evaluate_handle("document.activeElement")
        report.keyboard.press("Tab")
        state = report.evaluate(
            """(before) => {
              const now = document.activeElement;
              const style = getComputedStyle(now);
              const box = now.getBoundingClientRect();
              return {
                after: (before.compareDocumentPosition(now) & Node.DOCUMENT_POSITION_FOLLOWING) > 0,
                outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
                inView: box.bottom > 0 && box.top < innerHeight,
                what: now.outerHTML.slice(0, 120),
              };
            }""",
            before,
        )
        assert state["after"], state["what"]
        assert state["outlined"], state["what"]
        assert state["inView"], state["what"]
        seen += 1
    assert seen == 60


def test_skip_link_leads_to_the_results(report: Any) -> None:
    report.keyboard.press("Tab")
    report.keyboard.press("Enter")
    assert focused(report, "id") == "main"


def test_hostile_names_stay_text(page: Any, tmp_path: Path) -> None:
    item = dataclasses.replace(make_gallery(1)[0], name=f"{HOSTILE}/{HOSTILE}", label=HOSTILE)
    metrics = make_metrics(math.nan, notes=dict.fromkeys(METRICS, HOSTILE))
    category = make_category(
        HOSTILE,
        metrics=metrics,
        gallery=[item],
        config={HOSTILE: {HOSTILE: HOSTILE}},
        origins=[Origin(HOSTILE, HOSTILE, HOSTILE)],
        provenance={HOSTILE: HOSTILE},
    )
    report = make_report(
        category, title="Harmless", missing=[HOSTILE], provenance={HOSTILE: HOSTILE}
    )
    file = tmp_path / "hostile.html"
    file.write_text(render_report(report), encoding="utf-8")
    # Without the policy: escaping alone has to hold.
    context = page.context.browser.new_context(bypass_csp=True)
    try:
        other = context.new_page()
        other.goto(file.as_uri())
        other.locator(".enlarge").first.click()
        other.keyboard.press("Escape")
        other.locator(".filters button").last.click()
        assert other.locator("[role=status]").inner_text() == f"1 of 1 shown: {HOSTILE}"
        assert other.title() == "Harmless"
        assert other.locator("img[src='x']").count() == 0
        assert HOSTILE in other.locator("h2").all_inner_texts()
    finally:
        context.close()


def test_everything_is_there_without_scripts(chromium: Any, report_file: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report_file.as_uri())
    assert page.locator(".card").count() == 12 * len(NAMES)
    assert page.locator(".controls").first.is_hidden()
    assert page.locator(".enlarge").first.is_hidden()
    assert page.locator("#summary tbody tr").count() == len(NAMES)
    context.close()
