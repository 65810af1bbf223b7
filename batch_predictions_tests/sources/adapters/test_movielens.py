"""MovieLens in its three formats."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.tables import INTERACTIONS, ITEMS, USERS
from batch_predictions_tests.worlds.paths import MOVIELENS
from batch_predictions_tests.worlds.source_folders import SourceFolder, day_keys, total_counts

FLAGS = "|".join("0" * 19)


def movielens_folder(tmp_path: Path) -> SourceFolder:
    return SourceFolder(tmp_path, kind="movielens")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not MOVIELENS.is_dir(), reason="no MovieLens data beside the checkout")
def test_the_published_100k_data(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path, kind="movielens", path=MOVIELENS)
    span = shop.source.span(dt.date(2024, 1, 10))
    assert span.first_day == dt.date(1997, 9, 20)
    shop.state = shop.state.model_copy(update={"first_day": span.first_day})
    newest = shop.source.newest_complete_day(dt.date(2024, 1, 10))
    assert newest == dt.date(1998, 4, 22)
    keys = day_keys((newest - span.first_day).days + 1, span.first_day)
    assert total_counts(shop.ingest(INTERACTIONS, keys)) == (100_000, 100_000, 0)
    assert total_counts(shop.ingest(USERS, keys)) == (943, 943, 0)
    assert total_counts(shop.ingest(ITEMS, keys)) == (1_682, 1_682, 0)
    [film] = shop.rows("from raw.items where item_id = '1'")
    assert (film["title"], film["category"]) == ("Toy Story", "Animation")
    assert dict(film["attributes"]) == {
        "genres": "Animation|Children's|Comedy",
        "year": "1995",
    }
    [user] = shop.rows("from raw.users where user_id = '1'")
    assert (user["age_bracket"], user["gender"], user["location"]) == ("19-24", "M", "8xxxx")
    [rating] = shop.rows("from raw.interactions where event_id = '196-242-881250949'")
    assert (rating["event_type"], rating["amount"], rating["quantity"]) == ("rating", 3.0, None)
    assert not shop.source.repeat_consumption


def test_the_100k_format(tmp_path: Path) -> None:
    shop = movielens_folder(tmp_path)
    shop.write("u.data", "1\t2\t5\t1704200000\n1\t3\tx\t1704200000\n1\t2\t5\t1704200000\n")
    shop.write("u.user", '1|24|M|tech "x"|85711\n2|53|F|other|V0R2M\n')
    item = f"2|Café (1995)|01-Jan-1995||http://x|{FLAGS}".replace("|0|0|0", "|0|1|1", 1)
    shop.write("u.item", f"{item}\n".encode("latin-1"))
    assert total_counts(shop.ingest(INTERACTIONS)) == (3, 1, 2)
    assert total_counts(shop.ingest(USERS)) == (2, 2, 0)
    assert total_counts(shop.ingest(ITEMS)) == (1, 1, 0)
    [film] = shop.rows("from raw.items")
    assert (film["title"], film["category"]) == ("Café (1995)", "Action")
    assert dict(film["attributes"]) == {"genres": "Action|Adventure", "year": "1995"}
    locations = shop.rows("select location from raw.users order by user_id")
    assert [row["location"] for row in locations] == ["8xxxx", None]


def test_the_1m_format_with_its_age_codes(tmp_path: Path) -> None:
    shop = movielens_folder(tmp_path)
    shop.write("ratings.dat", "1::2::5::1704200000\n2::2::3::1704200001\n")
    ages = (1, 18, 25, 35, 45, 50, 56)
    shop.write("users.dat", "".join(f"{age}::F::{age}::10::48067\n" for age in ages))
    shop.write("movies.dat", '2::Été: l\'"an" (2000)::Drama|War\n'.encode("latin-1"))
    assert total_counts(shop.ingest(INTERACTIONS)) == (2, 2, 0)
    assert total_counts(shop.ingest(USERS)) == (7, 7, 0)
    assert total_counts(shop.ingest(ITEMS)) == (1, 1, 0)
    brackets = shop.rows("select age_bracket from raw.users order by user_id::INT")
    expected = ["under 19", "19-24", "25-34", "35-44", "45-54", "45-54", "55-64"]
    assert [row["age_bracket"] for row in brackets] == expected
    [film] = shop.rows("from raw.items")
    assert (film["title"], film["category"]) == ('Été: l\'"an" (2000)', "Drama")


def test_a_folder_without_movielens_names_the_files_it_needs(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"u\.data .*ratings\.dat .*\.inter"):
        movielens_folder(tmp_path).source.tables()


def test_two_formats_in_one_folder_are_refused(tmp_path: Path) -> None:
    shop = (
        movielens_folder(tmp_path)
        .write("u.data", "1\t2\t5\t1\n")
        .write("ratings.dat", "1::2::5::1\n")
    )
    with pytest.raises(SourceError, match="several formats"):
        shop.source.tables()


def test_a_header_without_a_required_column_is_refused(tmp_path: Path) -> None:
    shop = movielens_folder(tmp_path).write("x.inter", "user_id:token\titem_id:token\n1\t2\n")
    with pytest.raises(SourceError, match=r"x\.inter has no column rating"):
        shop.ingest()
