"""Pages of queries: settings and module give the same query, their names are those of the code."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_predictions.features.history.event_measures import HISTORY_DAYS
from batch_predictions.features.history.history_sql import POPULAR_VALUES, History
from batch_predictions.features.history.query_labels import check_query
from batch_predictions.models.queries.candidate_trainer import MIN_EXAMPLES, MIN_TESTED
from batch_predictions.models.queries.query_candidates import query_candidates
from batch_predictions.models.queries.query_examples import FIT_DAYS, MAX_EXAMPLES, MIN_HISTORY
from batch_predictions.models.queries.query_metrics import gate_metric
from batch_predictions.planning.declarations import load_declarations, queries_of
from batch_predictions.predictions.query_predictions import query_table
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import ENTITY_COLUMNS, PredictiveQuery, Target
from batch_predictions.tables import TABLES
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.plugin_packages import documented_module

EXPLANATION = "explanation/queries.md"
TEXT = (ROOT / "docs" / EXPLANATION).read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorials" / "own_prediction.md").read_text(encoding="utf-8")
FIGURES = (ROOT / "docs" / "figures" / "queries.md").read_text(encoding="utf-8")
[SETTINGS] = re.findall(r"```yaml\n(.*?)```", TUTORIAL, re.DOTALL)
KINDS = {
    "expected value": ["sum(amount) of purchase for user in 28 days"],
    "comparison": ["count(*) > 0 of purchase for user in 14 days"],
    "`first`": ["first(date) of purchase for user in 14 days"],
    "`top`": ["top(5, category) of purchase for user in 14 days"],
}


def queries(kind: str) -> list[PredictiveQuery]:
    return [PredictiveQuery.from_question(text) for text in KINDS[kind]]


def cells(title: str, kind: str) -> list[str]:
    """The cells of a kind of target, of the table whose heading has a title."""
    table = next(part for part in TEXT.split("\n\n") if part.startswith("| kind") and title in part)
    row = next(line for line in table.splitlines() if line.startswith(f"| {kind} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_settings_module_and_questions_are_one_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Settings.model_validate({"home": tmp_path, **yaml.safe_load(SETTINGS)}).predictions
    asked = re.findall(r"batch-predictions ask (.*)", TUTORIAL)
    for line, query in zip(asked, written.values(), strict=True):
        assert PredictiveQuery.from_question(shlex.split(line)[0], query.name) == query
    load_declarations(Settings(home=tmp_path, predictions=written))
    assert {f"predictions.{name}" for name in written} | {"features.user_history"} <= {*TABLES}
    (tmp_path / "queries_of_the_page.py").write_text(
        documented_module(EXPLANATION), encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = Settings(home=tmp_path, plugins=["queries_of_the_page"])
    load_declarations(settings)
    assert queries_of(settings) == (written["buys_coffee"],)


def test_every_part_of_a_query_is_explained() -> None:
    row = r"^\| ((?:`\w+`(?:, )?)+) \|"
    parts = re.findall(r"`(\w+)`", "".join(re.findall(row, TEXT, re.MULTILINE)))
    query = queries("expected value")[0].model_dump(by_alias=True, exclude={"name"})
    assert {*query} <= {*parts}
    [targets, sources] = re.findall(r"^\| `(?:predict|for)` \| (.*) \|$", TEXT, re.MULTILINE)
    for text in ("sum", "avg", "min", "max", "count(*)", "count(distinct", "first(date)", "top(5"):
        assert text in targets
    assert Target.parse("top(5, category)").k == 5
    assert all(f"`{word}`" in sources for word in ENTITY_COLUMNS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_columns_are_those_of_the_tables(kind: str) -> None:
    _, text = cells("columns", kind)
    common = {"date", "user_id", "reason", "model_version"}
    for query in queries(kind):
        columns = {column.name for column in query_table(query).columns}
        assert columns - common == {*re.findall(r"`(\w+)`", text)}, query


@pytest.mark.parametrize("kind", ["expected value", "comparison"])
def test_baselines_candidates_and_the_metric_are_those_of_the_code(kind: str) -> None:
    _, baselines, candidates, metrics = cells("baselines", kind)
    [query] = queries(kind)
    found: dict[bool, set[str]] = {True: set(), False: set()}
    history = History.of((query,), ())
    for is_never_negative in (True, False):
        for candidate in query_candidates(
            query,
            [*history.features()],
            7,
            is_never_negative=is_never_negative,
            intervals=0,
        ):
            found[candidate.is_baseline].add(candidate.name)
        metric, _ = gate_metric(query, is_never_negative=is_never_negative)
        assert f"`{metric}`" in metrics
    assert {*re.findall(r"`(\w+)`", baselines)} == found[True]
    assert {*re.findall(r"`(\w+)`", candidates)} - found[True] == found[False]


def test_the_first_baseline_and_the_metric_of_other_kinds() -> None:
    for kind, metric in (("`first`", "log_loss"), ("`top`", "ndcg")):
        [query] = queries(kind)
        assert gate_metric(query, is_never_negative=True)[0] == metric
        assert f"`{metric}`" in cells("baselines", kind)[3]
    names = [*History.of(tuple(queries("`top`")), ()).features()]
    top = query_candidates(queries("`top`")[0], names, 7, is_never_negative=True, intervals=0)
    assert top[0].name == "popularity"


def test_its_numbers_are_those_of_the_code() -> None:
    assert (HISTORY_DAYS, FIT_DAYS, MIN_HISTORY) == (364, 8, 28)
    assert (POPULAR_VALUES, MAX_EXAMPLES) == (12, 30_000)
    assert (MIN_TESTED, MIN_EXAMPLES) == (20, 5)
    for text in ("up to 364 days", "eight for fitting", "12 most frequent", "30,000 entities a"):
        assert text in TEXT
    assert f"Three windows and {MIN_HISTORY} days" in TEXT and "112 days for `days: 28`" in TEXT
    assert "fewer than 20" in TEXT and "fewer than 5" in TEXT


def test_the_condition_of_the_page_binds() -> None:
    where = "item_attributes['size'] = 'L' and user_location = 'x' and brand = 'y' and price > 1"
    query = PredictiveQuery.from_question(
        f"sum(amount) of purchase where {where} for user in 7 days among purchase_events_91d > 0"
    )
    check_query(query, History.of((query,), ("purchase",)))


def test_the_benchmark_takes_the_arguments_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "query_quality.py"))
    commands = re.findall(r"benchmarks/query_quality\.py ((?:.*\\\n)*.*)", FIGURES)
    assert commands
    parsed: list[Any] = []
    parse = argparse.ArgumentParser.parse_args

    class ParsedError(Exception):
        """Ends the program where it has read its arguments."""

    def record(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        parsed.append(parse(self, args, namespace))
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", record)
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "), comments=True)
        monkeypatch.setattr("sys.argv", ["query_quality.py", *words])
        with pytest.raises(ParsedError):
            benchmark["main"]()
    texts = [*benchmark["QUESTIONS"], *(text for args in parsed for text in args.questions)]
    for text in texts:
        query = PredictiveQuery.from_question(text)
        check_query(query, History.of((query,), ("purchase", "rating")))
        assert f"`{query.question}`" in FIGURES
