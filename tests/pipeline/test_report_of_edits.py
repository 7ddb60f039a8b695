"""The report tells the truth of each category: its settings, and what is gone, in its own place."""

from __future__ import annotations

import json
import re
import shutil

import pandas as pd
from bench_kit import Bench, card, page_text, shown_cards
from pipeline_kit import BY_CATEGORY, CATEGORY, OTHER, OVER_ALL, failures


def test_the_report_names_the_settings_of_its_figures(bench: Bench) -> None:
    bench.configure(coreset={"percentage": 0.5}, scoring={"anomaly_scorer_num_nn": 3})
    result = bench.run(*OVER_ALL)
    assert result.success, failures(result)
    page = bench.page()
    configuration = dict(re.findall(r'<tr><th scope="row">([^<]*)</th><td>([^<]*)</td></tr>', page))
    assert configuration["coreset.percentage"] == "0.1"
    assert configuration["scoring.anomaly_scorer_num_nn"] == "1"
    notice = "Made with other settings than the configuration has now: coreset.percentage 0.1 (now "
    assert page.count(notice) == 2, "one for each category"
    assert page.count("made with other settings: coreset.percentage 0.1 (now 0.5)") == 2
    assert "Mean over categories with different settings" not in page
    [check] = [
        one
        for one in result.get_asset_check_evaluations()
        if one.check_name == "settings_are_those_of_now"
    ]
    assert not check.passed

    bench.make(*BY_CATEGORY)
    bench.make(*OVER_ALL)
    assert (
        f"Mean over categories with different settings: coreset.percentage is 0.5 for {CATEGORY}, "
        f"0.1 for {OTHER}; scoring.anomaly_scorer_num_nn is 3 for {CATEGORY}, 1 for {OTHER}."
    ) in page_text(bench.page())


def test_table_and_report_say_which_figures_an_earlier_release_made(bench: Bench) -> None:
    bench.make(*OVER_ALL)
    notes = bench.storage / "metrics/notes.txt"
    assert "releases" not in notes.read_text(encoding="utf-8")

    sidecar = bench.storage / "category_metrics" / OTHER / "artefact.json"
    content = json.loads(sidecar.read_text(encoding="utf-8"))
    now = content["provenance"]["code_version"]
    content["provenance"]["code_version"] = "1"
    sidecar.write_text(json.dumps(content), encoding="utf-8")
    bench.make(*OVER_ALL)
    said = (
        "Mean over categories made by different releases, whose figures need not be comparable: "
        f"code of category_metrics is {now} for {CATEGORY}, 1 for {OTHER}; benchmark the earlier "
        "ones again"
    )
    assert said in notes.read_text(encoding="utf-8")
    assert said in page_text(bench.page())


def test_what_is_gone_costs_its_own_place_in_the_report(bench: Bench) -> None:
    gone = bench.dataset / CATEGORY / "test/good/000.png"
    gone.unlink()
    changed = bench.dataset / CATEGORY / "test/good/001.png"
    changed.write_bytes((bench.dataset / OTHER / "test/good/001.png").read_bytes())
    shutil.rmtree(bench.dataset / OTHER)
    bench.make(*OVER_ALL)
    page = bench.page()
    assert card(page, CATEGORY, "good/000.png").count("this image is gone") == 1
    assert "this image has changed since it was scored" in card(page, CATEGORY, "good/001.png")
    assert len(shown_cards(page, CATEGORY)) == len(bench.scores()) - 2
    assert page.count("this image is gone") == 1 + len(bench.scores()), "all of the other category"


def test_a_damaged_artefact_costs_its_own_section(bench: Bench) -> None:
    scores = bench.storage / "test_predictions" / OTHER / "scores.parquet"
    scores.write_bytes(b"damaged")
    bench.make(*OVER_ALL)
    page = bench.page()
    assert len(shown_cards(page, CATEGORY)) == len(bench.scores())
    assert f'<h2 id="category-2-{OTHER.replace("_", "-")}-title">{OTHER}</h2>' in page
    assert "the rest cannot be shown: scores.parquet (7 bytes instead of" in page
    table = pd.read_csv(bench.storage / "metrics/metrics.csv")
    assert table["category"].tolist() == [CATEGORY, OTHER, "Mean"]


def test_damaged_metrics_of_a_category_cost_its_own_row(bench: Bench) -> None:
    (bench.storage / "category_metrics" / OTHER / "metrics.json").write_text("{}")
    result = bench.run(*OVER_ALL)
    assert result.success, failures(result)
    table = pd.read_csv(bench.storage / "metrics/metrics.csv")
    assert table["category"].tolist() == [CATEGORY, "Mean"]
    [check] = [
        one
        for one in result.get_asset_check_evaluations()
        if one.check_name == "every_category_is_there"
    ]
    assert "metrics.json (2 bytes instead of" in str(check.description)


def test_a_category_made_anew_does_not_stand_beside_its_old_row(bench: Bench) -> None:
    bench.configure(scoring={"smoothing_sigma": 1.0})
    bench.make("test_predictions", "category_metrics")
    bench.make("benchmark_report")
    page = bench.page()
    assert "so they do not belong together; materialise metrics again" in page_text(page)
    assert len(shown_cards(page, OTHER)) == len(bench.scores())
