"""The page of the service in a real browser: an image in, a verdict out."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit import Benchmarked
from PIL import Image
from service_kit import Service, copy_of, serving

from patchcore_ops.model import Model
from patchcore_ops.service.settings import ServiceSettings

DESKTOP, PHONE = (1360, 900), (390, 844)


@pytest.fixture(scope="module")
def models(single: Benchmarked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    single.assemble(folder / "fabric_a")
    copy_of(folder / "fabric_a", folder / "fabric_b", 0.05)
    return folder


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[Service]:
    with serving(ServiceSettings(models)) as running:
        yield running


@pytest.fixture
def opened(page: Any, service: Service) -> Any:
    page.goto(service.url)
    page.locator("#choice").wait_for()
    return page


def choose(page: Any, file: Path) -> None:
    page.locator("#file").set_input_files(file)
    page.locator("#result").wait_for()


def test_an_image_gets_its_verdict(
    opened: Any, service: Service, single: Benchmarked, models: Path
) -> None:
    requests: list[str] = []
    complaints: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.reload()
    defective, good = single.images[-1], single.images[0]
    choose(opened, defective)
    [expected] = Model.load(models / "fabric_a").predict(defective)
    assert opened.locator("#verdict").inner_text() == "✗ Anomaly"
    figures = opened.locator("#figures").inner_text()
    assert f"{expected.p_value:.4g}"[:5] in figures
    rows = opened.locator("#regions tbody tr")
    assert rows.count() == len(expected.regions) > 0
    left, top, _, _ = expected.regions[0].box
    assert rows.first.locator("td").first.inner_text() == f"{left}, {top}"
    assert opened.locator("#boxes rect").count() == len(expected.regions)
    assert opened.locator("#chart .bar").count() > 0
    # The image and its heat map are drawn, one over the other.
    for picture in ("#image", "#heat"):
        assert opened.locator(picture).evaluate("(one) => one.naturalWidth") > 0
    assert opened.locator("#image").bounding_box() == opened.locator("#heat").bounding_box()
    choose(opened, good)
    opened.get_by_text("✓ Normal").wait_for()
    assert complaints == []
    foreign = [url for url in requests if not url.startswith((service.url, "data:", "blob:"))]
    assert foreign == []


def test_it_is_used_by_keyboard(opened: Any, single: Benchmarked) -> None:
    # From the start: one key after it, the browser may still open a dialog of its own.
    opened.on("filechooser", lambda _: None)
    focused = "document.activeElement.id"
    order = []
    for _ in range(4):
        opened.keyboard.press("Tab")
        order.append(
            opened.evaluate(focused) or opened.evaluate("document.activeElement.className")
        )
    assert order[:3] == ["skip", "category", "file"]
    opened.locator("#file").focus()
    outline = "getComputedStyle(document.querySelector('label[for=file]')).outlineStyle"
    opened.keyboard.press("Shift+Tab")
    opened.keyboard.press("Tab")
    assert opened.evaluate(outline) == "solid"
    with opened.expect_file_chooser() as chooser:
        opened.keyboard.press("Space")
    chooser.value.set_files(single.images[-1])
    opened.locator("#result").wait_for()
    assert opened.evaluate(focused) == "verdict"
    opened.locator("#opacity").focus()
    opened.keyboard.press("Home")
    assert opened.locator("#heat").evaluate("(one) => one.style.opacity") == "0"
    assert opened.locator("#opacity-value").inner_text() == "0 %"
    opened.locator("#show-boxes").focus()
    opened.keyboard.press("Space")
    assert not opened.locator("#boxes").is_visible()


def test_another_category_scores_the_image_again(opened: Any, single: Benchmarked) -> None:
    choose(opened, single.images[0])
    before = opened.locator("#figures .small").inner_text()
    assert "(1 % was asked for" in opened.locator("#about-model").inner_text()
    opened.locator("#category").select_option("fabric_b")
    assert "(5 % was asked for" in opened.locator("#about-model").inner_text()
    opened.wait_for_function(
        "(before) => document.querySelector('#figures .small').innerText !== before", arg=before
    )


def test_an_image_is_dropped_or_pasted(opened: Any, single: Benchmarked) -> None:
    for kind in ("drop", "paste"):
        opened.reload()
        opened.locator("#choice").wait_for()
        opened.evaluate(
            """([kind, bytes]) => {
              const data = new DataTransfer();
              const content = new Uint8Array(bytes);
              data.items.add(new File([content], `${kind}.png`, { type: "image/png" }));
              const options = { bubbles: true, cancelable: true };
              const event = kind === "drop"
                ? new DragEvent("drop", { ...options, dataTransfer: data })
                : new ClipboardEvent("paste", { ...options, clipboardData: data });
              document.getElementById("drop").dispatchEvent(event);
            }""",
            [kind, list(single.images[0].read_bytes())],
        )
        opened.locator("#result").wait_for()
        assert opened.locator("#file-name").inner_text() == f"{kind}.png"


def test_what_is_no_image_is_said(opened: Any, single: Benchmarked, tmp_path: Path) -> None:
    choose(opened, single.images[0])
    words = tmp_path / "<b>words.png"
    words.write_text("no image")
    opened.locator("#file").set_input_files(words)
    problem = opened.get_by_role("alert")
    problem.wait_for()
    assert problem.inner_text().startswith("<b>words.png: is none of PNG, JPEG, BMP, TIFF and WebP")
    assert opened.locator("#result").is_hidden()


def test_a_format_that_the_browser_cannot_show_is_scored(opened: Any, tmp_path: Path) -> None:
    file = tmp_path / "image.tif"
    Image.fromarray(np.full((64, 64), 900, dtype=np.uint16)).save(file)
    choose(opened, file)
    opened.locator("#not-shown").wait_for()
    assert opened.locator("#heat").is_visible()


def test_an_image_is_shown_as_the_model_sees_it(
    opened: Any, single: Benchmarked, tmp_path: Path
) -> None:
    """Phones store how to turn an image; the model does not turn it, so the page must not."""
    file = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    halves = np.zeros((80, 120, 3), dtype=np.uint8)
    halves[:, :60, 0] = halves[:, 60:, 2] = 255
    Image.fromarray(halves).save(file, exif=exif)
    choose(opened, file)
    opened.locator("#heat").evaluate("(one) => { one.style.opacity = 0; }")
    opened.locator("#show-boxes").uncheck()
    shown = np.asarray(Image.open(io.BytesIO(opened.locator("#stack").screenshot())).convert("RGB"))
    rows, columns, _ = shown.shape
    assert columns > rows
    for across, colour in ((0.25, (255, 0, 0)), (0.75, (0, 0, 255))):
        for down in (0.25, 0.75):
            assert tuple(shown[int(down * rows), int(across * columns)]) == colour


def test_a_token_is_asked_for_and_kept_in_the_tab(page: Any, models: Path) -> None:
    with serving(ServiceSettings(models, token="sesame")) as service:
        page.goto(service.url)
        field = page.get_by_label("This service asks for a token")
        field.wait_for()
        assert page.locator("#choice").is_hidden()
        field.fill("open")
        page.keyboard.press("Enter")
        page.get_by_text("The service does not know this token.").wait_for()
        field.fill("sesame")
        page.keyboard.press("Enter")
        page.locator("#choice").wait_for()
        page.reload()
        page.locator("#choice").wait_for()
        assert page.locator("#token-form").is_hidden()
        assert page.evaluate("localStorage.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_violation_of_accessibility_rules(
    chromium: Any,
    service: Service,
    single: Benchmarked,
    screenshot: Any,
    size: tuple[int, int],
    scheme: str,
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason='the accessibility check needs: pip install -e ".[dev]"',
    ).Axe()
    context = chromium.new_context(
        viewport=dict(zip(("width", "height"), size, strict=True)),
        color_scheme=scheme,
        has_touch=size == PHONE,
        is_mobile=size == PHONE,
    )
    try:
        page = context.new_page()
        device = "phone" if size == PHONE else "desktop"
        for path, name in (("/docs", "docs"), ("/", "start"), ("", "result")):
            if path:
                page.goto(service.url + path)
                page.wait_for_load_state("networkidle")
            else:
                choose(page, single.images[-1])
            results = axe.run(page)
            assert results.violations_count == 0, f"{name}:\n{results.generate_report()}"
            passed = {rule["id"] for rule in results.response["passes"]}
            assert "color-contrast" in passed, "rules were not applied"
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
            page.evaluate("window.scrollTo(0, 0)")
            screenshot(page, f"service-{name}-{device}-{scheme}")
        if size == PHONE:
            assert page.get_by_text("Take a photo").is_visible()
            for control in page.locator("button:visible, .button:visible, select").all():
                assert control.bounding_box()["height"] >= 44
    finally:
        context.close()
