"""A scorer of a plugin that was edited while its version stayed is noticed; comments are not."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest

from batch_predictions.inference import scorer_code
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.partition_staging import engine_folder
from batch_predictions.inference.scorer_code import (
    edited_scorers,
    forget_results_of_edited,
    record_scorer_code,
)
from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.tiny_platform import DAILY, PREDICTIONS

CODE = '''"""A module of a plugin."""

LIMIT = 3


class LimitScorer:
    """Scores by a limit."""

    version = "1"
    uses_gpu = False

    def score(self, rows):
        return rows
'''


def declared(file: Path, code: str) -> BatchPrediction:
    """A prediction whose scorer is in a plugin's file with this code."""
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("limit_rule", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["limit_rule"] = module
    spec.loader.exec_module(module)
    return dataclasses.replace(PREDICTIONS[0], scorer=module.LimitScorer, model=None)


@pytest.mark.parametrize(
    ("code", "is_edited"),
    [
        (CODE, False),
        (CODE.replace("A module of a plugin", "A rule").replace("3", "3  # at most"), False),
        (CODE.replace("LIMIT = 3", "LIMIT = 4"), True),
        (CODE.replace("return rows", "return rows[:1]"), True),
        (CODE.replace("return rows", "return rows[:1]").replace('"1"', '"2"'), False),
    ],
)
def test_another_code_of_the_same_version_is_noticed(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    is_edited: bool,
) -> None:
    file = tmp_path / "limit_rule.py"
    before = declared(file, CODE)
    results = engine_folder(settings) / DAILY.name / "2024-03-03" / "results"
    results.mkdir(parents=True)
    assert edited_scorers(settings, [before]) == {}
    record_scorer_code(settings, before)
    now = declared(file, code)
    edited = edited_scorers(settings, [now])
    assert [*edited] == ([DAILY.qualified] if is_edited else [])
    assert not is_edited or "since version 1 of LimitScorer" in edited[DAILY.qualified]
    # Scoring other days by the new code does not make the old results those of it.
    record_scorer_code(settings, now)
    assert edited_scorers(settings, [now]) == edited
    monkeypatch.setattr(scorer_code, "instances", lambda *_: [now])
    forget_results_of_edited(settings)
    assert results.exists() != is_edited
    record_scorer_code(settings, now)
    assert edited_scorers(settings) == {}


def test_scorers_of_the_platform_are_left_to_its_versions(settings: Settings) -> None:
    from batch_predictions.predictions.churn import churn_scores

    record_scorer_code(settings, churn_scores)
    assert not engine_folder(settings).exists()
