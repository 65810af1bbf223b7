"""What the data does not decide is asked: encodings, zones, joins, tables that are not read."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from batch_predictions.cli.command_line import make_app
from batch_predictions.sources.checking.check import check_source
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder

DAYS = [f"2024-01-{n + 1:02d}" for n in range(28)]


@pytest.mark.parametrize("header", ["city", "Größe"])
@pytest.mark.parametrize("towns", [("Köln",), ("Köln", "Bonn")])
def test_states_of_a_cp1252_file_are_asked_about_whatever_its_header(
    tmp_path: Path, header: str, towns: tuple[str, ...]
) -> None:
    lines = [f"order_id;order_date;status;customer;sku;amount;{header}"]
    lines += [
        f"B{n};{day};{('paid', 'cancelled')[n % 2]};u{n % 5};i;10;{towns[n // 2 % len(towns)]}"
        for n, day in enumerate(DAYS)
    ]
    shop = SourceFolder(tmp_path).write("orders.csv", "\n".join(lines).encode("cp1252"))
    report = check_source(shop.settings)
    [question] = [q for q in report.questions if "sales" in q]
    assert (
        "Proposed are paid (14 rows, 140.00); left out are cancelled (14 rows, 140.00)" in question
    )
    assert report.suggested_settings["encoding"] == {"orders.csv": "cp1252"}
    assert report.suggested_settings["where"] == {"interactions": "\"status\" in ('paid')"}


@pytest.mark.parametrize("offset", ["Z", "+00:00", "-05:00"])
def test_the_zone_is_asked_for_times_of_any_offset(tmp_path: Path, offset: str) -> None:
    text = f"{HEADER}u,i,2024-01-02 23:30:00{offset},1\n"
    shop = SourceFolder(tmp_path).write("interactions.csv", text)
    [question] = check_source(shop.settings).questions
    assert f"Times have the offset {offset}, days are those of UTC" in question
    shop = SourceFolder(tmp_path, timezone="UTC")
    assert check_source(shop.settings).questions == []


def test_users_of_which_none_are_known_are_asked_about(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, timezone="UTC")
    shop.write("interactions.csv", HEADER + "".join(f"c{n},i,2024-01-02,1\n" for n in range(9)))
    users = "".join(f"{n},c{n}@x.org,c{n}\n" for n in range(8))
    shop.write("users.csv", f"user_id,email,login\n{users}")
    [question] = check_source(shop.settings).questions
    assert "Of the 9 of interactions (c0, c1, c2 …), 0 are in users (0, 1, 2 …)" in question
    assert "8 in its column 'login': set source.columns.users.user_id: login" in question
    shop.write("users.csv", "user_id\n1\n")
    [question] = check_source(shop.settings).questions
    assert question.endswith(
        "set source.columns.interactions.user_id or source.columns.users.user_id"
    )
    shop.write("users.csv", "user_id\nc1\n")
    assert check_source(shop.settings).questions == []


def initialise(shop: SourceFolder, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Calls `init --check` beside the folder."""
    monkeypatch.chdir(shop.folder.parent)
    home = str(shop.settings.home)
    arguments = ["--home", home, "init", "--force", "--path", str(shop.folder), "--check"]
    return CliRunner().invoke(make_app(), arguments)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("u,i,2024-01-02,EUR 5 net\n", "amount … is not a number: write it as 12.50, without"),
        ("u,i,03/02/24x,1\n", "occurred_at … is not a time: write 2024-01-31"),
        ("u,i,45293,1\n", "is before 1990-01-01: of a serial day of a spreadsheet, write the day"),
    ],
)
def test_init_says_first_that_all_rows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str, reason: str
) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + row * 3)
    result = initialise(shop, monkeypatch)
    first = result.output.splitlines()[0]
    assert result.exit_code == 1
    assert first.startswith("please decide: all 3 rows of interactions are refused: ")
    assert reason in first and "; values: '" in first
    assert (tmp_path / "batch_predictions.yaml").exists()
    report = check_source(shop.settings)
    assert not report.ok and report.problems == [] and f"  - {report.refusals[0]}" in str(report)


def test_init_says_first_which_line_a_table_cannot_be_read_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + '"u,i,2024-01-02,1\n' * 2)
    result = initialise(shop, monkeypatch)
    assert result.exit_code == 1
    first = result.output.splitlines()[0]
    assert first.startswith("please decide: interactions cannot be read: interactions.csv, line 2")


def test_rows_that_a_proposal_reads_are_not_said_to_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", HEADER + "u,i,13/02/24,1\n")
    result = initialise(shop, monkeypatch)
    assert result.exit_code == 0 and "refused" not in result.output.splitlines()[0]
    assert "1 accepted + 0 refused; days 2024-02-13 to 2024-02-13" in result.output
