"""SQL of `recommendations.rules`: which items are blocked, move up, or count towards a limit.

A rule is an SQL expression over an item's columns. Any other name in it is an attribute of
raw.items: a number where the expression needs one, else a text.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

import duckdb

from batch_predictions.settings import Settings, SettingsError
from batch_predictions.sources.item_exclusions import attribute_names
from batch_predictions.sources.rows.sandbox import SandboxError, column_names, validate_condition
from batch_predictions.tables import ITEMS
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal
from batch_predictions.warehouse.shared_database import open_cursor

COLUMNS = {
    "item_id": "VARCHAR",
    "title": "VARCHAR",
    "category": "VARCHAR",
    "subcategory": "VARCHAR",
    "brand": "VARCHAR",
    "price": "DOUBLE",
    "attributes": "MAP(VARCHAR, VARCHAR)",
}
"""Columns of an item that rules may name, besides its attributes."""
MAX_ATTRIBUTES = 6
"""Attributes of one rule: all assignments of types to them are tried."""
_NUMBER, _TEXT = "DOUBLE", "VARCHAR"


@dataclass(frozen=True)
class ItemRules:
    """The rules as SQL over the columns `COLUMNS` and `attributes`.

    Attributes:
        blocked: conditions of items that are not recommended.
        boosts: conditions of items that move, with the places by which they move up.
        limits: the expressions of groups, with the items that a list has of each group at most.
        attributes: DuckDB type of every attribute that a rule names, by its name.
    """

    blocked: tuple[str, ...]
    boosts: tuple[tuple[str, int], ...]
    limits: tuple[tuple[str, int], ...]
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, settings: Settings) -> ItemRules:
        """Reads the rules of the settings, of `per_category` too.

        Raises:
            SettingsError: a rule is not an expression over an item's columns.
        """
        config = settings.recommendations
        rules = config.rules
        limits = [("category", config.per_category)] if config.per_category else []
        limits += [(rule.per, rule.at_most) for rule in rules if rule.per and rule.at_most]
        limits += [(rule.distinct, 1) for rule in rules if rule.distinct]
        blocked = tuple(rule.exclude for rule in rules if rule.exclude)
        boosts = tuple((rule.boost, rule.by) for rule in rules if rule.boost and rule.by)
        conditions = (*blocked, *(text for text, _ in boosts))
        types = _attribute_types(conditions, tuple(text for text, _ in limits))
        return cls(blocked, boosts, tuple(limits), types)

    @property
    def blocked_sql(self) -> str:
        """SQL of whether an item is blocked; a condition that is null blocks nothing."""
        return " or ".join(_is_true(condition) for condition in self.blocked) or "false"

    @property
    def boost_sql(self) -> str:
        """SQL of the places by which an item moves up; those of several rules add up."""
        cases = [f"case when {_is_true(text)} then {by} else 0 end" for text, by in self.boosts]
        return " + ".join(cases) or "0"

    @property
    def groups_sql(self) -> str:
        """SQL of an item's group under each limit, as a list of texts; null: not limited."""
        groups = [f"({text}\n)::VARCHAR" for text, _ in self.limits]
        return f"[{', '.join(groups)}]::VARCHAR[]"

    @property
    def attributes_sql(self) -> str:
        """SQL of the attributes as columns, each after a comma."""
        return "".join(
            f", try_cast({_value_sql(name)} as {type_}) as {quote_identifier(name)}"
            for name, type_ in sorted(self.attributes.items())
        )


def _is_true(condition: str) -> str:
    return f"coalesce(({condition}\n)::BOOLEAN, false)"


def _value_sql(name: str) -> str:
    """SQL of an attribute's text; null where there is none or it is empty."""
    return (
        "nullif(list_filter(map_entries(attributes), lambda entry: lower(entry.key) = "
        f"{quote_literal(name)})[1].value, '')"
    )


@lru_cache(maxsize=16)
def _attribute_types(conditions: tuple[str, ...], groups: tuple[str, ...]) -> dict[str, str]:
    """Finds the attributes that rules name, and of what type each is."""
    types: dict[str, str] = {}
    with open_cursor() as db:
        for rule in (*conditions, *groups):
            for name, type_ in _types_in(db, rule).items():
                types[name] = _NUMBER if _NUMBER in (type_, types.get(name)) else _TEXT
        for rule in (*conditions, *groups):
            if error := _binding_error(db, rule, types):
                raise SettingsError(
                    f"recommendations.rules: {rule!r} has an attribute as a text that is a number "
                    f"in another rule ({error}): write it as attributes['name'] here"
                )
        for rule in conditions:
            row = _row(types)
            [(type_,)] = db.execute(f"select typeof(({rule}\n)) from {row}").fetchall()
            if type_ != "BOOLEAN":
                raise _rule_error(rule, f"it is no condition but {type_}")
    return types


def _types_in(db: duckdb.DuckDBPyConnection, rule: str) -> dict[str, str]:
    """The type of every attribute of one rule.

    A number if the rule can be evaluated with a number, and not with any text, or not with a type
    that is neither number nor text.
    """
    try:
        validate_condition(rule, ())
        names = [name for name in column_names(rule) if name not in COLUMNS]
    except SandboxError as error:
        raise _rule_error(rule, str(error)) from error
    if len(names) > MAX_ATTRIBUTES:
        raise _rule_error(rule, f"it names more than {MAX_ATTRIBUTES} attributes")
    choices = itertools.product((_NUMBER, _TEXT), repeat=len(names))
    for types in sorted(choices, key=lambda types: types.count(_TEXT)):
        chosen = dict(zip(names, types, strict=True))
        numbers = {name: "1.5::DOUBLE" for name, type_ in chosen.items() if type_ == _NUMBER}
        if _binding_error(db, rule, chosen, numbers) is None:
            return {
                name: type_ if _needs_number(db, rule, chosen, name) else _TEXT
                for name, type_ in chosen.items()
            }
    reason = _binding_error(db, rule, dict.fromkeys(names, _TEXT))
    raise _rule_error(rule, reason or "its types differ")


def _needs_number(
    db: duckdb.DuckDBPyConnection, rule: str, types: Mapping[str, str], name: str
) -> bool:
    """Returns whether a rule fails where an attribute is a list, or a text that is no number."""
    return any(
        _binding_error(db, rule, types, {name: value}) is not None
        for value in ("null::INTEGER[]", "'text'")
    )


def _rule_error(rule: str, reason: str) -> SettingsError:
    return SettingsError(
        f"recommendations.rules: {rule!r} is not an expression over an item ({reason}): write one "
        f"such as price < 5 or margin < 0, over {', '.join(COLUMNS)} and the names of attributes"
    )


def _binding_error(
    db: duckdb.DuckDBPyConnection,
    rule: str,
    types: Mapping[str, str],
    values: Mapping[str, str] | None = None,
) -> str | None:
    """Why a rule cannot be evaluated with attributes of some types; None: it can.

    Args:
        db: any connection.
        rule: the rule.
        types: DuckDB type of the attributes, all null but for `values`.
        values: SQL of the values of attributes.
    """
    row = _row(types, values)
    try:
        # After `where`, aggregates and windows are refused.
        db.execute(f"select 1 from {row} where ({rule}\n) is not null").fetchall()
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    return None


def _row(types: Mapping[str, str], values: Mapping[str, str] | None = None) -> str:
    """A relation with one item, all of whose columns are null but for `values`."""
    nulls = {name: f"null::{type_}" for name, type_ in {**COLUMNS, **types}.items()}
    columns = (f"{sql} as {quote_identifier(n)}" for n, sql in {**nulls, **(values or {})}.items())
    return f"(select {', '.join(columns)})"


def unknown_attributes_message(rules: ItemRules, attributes: Collection[str]) -> str | None:
    """The error message if rules name attributes that no item has; else None.

    Args:
        rules: the rules.
        attributes: names of the attributes that items have.
    """
    known = {name.lower() for name in attributes}
    unknown = sorted(set(rules.attributes) - known)
    if not unknown:
        return None
    return (
        f"recommendations.rules name {', '.join(unknown)}: items have "
        f"{', '.join([*COLUMNS, *sorted(attributes)])} (columns of your items that are not mapped "
        "are attributes)"
    )


def find_rule_problem(
    db: duckdb.DuckDBPyConnection, rules: ItemRules, items: str, attributes: Collection[str]
) -> str | None:
    """Evaluates rules for items, and describes why they cannot serve; None: they can.

    Args:
        db: a connection that has the items.
        rules: the rules.
        items: relation with the rows of raw.items.
        attributes: names of the attributes that items have.
    """
    if message := unknown_attributes_message(rules, attributes):
        return message
    relation = f"(select {', '.join(COLUMNS)}{rules.attributes_sql} from {items})"
    groups = (text for text, _ in rules.limits)
    for rule in (*rules.blocked, *(text for text, _ in rules.boosts), *groups):
        try:
            db.execute(f"select count(({rule}\n)::VARCHAR) from {relation}").fetchall()
        except duckdb.Error as error:
            return (
                f"recommendations.rules: {rule!r} cannot be evaluated for your items: "
                f"{str(error).splitlines()[0]}"
            )
    return None


def unread_numbers(db: duckdb.DuckDBPyConnection, rules: ItemRules, items: str) -> list[str]:
    """Describes the values that rules read as numbers and that are none.

    Args:
        db: a connection that has the items.
        rules: the rules, all of whose attributes items have.
        items: relation with the rows of raw.items.
    """
    messages = []
    for name, type_ in rules.attributes.items():
        value = _value_sql(name)
        [(texts, numbers)] = db.execute(
            f"select count({value}), count(try_cast({value} as {type_})) from {items}"
        ).fetchall()
        if texts > numbers:
            messages.append(
                f"recommendations.rules read {name} as a number, and {texts - numbers:,} of its "
                f"{texts:,} values are none: rules take these items as if they had no {name}"
            )
    return messages


def validate_rules(settings: Settings, warehouse: Warehouse) -> list[str]:
    """Checks `recommendations.rules` against the ingested items.

    Returns:
        Messages about values that cannot be read.

    Raises:
        SettingsError: a rule cannot be evaluated, or names nothing that items have.
    """
    rules = ItemRules.of(settings)
    if not settings.recommendations.rules or not warehouse.path(ITEMS).exists():
        return []
    with warehouse.connect() as db:
        items = ITEMS.qualified
        if problem := find_rule_problem(db, rules, items, attribute_names(db, items)):
            raise SettingsError(problem)
        return unread_numbers(db, rules, items)
