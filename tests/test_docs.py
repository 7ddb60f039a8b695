"""What the README and docs/ say exists, and all that they have to name is named there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from patchcore_assets.graph import define
from patchcore_assets.inputs.versions import inputs_of
from patchcore_assets.pools import CPU_HEAVY, GPU
from patchcore_ops.config import load_config
from patchcore_ops.config.load import Evaluated, Inbox
from patchcore_ops.config.sections import ConfigFile, ScheduleSection, TrackerSection

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
GUIDE = REPOSITORY / "docs" / "operating.md"
PAGES = [
    README,
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "deploy").glob("*/*.md")),
]
# One that asks for every asset there is.
CONFIG = replace(
    load_config(REPOSITORY / "configs" / "demo.yaml"),
    evaluation=Evaluated(Path("images"), None),
    inbox=Inbox("inbox", "2026-01-01", 0.0),
    tracking=(TrackerSection(kind="tensorboard"),),
)
MAX_PICTURE_BYTES = 150_000


@pytest.fixture(scope="module")
def guide() -> str:
    return GUIDE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return define(CONFIG)


def table(guide: str, first_heading: str, number_of_columns: int) -> list[list[str]]:
    """Return the cells of the table with such a heading, without the two lines of its head."""
    rows: list[list[str]] = []
    for line in guide.split(f"| {first_heading} |", 1)[1].splitlines()[2:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == number_of_columns, line
        rows.append(cells)
    return rows


def names(cell: str) -> list[str]:
    """Return what a cell has in backticks."""
    return re.findall("`([^`]+)`", cell)


def computed(definitions: dg.Definitions) -> list[dg.AssetsDefinition]:
    """Return the computed assets, in the order of the data."""
    return [one for one in definitions.assets or () if isinstance(one, dg.AssetsDefinition)]


def outcome(check: dg.AssetCheckSpec) -> str:
    """Say what a failure of a check means, in the guide's words."""
    if check.blocking:
        return "stops"
    configured = re.search(r"Fails or warns as\s+(`checks\.\w+`) says", check.description or "")
    return configured[1] if configured else "warns"


def test_every_check_is_in_the_table_with_what_its_failure_means(
    guide: str, definitions: dg.Definitions
) -> None:
    rows = table(guide, "asset | check | when it fails", 4)
    said = {}
    asset = ""
    for named_asset, check, when_it_fails, remedy in rows:
        asset = named_asset.strip("`") or asset
        assert remedy, check
        said[asset, check.strip("`")] = when_it_fails
    assert said == {
        (check.asset_key.to_user_string(), check.name): outcome(check)
        for asset in computed(definitions)
        for check in asset.check_specs
    }


def test_sensors_and_schedule_are_named_with_their_first_state(
    guide: str, definitions: dg.Definitions
) -> None:
    said = {
        name.strip("`"): (kind, at_first)
        for name, kind, at_first, _ in table(guide, "name | kind | at first", 4)
    }
    there = {}
    for kind, instigators in (
        ("sensor", definitions.sensors or ()),
        ("schedule", definitions.schedules or ()),
    ):
        for one in instigators:
            assert isinstance(one, dg.SensorDefinition | dg.ScheduleDefinition)
            there[one.name] = (kind, "on" if one.default_status.value == "RUNNING" else "off")
    assert said == there


def test_times_are_those_of_the_section_schedule(guide: str) -> None:
    defaults = ScheduleSection()
    assert defaults.cron == "0 3 * * 0"
    assert defaults.timezone == "UTC"
    assert "Sundays at 03:00 UTC" in guide
    assert f"every {defaults.seconds_between_looks} seconds" in guide
    for key in ScheduleSection.model_fields:
        assert f"`{key}`" in guide


def test_what_a_section_rebuilds_is_what_depends_on_its_input(
    definitions: dg.Definitions,
) -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = table(page, "section | input | rebuilt from here on", 3)
    said = {names(where)[0]: names(first) for _, where, first in rows if names(where)}
    depends = {
        dep.asset_key.to_user_string(): asset.key.to_user_string()
        for asset in reversed(computed(definitions))
        for dep in asset.get_asset_spec().deps
    }
    inputs = [one.key.to_user_string() for one in inputs_of(CONFIG)]
    assert said == {name: [depends[name]] for name in inputs}
    [_, without] = [names(sections) for sections, where, _ in rows if not names(where)]
    sections = {name.split(".")[0] for row in rows for name in names(row[0])}
    assert sections == set(ConfigFile.model_fields) - {"overrides"}
    observed = {key.removesuffix("_config") for key in said}
    assert set(without) == sections - observed - {"dataset", "evaluation", "preset"}


def keys(page: str) -> Iterator[tuple[str, str]]:
    """Yield what a page says in backticks that looks like `section.key` and is no file's name."""
    for section, key in re.findall(r"`([a-z]+)\.([a-z_]+)[`:]", page):
        if section in ConfigFile.model_fields and key not in {"csv", "html", "json"}:
            yield section, key


def test_every_configuration_key_exists() -> None:
    mentioned = {key for page in PAGES for key in keys(page.read_text(encoding="utf-8"))}
    assert ("checks", "regression_tolerance") in mentioned, "the pattern finds keys"
    for section, key in mentioned:
        assert key in model_of(ConfigFile.model_fields[section]).model_fields, f"{section}.{key}"


def test_every_key_is_in_the_table_of_settings_with_its_default() -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    said = {}
    for cell, default, _ in table(page, "key | default | meaning", 3):
        section, _, first = names(cell)[0].replace("[]", "").partition(".")
        values = default.split(", ")
        for key in (first, *names(cell)[1:]):
            said[section, key] = values.pop(0).strip("`")
    del said["overrides", "<category>.<section>.<key>"]
    assert said.pop(("preset", "")) == ConfigFile.model_fields["preset"].default
    there = {
        (section, key): field.default
        for section, one in ConfigFile.model_fields.items()
        if section not in ("overrides", "preset")
        for key, field in model_of(one).model_fields.items()
    }
    assert set(said) == set(there)
    in_words = {("embedding", "members"), ("storage", "cache"), ("tracking", "kind")}
    for place in set(said) - in_words:
        assert said[place] == shown(there[place]), place


def model_of(field: FieldInfo) -> type[BaseModel]:
    """Return the section of a field, or that of the items of a list."""
    section = field.annotation
    [one] = get_args(section) or [section]
    assert isinstance(one, type)
    assert issubclass(one, BaseModel)
    return one


def shown(default: object) -> str:
    """Write a default as the table does."""
    if isinstance(default, bool):
        return str(default).lower()
    return "none" if default in (None, "") else str(default)


def test_assets_jobs_and_pools_have_their_names(guide: str, definitions: dg.Definitions) -> None:
    assets = {asset.key.to_user_string() for asset in computed(definitions)}
    assert {asset for asset in assets if f"`{asset}`" in guide} == assets
    jobs = {job.name for job in definitions.jobs or ()}
    assert set(re.findall(r"`(\w+_job)`", guide)) <= jobs
    assert all(f"`{pool}`" in guide for pool in (GPU, CPU_HEAVY))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file = page.parent / target if target else page
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Return what links can name in a page: its headings, written as addresses."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_modules_of_the_repository_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:tests|patchcore_ops|patchcore_assets)/[\w/.]*\w", text):
        assert (REPOSITORY / name).exists(), name
    for module in re.findall(r"-m ((?:tests|benchmarks)[\w.]*)", text):
        place = REPOSITORY / module.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file(), module


def test_pictures_are_used_and_small() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (REPOSITORY / "docs" / "images").glob("*.png"):
        assert f"images/{picture.name}" in text, picture.name
        if picture.name.startswith("operating-"):
            assert picture.stat().st_size < MAX_PICTURE_BYTES, picture.name
