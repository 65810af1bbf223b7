"""Rows that leave the source are kept until someone lets them go, and an ingest can be undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batch_predictions.settings import SettingsError
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.sources.shrinkage import (
    UNDO_DAYS,
    accept_loss,
    previous_folder,
    read_kept_rows,
    remove_old_previous,
    undo_ingest,
)
from batch_predictions.tables import INTERACTIONS, USERS
from batch_predictions.warehouse import as_date
from batch_predictions_tests.worlds.source_folders import (
    FIRST_DAY,
    HEADER,
    SourceFolder,
    day_keys,
    total_counts,
)

DAYS = day_keys(6)


def write(shop: SourceFolder, rows: dict[str, int]) -> None:
    """Writes a file with a number of rows for each day."""
    lines = [f"u{n},i{n % 3},{day},2.5\n" for day, number in rows.items() for n in range(number)]
    shop.write("interactions.csv", HEADER + "".join(lines))


def make(tmp_path: Path, **options: Any) -> SourceFolder:
    """A home with 40 rows of each day."""
    shop = SourceFolder(tmp_path, **options)
    write(shop, dict.fromkeys(DAYS, 40))
    ingest_due(shop)
    return shop


def ingest_due(shop: SourceFolder) -> list[str]:
    """Ingests what is due; returns it."""
    last = as_date(DAYS[-1])
    due = days_to_ingest(shop.warehouse, shop.source, INTERACTIONS, FIRST_DAY, last)
    results = shop.ingest(days=due) if due else {}
    # What is kept adds up too, as the asset check demands.
    for result in results.values():
        assert result.counts.read == result.counts.accepted + result.counts.quarantined
        assert result.write_result.rows == result.counts.accepted + result.manual_rows
    return due


def counts(shop: SourceFolder) -> list[int]:
    """Rows of the warehouse by day."""
    rows = shop.rows("select date, count(*) as n from raw.interactions group by 1 order by 1")
    return [row["n"] for row in rows]


def test_a_rolling_export_keeps_the_days_before_and_after_it(tmp_path: Path) -> None:
    shop = make(tmp_path)
    write(shop, {DAYS[2]: 40, DAYS[3]: 45})
    assert ingest_due(shop) == [*DAYS[:2], *DAYS[3:]]
    assert counts(shop) == [40, 40, 40, 45, 40, 40]
    assert read_kept_rows(shop.settings.home).lost == {}
    [line] = read_kept_rows(shop.settings.home).notes
    assert f"no longer has 4 days of interactions ({DAYS[0]}..{DAYS[5]}): their 160 rows" in line
    # It is not read again as long as the source is as it was; then it follows the source.
    assert ingest_due(shop) == []
    write(shop, dict.fromkeys(DAYS, 40))
    assert ingest_due(shop) == [DAYS[3]] and read_kept_rows(shop.settings.home).notes == []
    write(shop, dict.fromkeys(DAYS, 41))
    assert ingest_due(shop) == DAYS and counts(shop) == [41] * 6
    assert read_kept_rows(shop.settings.home).notes == []


@pytest.mark.parametrize(("found", "is_kept"), [(33, False), (29, True), (0, True)])
def test_a_shrunken_day_is_replaced_below_the_share_and_asked_about_above(
    tmp_path: Path, found: int, is_kept: bool
) -> None:
    shop = make(tmp_path)
    write(shop, {**dict.fromkeys(DAYS, 40), DAYS[2]: found})
    assert ingest_due(shop) == [DAYS[2]]
    assert counts(shop)[2] == (40 if is_kept else found)
    lost = read_kept_rows(shop.settings.home).lost
    assert bool(lost) == is_kept and ingest_due(shop) == []
    if not is_kept:
        return
    assert (
        f"{found} instead of 40 rows of 1 day of interactions ({DAYS[2]})" in lost["interactions"]
    )
    assert f"--accept-loss {DAYS[2]}" in lost["interactions"]
    with pytest.raises(SettingsError, match="no partition of these days is kept"):
        accept_loss(shop.settings.home, DAYS[4], DAYS[5])
    assert accept_loss(shop.settings.home, DAYS[0], DAYS[5]) == 1
    assert ingest_due(shop) == [DAYS[2]]
    assert counts(shop) == [n for n in (40, 40, found, 40, 40, 40) if n]
    assert read_kept_rows(shop.settings.home).lost == {} and ingest_due(shop) == []


def test_a_day_whose_rows_are_all_refused_is_a_loss_too(tmp_path: Path) -> None:
    shop = make(tmp_path)
    path = shop.folder / "interactions.csv"
    path.write_text(path.read_text().replace(f"{DAYS[5]},2.5", f"{DAYS[5]},free"))
    assert ingest_due(shop) == [DAYS[5]] and counts(shop) == [40] * 6
    assert read_kept_rows(shop.settings.home).lost and shop.reasons() == []


def test_a_day_whose_file_is_gone_is_made_of_what_the_source_has(tmp_path: Path) -> None:
    shop = make(tmp_path)
    write(shop, {**dict.fromkeys(DAYS, 40), DAYS[2]: 15})
    shop.warehouse.remove_partition(INTERACTIONS, DAYS[2])
    assert ingest_due(shop) == [DAYS[2]] and counts(shop)[2] == 15
    assert read_kept_rows(shop.settings.home).lost == {}


def test_few_rows_and_other_settings_are_no_loss(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    write(shop, dict.fromkeys(DAYS, 9))
    ingest_due(shop)
    write(shop, dict.fromkeys(DAYS, 1))
    assert ingest_due(shop) == DAYS and counts(shop) == [1] * 6
    write(shop, dict.fromkeys(DAYS, 40))
    ingest_due(shop)
    shop.settings.source.where = {"interactions": "user_id = 'u1'"}
    assert ingest_due(shop) == DAYS and counts(shop) == [1] * 6
    assert read_kept_rows(shop.settings.home).lost == {}


def test_settings_decide(tmp_path: Path) -> None:
    shop = make(tmp_path, shrinkage="stop")
    write(shop, {**dict.fromkeys(DAYS, 40), DAYS[1]: 5})
    with pytest.raises(
        SourceError, match=r"5 instead of 40 rows .* source\.shrinkage stops the run"
    ):
        ingest_due(shop)
    assert counts(shop) == [40] * 6
    shop.settings.source.shrinkage = "replace"
    write(shop, {DAYS[1]: 5})
    ingest_due(shop)
    assert counts(shop) == [5]


def test_a_snapshot_that_has_lost_rows_is_kept(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    users = [f"u{n}" for n in range(50)]
    shop.write("interactions.csv", HEADER + f"u,i,{DAYS[0]},1\n")
    shop.write("users.csv", "user_id\n" + "\n".join(users))
    last = as_date(DAYS[-1])

    def due() -> list[str]:
        return days_to_ingest(shop.warehouse, shop.source, USERS, last, last)

    shop.ingest(USERS, due())
    shop.write("users.csv", "user_id\n" + "\n".join(users[:20]))
    results = shop.ingest(USERS, due())
    assert total_counts(results) == (50, 50, 0) and due() == []
    assert (
        len(shop.rows("from raw.users")) == 50 and read_kept_rows(shop.settings.home).lost["users"]
    )
    accept_loss(shop.settings.home, DAYS[0], DAYS[-1])
    shop.ingest(USERS, due())
    assert len(shop.rows("from raw.users")) == 20 and due() == []


def test_a_snapshot_that_is_back_is_no_longer_kept(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path)
    shop.write("interactions.csv", HEADER + f"u,i,{DAYS[0]},1\n")
    path = shop.folder / "users.csv"
    path.write_text("user_id\n" + "".join(f"u{n}\n" for n in range(50)))
    last = as_date(DAYS[-1])

    def due() -> list[str]:
        return days_to_ingest(shop.warehouse, shop.source, USERS, last, last)

    shop.ingest(USERS, due())
    path.rename(tmp_path / "users.csv")
    shop.write("users.csv", "user_id\nu1\n")
    shop.ingest(USERS, due())
    assert read_kept_rows(shop.settings.home).lost and due() == []
    # The file is the same again, with its time.
    (tmp_path / "users.csv").rename(path)
    assert due() == [] and read_kept_rows(shop.settings.home).lost == {}


def test_an_ingest_is_undone_until_the_source_changes(tmp_path: Path) -> None:
    shop = make(tmp_path)
    home, first = shop.settings.home, shop.rows("from raw.interactions order by all")
    write(shop, dict.fromkeys(DAYS, 35))
    assert ingest_due(shop) == DAYS and counts(shop) == [35] * 6
    assert undo_ingest(shop.warehouse, INTERACTIONS, DAYS[0], DAYS[3]) == DAYS[:4]
    assert counts(shop) == [40] * 4 + [35] * 2 and ingest_due(shop) == []
    assert undo_ingest(shop.warehouse, INTERACTIONS, DAYS[0], DAYS[3]) == []
    [line] = read_kept_rows(home).notes
    assert "the ingest of 4 days of interactions" in line and "was undone: 160 rows are" in line
    undo_ingest(shop.warehouse, INTERACTIONS, DAYS[4], DAYS[5])
    assert shop.rows("from raw.interactions order by all") == first
    write(shop, dict.fromkeys(DAYS, 36))
    assert ingest_due(shop) == DAYS and counts(shop) == [36] * 6


def test_files_for_undoing_are_removed_after_some_days(tmp_path: Path) -> None:
    shop = make(tmp_path)
    write(shop, dict.fromkeys(DAYS, 35))
    ingest_due(shop)
    files = list(previous_folder(shop.settings.home).rglob("*.parquet"))
    assert (
        len(files) == len(DAYS) == len(read_ingest_log(shop.settings.home, INTERACTIONS).previous)
    )
    linked = max(path.stat().st_ctime for path in files)
    assert remove_old_previous(shop.settings.home, linked + 60) == 0
    assert remove_old_previous(shop.settings.home, linked + (UNDO_DAYS + 1) * 86_400) == len(files)
    assert undo_ingest(shop.warehouse, INTERACTIONS, DAYS[0], DAYS[5]) == []
