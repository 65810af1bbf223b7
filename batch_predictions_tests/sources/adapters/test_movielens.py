"""MovieLens in its three forms."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batch_predictions.sources import SourceError
from batch_predictions.tables import INTERACTIONS, ITEMS, USERS
from batch_predictions_tests.worlds.paths import MOVIELENS
from batch_predictions_tests.worlds.source_folders import World, days, totals

FLAGS = "|".join("0" * 19)


def films(tmp_path: Path) -> World:
    return World(tmp_path, kind="movielens")


@pytest.mark.real_data
@pytest.mark.skipif(not MOVIELENS.is_dir(), reason="no MovieLens data beside the checkout")
def test_the_real_hundred_thousand(tmp_path: Path) -> None:
    world = World(tmp_path, kind="movielens", path=MOVIELENS)
    span = world.source.span(dt.date(2024, 1, 10))
    assert span.first_day == dt.date(1997, 9, 20)
    world.state = world.state.model_copy(update={"first_day": span.first_day})
    newest = world.source.newest_complete_day(dt.date(2024, 1, 10))
    assert newest == dt.date(1998, 4, 22)
    keys = days((newest - span.first_day).days + 1, span.first_day)
    assert totals(world.ingest(INTERACTIONS, keys)) == (100_000, 100_000, 0)
    assert totals(world.ingest(USERS, keys)) == (943, 943, 0)
    assert totals(world.ingest(ITEMS, keys)) == (1_682, 1_682, 0)
    [film] = world.rows("from raw.items where item_id = '1'")
    assert (film["title"], film["category"]) == ("Toy Story", "Animation")
    assert dict(film["attributes"]) == {
        "genres": "Animation|Children's|Comedy",
        "year": "1995",
    }
    [user] = world.rows("from raw.users where user_id = '1'")
    assert (user["age_bracket"], user["gender"], user["location"]) == ("19-24", "M", "8xxxx")
    [rating] = world.rows("from raw.interactions where event_id = '196-242-881250949'")
    assert (rating["event_type"], rating["amount"], rating["quantity"]) == ("rating", 3.0, None)
    assert not world.source.repeats


def test_the_hundred_thousand_as_grouplens_wrote_it(tmp_path: Path) -> None:
    world = films(tmp_path)
    world.write("u.data", "1\t2\t5\t1704200000\n1\t3\tx\t1704200000\n1\t2\t5\t1704200000\n")
    world.write("u.user", '1|24|M|tech "x"|85711\n2|53|F|other|V0R2M\n')
    item = f"2|Café (1995)|01-Jan-1995||http://x|{FLAGS}".replace("|0|0|0", "|0|1|1", 1)
    world.write("u.item", f"{item}\n".encode("latin-1"))
    assert totals(world.ingest(INTERACTIONS)) == (3, 1, 2)
    assert totals(world.ingest(USERS)) == (2, 2, 0)
    assert totals(world.ingest(ITEMS)) == (1, 1, 0)
    [film] = world.rows("from raw.items")
    assert (film["title"], film["category"]) == ("Café (1995)", "Action")
    assert dict(film["attributes"]) == {"genres": "Action|Adventure", "year": "1995"}
    locations = world.rows("select location from raw.users order by user_id")
    assert [row["location"] for row in locations] == ["8xxxx", None]


def test_the_million_with_its_coded_ages(tmp_path: Path) -> None:
    world = films(tmp_path)
    world.write("ratings.dat", "1::2::5::1704200000\n2::2::3::1704200001\n")
    ages = (1, 18, 25, 35, 45, 50, 56)
    world.write("users.dat", "".join(f"{age}::F::{age}::10::48067\n" for age in ages))
    world.write("movies.dat", '2::Été: l\'"an" (2000)::Drama|War\n'.encode("latin-1"))
    assert totals(world.ingest(INTERACTIONS)) == (2, 2, 0)
    assert totals(world.ingest(USERS)) == (7, 7, 0)
    assert totals(world.ingest(ITEMS)) == (1, 1, 0)
    brackets = world.rows("select age_bracket from raw.users order by user_id::INT")
    expected = ["under 19", "19-24", "25-34", "35-44", "45-54", "45-54", "55-64"]
    assert [row["age_bracket"] for row in brackets] == expected
    [film] = world.rows("from raw.items")
    assert (film["title"], film["category"]) == ('Été: l\'"an" (2000)', "Drama")


def test_a_folder_without_films_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"u\.data .*ratings\.dat .*\.inter"):
        films(tmp_path).source.tables()


def test_two_forms_in_one_folder_are_refused(tmp_path: Path) -> None:
    world = films(tmp_path).write("u.data", "1\t2\t5\t1\n").write("ratings.dat", "1::2::5::1\n")
    with pytest.raises(SourceError, match="several forms"):
        world.source.tables()


def test_a_header_without_a_column_names_it(tmp_path: Path) -> None:
    world = films(tmp_path).write("x.inter", "user_id:token\titem_id:token\n1\t2\n")
    with pytest.raises(SourceError, match=r"x\.inter has no column rating"):
        world.ingest()
