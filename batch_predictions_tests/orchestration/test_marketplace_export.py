"""A marketplace's export with merged customers, from `init --check` to a lookup, without a script.

The first run, and the one after merges were added and taken back, are compared with SQL over the
raw files.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from batch_predictions.sources.example_exports.marketplace import (
    market_customer,
    merged_customers,
    write_marketplace_export,
    write_merges,
)
from batch_predictions.tables import TABLES, user_columns
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.programs import run_python
from batch_predictions_tests.worlds.retail_fixtures import environment, run_command, run_json

pytestmark = pytest.mark.slow

NEW, TAKEN_BACK = market_customer(20), market_customer(1)
LATER = {
    **{old: new for old, new in merged_customers().items() if old != TAKEN_BACK},
    NEW: market_customer(60),
}
"""Merges of the second run: one is new, one is taken back."""
QUESTIONS = (
    "is bestellungen_*.csv written in cp1252?",
    "in which time zone is your business day?",
    "which states of 'Status' are sales? Proposed are bezahlt",
    "is 'Einzelpreis' the price of one unit?",
    "does 'Rabatt' lower what was paid? Proposed: it is spread over the lines of its order",
    "is 'Wechselkurs' what a unit of the line's currency is worth in yours?",
)
NUMBER = "replace(replace({}, '.', ''), ',', '.')::decimal(18, 4)"


@dataclass(frozen=True)
class Market:
    """The export, its home, and what the commands printed.

    Attributes:
        folder: of the export and the home.
        env: environment variables of the commands.
        questions: what `init --check` printed.
        report: of `check-source`.
        first: summary of the first run.
    """

    folder: Path
    env: dict[str, str]
    questions: str
    report: dict[str, Any]
    first: dict[str, Any]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the home's warehouse."""
        with duckdb.connect(str(self.folder / "home" / "warehouse.duckdb"), read_only=True) as db:
            return db.execute(sql).fetchall()

    def sales(self, merges: dict[str, str], select: str) -> list[tuple[Any, ...]]:
        """Rows of a query over `sales`, the sold lines of the raw files, by hand-written SQL."""
        with duckdb.connect() as db:
            db.execute("create table lines (number integer, line varchar[])")
            texts = sorted((self.folder / "export").glob("bestellungen_*.csv"))
            lines = [
                line.split(";")
                for path in texts
                for line in path.read_bytes().decode("cp1252").splitlines()[1:]
            ]
            db.executemany("insert into lines values (?, ?)", list(enumerate(lines)))
            db.execute("create table merges (alias varchar, customer varchar)")
            db.executemany("insert into merges values (?, ?)", list(merges.items()))
            price, rate, discount = (NUMBER.format(f"line[{n}]") for n in (7, 9, 10))
            db.execute(
                f"""create table sales as select
                    coalesce(m3.customer, m2.customer, m1.customer, line[4]) as customer,
                    line[4] as written, strptime(line[2], '%d.%m.%Y %H:%M')::date as day,
                    line[1] as number, line[6]::integer as units,
                    line[6]::integer * {price} as value, {rate} as rate,
                    case when line[10] <> '' then {discount} else 0 end as discount
                from lines left join merges m1 on m1.alias = line[4]
                left join merges m2 on m2.alias = m1.customer
                left join merges m3 on m3.alias = m2.customer
                where line[3] in ('bezahlt', 'versendet')"""
            )
            return db.execute(select).fetchall()

    def assert_sums(self, merges: dict[str, str]) -> list[Any]:
        """Asserts that raw.interactions has the sums of the files, and returns them."""
        [expected] = self.sales(
            merges,
            "select count(*), round(sum((value - discount) * rate), 2)::double, "
            "sum(units)::double, count(distinct customer) from sales",
        )
        assert [expected] == self.rows(
            "select count(*), round(sum(amount), 2), sum(quantity), count(distinct user_id) "
            "from raw.interactions"
        )
        found = self.rows("select user_id, count(*) from raw.interactions group by 1 order by 1")
        assert found == self.sales(
            merges, "select customer, count(*) from sales group by 1 order by 1"
        )
        return list(expected)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    folder = tmp_path_factory.mktemp("market")
    write_marketplace_export(folder / "export")
    env = environment(folder / "home", folder / "export")
    env = {name: value for name, value in env.items() if "SOURCE__" not in name}
    # Fewer candidates: which model serves is no concern of this test.
    env["BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE"] = "false"
    env["BATCH_PREDICTIONS_DEMAND__CANDIDATES"] = '["linear_regression"]'
    questions = run_command("init", "--path", "export", "--check", env=env, cwd=folder).stdout
    settings = folder / "batch_predictions.yaml"
    text = settings.read_text("utf-8")
    assert text.count("\n  path: export\n") == 1
    answered = text.replace("\n  path: export\n", "\n  path: export\n  timezone: Europe/Berlin\n")
    settings.write_text(answered, "utf-8")
    report = run_json("check-source", env=env, cwd=folder)
    return Market(folder, env, questions, report, run_json("run", env=env, cwd=folder))


def test_what_the_data_does_not_decide_is_asked(market: Market) -> None:
    for question in QUESTIONS:
        assert question in market.questions
    assert market.questions.count("please decide:") == 10
    assert market.report["ok"] and market.report["unread_files"] == []
    assert all("local times of Europe/Berlin" in text for text in market.report["questions"])
    tables = {table["table"]: table for table in market.report["tables"]}
    assert tables["user_aliases"]["accepted"] == len(merged_customers())
    assert tables["users"]["merged"] == 5
    assert all(table["refused"] == 0 for table in tables.values())


def test_sums_are_those_of_the_files(market: Market) -> None:
    expected = market.assert_sums(merged_customers())
    reported = [table["sums"] for table in market.report["tables"] if table["sums"]]
    for [*_, total] in (*reported, market.first["sums"]["interactions"]):
        found = [total["rows"], round(total["amount"], 2), total["units"], total["customers"]]
        assert found == expected
    assert f"{expected[1]:,.2f}" in market.questions
    titles = market.rows("select title, category, brand from raw.items order by item_id limit 1")
    assert titles == [("Töpfe Größe 0", "Küche", "Händler 0")]
    checked = run_python(
        str(ROOT.parents[0] / "shared" / "checks" / "contract.py"),
        str(market.folder / "home"),
        env=market.env,
        cwd=market.folder,
        check=False,
    )
    assert "0 broken" in checked.stdout or "No such file" in checked.stderr


def test_merged_customers_have_their_present_number_everywhere(market: Market) -> None:
    present = market.rows("select alias, user_id from raw.user_aliases order by 1")
    last = market_customer(9)
    chain = dict.fromkeys((market_customer(7), market_customer(8)), last)
    assert dict(present) == merged_customers() | chain
    users = [table for table in TABLES.values() if "user_id" in user_columns(table)]
    found = {}
    for table in users:
        where = "user_id in (select alias from raw.user_aliases)"
        found[table.qualified] = market.rows(
            f"select count(*), count(*) filter ({where}) from {table.qualified}"
        )[0]
    assert {name for name, (_, former) in found.items() if former} == set()
    with_rows = {name for name, (number, _) in found.items() if number}
    assert {"raw.users", "features.user_segments", "predictions.recommendations"} <= with_rows
    assert market.rows(f"select count(*) from raw.users where user_id = '{last}'") == [(1,)]
    answer = run_json("lookup", "recommendations", last, env=market.env, cwd=market.folder)
    assert answer["source"] == "personal"
    assert {item["title"].split()[0] for item in answer["items"]} <= {"Töpfe", "Gläser"}
    former = market_customer(7)
    answer = run_json("lookup", "recommendations", former, env=market.env, cwd=market.folder)
    assert answer["source"] != "personal"


def test_later_merges_correct_the_days_of_their_customers_and_nothing_is_due_after(
    market: Market,
) -> None:
    write_merges(market.folder / "export", LATER)
    days = market.sales(
        merged_customers(),
        "select distinct day::varchar from sales where "
        f"written = '{NEW}' or customer = '{merged_customers()[TAKEN_BACK]}' order by 1",
    )
    changed = market.sales(
        LATER,
        "select distinct day::varchar from sales where "
        f"written in ('{NEW}', '{TAKEN_BACK}') order by 1",
    )
    steps = run_json("run", "--dry-run", env=market.env, cwd=market.folder)
    planned = {step["name"]: step["partitions"] for step in steps if step["step"] == "ingest"}
    newest = [dt.date(2026, 3, 15).isoformat()]
    assert planned == {
        "raw.interactions": [day for (day,) in days],
        "raw.user_aliases": newest,
        "raw.users": newest,
    }
    second = run_json("run", env=market.env, cwd=market.folder)
    assert second["corrected"] == [day for (day,) in changed] and second["lost"] == []
    market.assert_sums(LATER)
    offered = {
        u for (u,) in market.rows("select distinct user_id from predictions.recommendations")
    }
    assert TAKEN_BACK in offered and NEW not in offered
    assert run_json("run", env=market.env, cwd=market.folder)["unchanged"]


def test_all_numbers_of_an_erased_customer_are_erased(market: Market) -> None:
    run_json("run", env=market.env, cwd=market.folder)
    run_json("erase-user", market_customer(8), env=market.env, cwd=market.folder)
    for number in (7, 8, 9):
        user = market_customer(number)
        assert market.rows(f"select * from raw.interactions where user_id = '{user}'") == []
        assert market.rows(f"select * from raw.user_aliases where alias = '{user}'") == []
    assert run_json("run", env=market.env, cwd=market.folder)["unchanged"]
