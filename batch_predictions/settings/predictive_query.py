"""A predictive query: what to predict, of which events, for whom, and how far ahead.

    predictions:
      expected_spend: {predict: sum(amount), of: purchase, for: user, days: 28}

The same query on one line, as `batch-predictions ask` takes it:

    sum(amount) of purchase for user in 28 days
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, field_validator, model_validator

from batch_predictions.settings.section import Section, SettingsError

Task = Literal["mean", "probability", "first", "top"]
ENTITY_COLUMNS = {
    "user": "user_id",
    "item": "item_id",
    "location": "location",
    "category": "category",
}
"""Column of the events that identifies an entity of each kind."""
EXAMPLES = (
    "sum(amount), count(*), count(*) > 0, count(distinct item_id), avg(rating), min(amount), "
    "max(amount), first(date) or top(5, category)"
)
_CALL = re.compile(r"(\w+)\s*\((.*)\)\s*(?:(>=|<=|<>|!=|=|>|<)\s*(-?[\d.]+))?", re.DOTALL)
_TOP = re.compile(r"(\d+)\s*,\s*(\w+)")
_AND = re.compile(r"\s*(?:,|×|\bx\b|\band\b)\s*")
_QUESTION = re.compile(
    r"(?:predict\s+)?(?P<predict>.+?)\s+of\s+(?P<of>\w+(?:\s*,\s*\w+)*)(?:\s+where\s+(?P<where>.+?))?"
    r"\s+for\s+(?:each\s+|every\s+)?(?P<entity>\w+(?:\s*(?:,|×|\bx\b|\band\b)\s*\w+)*)"
    r"\s+in\s+(?P<days>\d+)\s+days?(?:\s+from\s+(?P<starts_in>\d+))?(?:\s+among\s+(?P<among>.+))?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Target:
    """The parsed `predict` of a query.

    Attributes:
        function: sum, count, distinct, avg, min, max, first or top.
        expression: SQL of the value of an event; `*` for counts of events.
        comparison: operator and number that the aggregate is compared with, such as `> 0`; empty
            without one.
        k: number of values of `top`.
    """

    function: str
    expression: str
    comparison: str = ""
    k: int = 0

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parses a text such as `sum(amount)` or `count(*) > 0`.

        Raises:
            ValueError: it is no aggregate of events; the message has examples.
        """
        match = _CALL.fullmatch(text.strip())
        function = match[1].lower() if match else ""
        if match is None or function not in (*_AGGREGATES, "exists", "first", "top"):
            raise ValueError(f"{text!r} is not an aggregate of events: write {EXAMPLES}")
        expression = match[2].strip() or "*"
        comparison = f"{match[3]} {float(match[4]):g}" if match[3] else ""
        if function == "exists":
            function, comparison = "count", "> 0"
        if function == "count" and expression.lower().startswith("distinct "):
            function, expression = "distinct", expression[len("distinct ") :]
        if function == "top":
            return cls._parse_top(text, expression, comparison)
        if function == "first" and (comparison or expression not in ("date", "*")):
            raise ValueError(f"{text!r}: first(date), without a comparison, is the next day")
        if expression == "*" and function not in ("count", "first"):
            raise ValueError(f"{text!r}: {function} needs a column, such as {function}(amount)")
        if function == "count" and expression != "*":
            raise ValueError(f"{text!r}: write count(*), or count(distinct {expression})")
        return cls(function, expression, comparison)

    @classmethod
    def _parse_top(cls, text: str, expression: str, comparison: str) -> Target:
        match = _TOP.fullmatch(expression)
        if match is None or comparison or int(match[1]) < 1:
            raise ValueError(f"{text!r}: write the number and the column, such as top(5, category)")
        return cls("top", match[2], k=int(match[1]))

    @property
    def task(self) -> Task:
        """The kind of model that predicts it."""
        if self.function == "first":
            return "first"
        if self.function == "top":
            return "top"
        return "probability" if self.comparison else "mean"

    @property
    def is_zero_without_events(self) -> bool:
        """Returns whether the target of an entity without events is 0, and not unknown."""
        return self.function in ("sum", "count", "distinct")


_AGGREGATES = ("sum", "count", "distinct", "avg", "min", "max")


class PredictiveQuery(Section):
    """A question about the events of every entity in a window of days after each day.

    In Python, where `for` and `from` are keywords, the arguments are `entity` and `starts_in`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field("", description="Name of the table; in settings it is the key.")
    predict: str = Field(description=f"Aggregate of events: {EXAMPLES}.")
    of: str = Field(
        description="Type of the events: one of raw.interactions, `review`, or a type of "
        "raw.campaign_events such as `redeemed`; several with commas between them."
    )
    where: str | None = Field(
        None, description="SQL condition on the events and their item or user: category = 'TEA'."
    )
    entity: str = Field(
        validation_alias=AliasChoices("for", "entity"),
        serialization_alias="for",
        description="user, item, location, category, or a pair such as `user x category`.",
    )
    days: int = Field(ge=1, le=364, description="Length of the window, days.")
    starts_in: int = Field(
        0,
        ge=0,
        le=364,
        validation_alias=AliasChoices("from", "starts_in"),
        serialization_alias="from",
        description="Days between the day of the prediction and the window; 0: it begins the day "
        "after.",
    )
    among: str | None = Field(
        None,
        description="SQL condition on the entity's features, such as purchase_events_91d > 0; the "
        "others stand in predictions.exclusions.",
    )
    cadence: Literal["daily", "weekly"] = Field(
        "daily", description="daily, or weekly: as of each Sunday."
    )

    @field_validator("predict")
    @classmethod
    def _check_predict(cls, value: str) -> str:
        Target.parse(value)
        return value

    @field_validator("entity", mode="before")
    @classmethod
    def _check_entity(cls, value: Any) -> str:
        given = value if isinstance(value, list | tuple) else _AND.split(str(value))
        words = [str(word).strip() for word in given]
        unknown = [word for word in words if word not in ENTITY_COLUMNS]
        if unknown or len(words) > 2 or len({*words}) < len(words):
            raise ValueError(
                f"{value!r} is no entity: choose {', '.join(ENTITY_COLUMNS)}, or a pair of them "
                "such as user x category"
            )
        return " x ".join(words)

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z][a-z0-9_]*", value):
            raise ValueError(
                "the name of a prediction has lower-case letters, digits and underscores, such as "
                "expected_spend"
            )
        return value

    @model_validator(mode="after")
    def _check_top(self) -> PredictiveQuery:
        if self.target.task != "top":
            return self
        if self.target.expression in self.keys:
            raise ValueError(f"{self.predict} for {self.entity}: each has one value")
        if len(self.keys) > 1:
            raise ValueError(f"{self.predict} is for one entity, not for a pair")
        return self

    @classmethod
    def from_question(cls, text: str, name: str = "asked") -> PredictiveQuery:
        """Parses `TARGET of EVENT [where …] for ENTITY in N days [from M] [among …]`.

        Args:
            text: the question on one line.
            name: of the prediction.

        Raises:
            SettingsError: the text is no such question; the message has an example.
        """
        match = _QUESTION.fullmatch(" ".join(text.split()).rstrip("?."))
        if match is None:
            raise SettingsError(
                f"{text!r} is not a predictive query: write for instance 'sum(amount) of "
                "purchase where category = ''TEA'' for user in 28 days'. Its parts are "
                "TARGET of EVENT [where CONDITION] for ENTITY in N days [from M] [among CONDITION]"
            )
        parts = {key: value for key, value in match.groupdict().items() if value is not None}
        try:
            return cls(name=name, **parts)
        except ValueError as error:
            raise SettingsError(describe_errors(error)) from None

    @property
    def target(self) -> Target:
        """The parsed `predict`."""
        return Target.parse(self.predict)

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that identify an entity."""
        return tuple(ENTITY_COLUMNS[word] for word in self.entity.split(" x "))

    @property
    def event_types(self) -> tuple[str, ...]:
        """Types of the events."""
        return tuple(name.strip() for name in self.of.split(","))

    @property
    def question(self) -> str:
        """The query on one line, as `from_question` parses it."""
        parts = [f"{self.predict} of {self.of}"]
        parts += [f"where {self.where}"] if self.where else []
        parts += [f"for {self.entity} in {self.days} days"]
        parts += [f"from {self.starts_in}"] if self.starts_in else []
        parts += [f"among {self.among}"] if self.among else []
        return " ".join(parts)


def describe_errors(error: ValueError) -> str:
    """The messages of a pydantic error on one line, each with the part that it is about."""
    problems: list[dict[str, Any]] = getattr(error, "errors", list)()
    if not problems:
        return str(error)
    return "; ".join(
        ": ".join([*map(str, problem["loc"]), problem["msg"].removeprefix("Value error, ")])
        for problem in problems
    )
