"""The shop and the applications of `benchmarks/three_weeks.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batch_predictions_tests.worlds.benchmark_scripts import import_benchmark

pytestmark = pytest.mark.slow


def test_the_shop_writes_equal_days_and_a_wrong_join_changes_users_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weeks_shop = import_benchmark("weeks_shop", monkeypatch)
    shop, day = weeks_shop.WeeksShop(tmp_path), weeks_shop.day_of(3)
    shop.write_day(day)
    text = shop.interactions(day).read_text()
    rows = shop.purchases(day)
    assert text.splitlines()[1:] == rows and len(rows) == weeks_shop.BUYERS
    wrong = shop.purchases(day, shuffled=True)
    assert wrong != rows and len({row.split(",")[0] for row in wrong}) == len(wrong)
    assert [row.split(",", 1)[1] for row in wrong] == [row.split(",", 1)[1] for row in rows]
    shop.write_day(day, rows[:3])
    assert len(shop.interactions(day).read_text().splitlines()) == 4
    shop.write_day(day)
    assert shop.interactions(day).read_text() == text


class OddLookup:
    """Answers of one release, of which a test changes some."""

    def __init__(self) -> None:
        self.rows: list[dict[str, int]] = [{"x": 1}]
        self.items, self.table_release = ["i"], "r1"

    def in_one_snapshot(self, look_up: Any) -> Any:
        return look_up(self)

    def recommendations(self, user: str, k: int) -> dict[str, Any]:
        source = "personal" if user == "u001" else "demographic"
        return self._answer() | {"source": source, "items": self.items}

    def answer(self, table: str) -> dict[str, Any]:
        return self._answer() | {"release_id": self.table_release, "rows": self.rows}

    def _answer(self) -> dict[str, Any]:
        return {"release_id": "r1", "as_of": "2024-03-04"}


def test_applications_tell_empty_and_mixed_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    applications = import_benchmark("weeks_applications", monkeypatch)
    monkeypatch.setattr(applications, "forecast", lambda lookup, item: lookup._answer())
    lookup, seen = OddLookup(), applications.Answers()

    def look(number: int = 0) -> None:
        applications.look_up(lookup, number, ["new0"], seen)

    look()
    look()
    assert seen.number == 8 and not (seen.empty or seen.mixed or seen.failed)
    assert seen.sources["known", "personal", "2024-03-04"] == 2
    assert seen.sources["new", "demographic", "2024-03-04"] == 2
    lookup.items = []
    look()
    assert seen.empty == {
        f"recommendations, {kind} user": 1 for kind in ("known", "unknown", "new")
    }
    lookup.table_release = "r2"
    look()
    assert seen.mixed == ["one snapshot, several releases: ['r1', 'r2']"]
    lookup.table_release, lookup.rows = "r1", [{"x": 2}]
    look()
    assert seen.mixed[-1] == "r1 recommendations has had different rows"


def test_a_process_reports_what_it_saw_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applications = import_benchmark("weeks_applications", monkeypatch)
    application = applications.Application(f"sqlite:///{tmp_path / 'nothing.sqlite'}")
    first = application.report()
    while not (second := application.report()).failed:
        pass
    assert first.number == second.number == 0
    assert "NoReleaseError" in next(iter(second.failed))
    application.stop()
