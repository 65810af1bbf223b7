"""own_data.md: three exports from `init` to a lookup, by the page's settings and commands."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from batch_predictions.sources.example_exports.shop import DRAFTS, sku
from batch_predictions_tests.worlds.retail_fixtures import environment, run_command, run_json

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "own_data.md"
DECIDED = {"A shop's orders": {"timezone": "America/New_York"}}
"""What the reader adds to the settings that `init --check` writes."""


@dataclass(frozen=True)
class Export:
    """An export in a folder, the page's section about it, and the results of its commands."""

    folder: Path
    env: dict[str, str]
    settings: dict[str, Any]
    proposed: dict[str, Any]
    questions: str
    report: dict[str, Any]
    summary: dict[str, Any]
    answers: dict[str, dict[str, Any]]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the home's warehouse."""
        with duckdb.connect(str(self.folder / "home" / "warehouse.duckdb"), read_only=True) as db:
            return db.execute(sql).fetchall()


def section_of(heading: str) -> str:
    """The text of a section of the page."""
    [text] = re.findall(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S
    )
    return str(text)


def run_section(heading: str, folder: Path) -> Export:
    """Follows a section: init, the page's settings, check-source, run, lookups."""
    text = section_of(heading)
    [block] = re.findall(r"```yaml\n(.*?)```", text, re.S)
    commands = [
        shlex.split(line) for line in re.findall(r"^\$ batch-predictions (.*)$", text, re.M)
    ]
    init, check, run, *lookups = commands
    env = environment(folder / "home", folder / "export")
    env = {name: value for name, value in env.items() if "SOURCE__" not in name}
    # Fewer candidates: which model serves is no concern of the page.
    env["BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE"] = "false"
    env["BATCH_PREDICTIONS_SENTIMENT__CANDIDATES"] = '["nb_lr"]'
    env["BATCH_PREDICTIONS_DEMAND__CANDIDATES"] = '["linear_regression"]'
    questions = run_command(*init, env=env, cwd=folder).stdout
    settings_file = folder / "batch_predictions.yaml"
    proposed = yaml.safe_load(settings_file.read_text("utf-8"))["source"]
    settings_file.write_text(block, "utf-8")
    assert check == ["check-source"] and run == ["run"]
    report = run_json(*check, env=env, cwd=folder)
    summary = run_json(*run, env=env, cwd=folder)
    answers = {" ".join(words): run_json(*words, env=env, cwd=folder) for words in lookups}
    settings = yaml.safe_load(block)["source"]
    return Export(folder, env, settings, proposed, questions, report, summary, answers)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run_section("A shop's orders", tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run_section("A click stream", tmp_path_factory.mktemp("clicks"))


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run_section("An app's reviews", tmp_path_factory.mktemp("apps"))


def squeezed(settings: Any) -> Any:
    """Settings as JSON, with single blanks in texts."""
    return json.loads(re.sub(r"\s+", " ", json.dumps(settings)))


@pytest.mark.parametrize("name", ["shop", "clicks", "apps"])
def test_init_proposes_the_settings_of_the_page(name: str, request: pytest.FixtureRequest) -> None:
    export: Export = request.getfixturevalue(name)
    decided = DECIDED["A shop's orders"] if name == "shop" else {}
    assert squeezed(export.proposed | decided) == squeezed(export.settings)
    assert export.report["ok"] and export.report["unread_files"] == []
    [*_, newest] = [table["newest_day"] for table in export.report["tables"] if table["newest_day"]]
    assert newest >= "2026-03-14"


def test_the_shops_questions_are_those_of_the_page(shop: Export) -> None:
    for question in ("-0500", "'Financial Status' are sales", "price of one unit", "another case"):
        assert question in shop.questions
    assert "filled on one line of each order" in shop.questions


def test_sums_of_the_shop_equal_a_hand_written_query(shop: Export) -> None:
    [expected] = duckdb.execute(
        f"""with orders as (
            select max("Financial Status") as state, count(*) as lines,
                sum("Lineitem quantity" * "Lineitem price") - max("Discount Amount")
                - max("Refunded Amount") as paid, sum("Lineitem quantity") as units,
                lower(any_value("Email")) as customer
            from read_csv('{shop.folder}/export/orders_export_*.csv') group by "Name")
        select sum(lines)::BIGINT, round(sum(paid), 2)::DOUBLE, sum(units)::DOUBLE,
            count(distinct customer)
        from orders where state in ('paid', 'partially_refunded')"""
    ).fetchall()
    assert [expected] == shop.rows(
        "select count(*), round(sum(amount), 2), sum(quantity), count(distinct user_id) "
        "from raw.interactions"
    )
    for sums in (shop.summary["sums"], shop.report["tables"][0]["sums"]):
        total = (sums["interactions"] if isinstance(sums, dict) else sums)[-1]
        found = [total["rows"], round(total["amount"], 2), total["units"], total["customers"]]
        assert found == list(expected)
    assert f"{expected[1]:,.2f}" in shop.questions
    days = shop.rows("select min(date)::VARCHAR, max(date)::VARCHAR from raw.interactions")
    assert days == [("2026-01-05", "2026-03-15")]


def test_the_shop_recommends_no_draft_and_knows_its_customers(shop: Export) -> None:
    drafts = [sku(number) for number in range(DRAFTS)]
    offered = {
        item for (item,) in shop.rows("select distinct item_id from predictions.recommendations")
    }
    assert offered and not offered & {*drafts}
    personal = shop.answers["lookup recommendations customer30@example.com"]
    assert personal["source"] == "personal" and personal["items"][0]["title"].startswith("Product")
    # The address is the same customer in any case.
    upper = run_json(
        "lookup", "recommendations", "CUSTOMER30@example.com", env=shop.env, cwd=shop.folder
    )
    assert upper["items"] == personal["items"]
    [new] = [answer for words, answer in shop.answers.items() if "someone-new" in words]
    assert new["source"] == "demographic"
    brackets = {row[0] for row in shop.rows("select distinct age_bracket from raw.users")}
    assert {"65+", "35-44", "25-34"} <= brackets
    assert shop.rows("select distinct gender from raw.users order by 1") == [("female",), ("male",)]
    [(price,)] = shop.rows("select max(price) from raw.items")
    assert price == pytest.approx(4.9 + 59 * 19.35)


def test_purchases_of_the_click_stream_are_counted_and_views_bar_nothing(clicks: Export) -> None:
    expected = duckdb.execute(
        f"""select event_name, count(*) from
        read_parquet('{clicks.folder}/export/events/*/*.parquet')
        where product is not null group by 1 order by 1"""
    ).fetchall()
    names = {"page_view": "view", "add_to_cart": "cart"}
    expected = sorted((names.get(name, name), count) for name, count in expected)
    found = clicks.rows("select event_type, count(*) from raw.interactions group by 1 order by 1")
    assert found == expected
    assert any("item_id is empty" in line for line in clicks.summary["left_out"])
    seen = """select count(*) from predictions.recommendations r join (
        select distinct user_id, item_id from raw.interactions where event_type = '{}') e
        on e.user_id = r.user_id and e.item_id = r.item_id"""
    assert clicks.rows(seen.format("purchase")) == [(0,)]
    [(viewed,)] = clicks.rows(seen.format("view"))
    assert viewed > 0
    purchases = clicks.rows(
        "select sum(list_sum(units)) from features.demand where level = 'category'"
    )
    assert purchases == [(float(dict(expected)["purchase"]),)]


def test_both_languages_of_the_apps_are_scored(apps: Export) -> None:
    languages = apps.rows(
        "select language, count(*) > 10 from predictions.review_sentiments group by 1 order by 1"
    )
    assert languages == [("de", True), ("en", True)]
    texts = [text for (text,) in apps.rows("select text from raw.reviews where text like '%more%'")]
    assert texts and all(text.endswith("& more") and "<" not in text for text in texts)
    assert any("\U0001f600" in text for (text,) in apps.rows("select text from raw.reviews"))
    [count] = [
        line for line in apps.summary["left_out"] if line.startswith("60 of 1,200 rows of reviews")
    ]
    assert "text is empty" in count
    answer = apps.answers["lookup sentiment app-1"]
    assert answer["sentiment"]["reviews"] > 5 and answer["aspects"]
