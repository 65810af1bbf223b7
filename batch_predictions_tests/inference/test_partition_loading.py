"""Keys in `predictions.exclusions`: one text for each key, which is of no other key."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from batch_predictions.inference.partition_loading import joined_key
from batch_predictions.warehouse.shared_database import open_cursor

VALUES = st.one_of(st.none(), st.text(r"a |\N", max_size=4))


def join(*values: str | None) -> str:
    """The text of a key."""
    names = [f"c{n}" for n in range(len(values))]
    with open_cursor() as db:
        columns = ", ".join(f"${name}::VARCHAR as {name}" for name in names)
        row = db.execute(
            f"select {joined_key(names)} from (select {columns})",
            dict(zip(names, values, strict=True)),
        ).fetchone()
    assert row is not None
    return str(row[0])


@given(st.tuples(VALUES, VALUES), st.tuples(VALUES, VALUES))
@example(("a b", "c"), ("a", "b c"))
@example(("a|b", "c"), ("a", "b|c"))
@example(("a", None), ("a", ""))
@example(("a\\", "b"), ("a", "|b"))
@example((None, "a"), (r"\N", "a"))
def test_different_keys_have_different_texts(
    first: tuple[str | None, ...], second: tuple[str | None, ...]
) -> None:
    assert (join(*first) == join(*second)) == (first == second)


def test_ordinary_keys_are_separated_by_a_bar_and_single_ones_are_as_they_are() -> None:
    assert join("milk", "Berlin") == "milk|Berlin"
    assert join("milk", "") == "milk|"
    assert join("a|b\\c") == "a|b\\c"
    assert join("a|b", None) == r"a\|b|\N"
