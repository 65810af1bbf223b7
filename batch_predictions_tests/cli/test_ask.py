"""`ask` answers a question on the raw days of a home, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.cli.commands.ask_command import settings_lines
from batch_predictions.core.home import State, write_state
from batch_predictions.settings import Settings, SettingsError
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions_tests.worlds.query_worlds import FIRST, LAST, purchases, query_warehouse

QUESTION = "count(*) > 0 of purchase for user in 7 days"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the purchases of 60 users."""
    folder = tmp_path / "home"
    rates = np.random.default_rng(1).choice([0.02, 0.3], 60)
    query_warehouse(folder, purchases(rates, 3))
    write_state(
        folder, State(source_kind="files", timezone="UTC", first_day=FIRST, default_date=FIRST)
    )
    return folder


def _ask(home: Path, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(make_app(), ["ask", *words, "--home", str(home)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def _files(folder: Path) -> dict[str, float]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.stat().st_mtime for path in files if "warehouse.views" not in path.name}


def test_the_answer_has_what_decides(home: Path, tmp_path: Path) -> None:
    before = _files(home)
    plot = tmp_path / "plot.png"
    answer = json.loads(_ask(home, QUESTION, "--json", "--plot", str(plot)))
    assert _files(home) == before
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert answer["question"] == QUESTION
    assert answer["through"] == LAST.isoformat()
    assert answer["metric"] == "log_loss"
    assert 0 < answer["positives"] < answer["rows"]
    assert {"base_rate", "linear", "lightgbm"} <= {row["candidate"] for row in answer["models"]}
    assert len(answer["features"]) == 10 == len(answer["calibration"])
    assert {"user_id", "predicted", "observed", "reason"} == {*answer["examples"][0]}
    # The lines to paste are settings, and the same question.
    [query] = Settings.model_validate(yaml.safe_load(answer["settings"])).predictions.values()
    assert query.question == QUESTION


def test_the_answer_is_printed_for_people(home: Path) -> None:
    output = _ask(home, QUESTION, "--through", "2024-06-20")
    for text in ("serves", "rows as of 2024-06-13", "predicted and observed", "my_prediction:"):
        assert text in output


def test_too_little_history_is_an_error_without_advice(home: Path) -> None:
    output = _ask(home, "count(*) of purchase for user in 120 days", code=1)
    assert "388 days of the events are needed" in output
    assert "my_prediction:" not in output
    answer = json.loads(_ask(home, "count(*) of purchase for user in 120 days", "--json", code=1))
    assert "388 days" in answer["why"] and "settings" not in answer


@pytest.mark.parametrize(
    "question",
    [
        "sum(amount) of purchase where item_id in ('a', 'b') for user in 28 days",
        "count(*) of purchase where item_id = 'it''s: {x}, # [y]' for user in 7 days",
        "top(3, category) of purchase where amount > 2 for user in 14 days",
    ],
)
def test_the_lines_to_paste_are_the_same_question(question: str) -> None:
    query = PredictiveQuery.from_question(question)
    [pasted] = yaml.safe_load(settings_lines(query))["predictions"].values()
    pasted_query = PredictiveQuery.model_validate(pasted)
    assert pasted_query.model_dump(exclude={"name"}) == query.model_dump(exclude={"name"})


def test_a_day_after_the_newest_is_refused(home: Path) -> None:
    with pytest.raises(AssertionError, match="events are known through 2024-06-30"):
        _ask(home, QUESTION, "--through", "2024-07-01")


def test_a_home_without_events_says_what_to_do(tmp_path: Path) -> None:
    write_state(
        tmp_path, State(source_kind="files", timezone="UTC", first_day=FIRST, default_date=FIRST)
    )
    with pytest.raises(SettingsError, match="batch-predictions run"):
        _ask(tmp_path, QUESTION)
