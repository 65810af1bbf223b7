"""Types of interactions: what each weighs, which are purchases, and which are the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from batch_predictions.settings import EventTypeSettings, SettingsError
from batch_predictions.warehouse.path_sql import quote_literal

PURCHASE, RETURN, RATING = "purchase", "return", "rating"
UNTYPED = "interaction"
"""The type of all interactions of a source that has no types: each counts as a purchase."""
UNKNOWN = "unknown"
"""The type of an interaction whose type is empty, in a source that has types."""

DEFAULT_EVENTS: Mapping[str, EventTypeSettings] = {
    PURCHASE: EventTypeSettings(values=["purchase"], target=True),
    UNTYPED: EventTypeSettings(values=["interaction"], target=True),
    RATING: EventTypeSettings(values=["rating"], target=True),
    "cart": EventTypeSettings(weight=0.5, values=["cart", "add_to_cart"]),
    "view": EventTypeSettings(weight=0.1, values=["view", "click"]),
    RETURN: EventTypeSettings(weight=0.0, values=["return", "refund"]),
}
"""Types of a source whose settings and adapter name none."""


@dataclass(frozen=True)
class EventTypes:
    """The types of a source's interactions, by name, with the roles that they have.

    Attributes:
        types: by name, as `raw.interactions.event_type` has it.
        returns: whether returns are subtracted from units and amounts, or not counted.
        seen: types of `recommendations.exclude_seen`; empty: lists may repeat items.
    """

    types: Mapping[str, EventTypeSettings]
    returns: Literal["subtract", "exclude"] = "subtract"
    seen: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """Types that recommendations should predict."""
        return tuple(name for name, type_ in self.types.items() if type_.target)

    @property
    def purchases(self) -> tuple[str, ...]:
        """Types that demand and churn count: purchases, or the targets where there are none."""
        purchases = tuple(name for name in (PURCHASE, UNTYPED) if name in self.types)
        return purchases or self.targets

    @property
    def weighted(self) -> dict[str, float]:
        """Weights of the types that recommenders read."""
        return {name: type_.weight for name, type_ in self.types.items() if type_.weight > 0}

    def name_sql(self, value: str) -> str:
        """SQL of the type's name; values that belong to no type stay as they are.

        Args:
            value: SQL of the value of the source, a text.
        """
        cases = " ".join(
            f"when lower(trim({value})) in ({', '.join(map(quote_literal, values))}) "
            f"then {quote_literal(name)}"
            for name, values in self.values_by_type().items()
        )
        return f"case {cases} else {value} end" if cases else value

    def values_by_type(self) -> dict[str, list[str]]:
        """The source's values of each type, in lower case."""
        return {
            name: sorted({value.strip().lower() for value in type_.values or [name]})
            for name, type_ in self.types.items()
        }

    def parameters(self) -> dict[str, object]:
        """Parameters of queries: names and weights of types, targets, purchases, seen types."""
        return {
            "weighted_types": list(self.weighted),
            "type_weights": list(self.weighted.values()),
            "target_types": list(self.targets),
            "purchase_types": list(self.purchases),
            "return_types": [RETURN] if self.returns == "subtract" else [],
            "seen_types": list(self.seen),
        }


def resolve_event_types(
    declared: Mapping[str, EventTypeSettings],
    default: Mapping[str, EventTypeSettings],
    *,
    returns: Literal["subtract", "exclude"] = "subtract",
    exclude_seen: bool | Sequence[str] = False,
) -> EventTypes:
    """The types of a source from its settings.

    Without a declared target, `purchase` is the target, else `rating`. `exclude_seen: true` means
    the targets.

    Args:
        declared: `source.events`; empty: the default.
        default: types of the adapter.
        returns: `source.returns`.
        exclude_seen: `recommendations.exclude_seen`.

    Raises:
        SettingsError: no type is the target, a value belongs to two types, `exclude_seen` names an
            unknown type, or the target is weighted 0.
    """
    types = dict(declared or default)
    if declared:
        # A source without types has the type `interaction`: settings for other types keep it.
        types.setdefault(
            UNTYPED, EventTypeSettings(values=[UNTYPED], target=_is_implied_target(declared))
        )
        if RETURN in types:
            types[RETURN] = types[RETURN].model_copy(update={"weight": 0.0})
    if not any(type_.target for type_ in types.values() if type_ is not types.get(UNTYPED)):
        implied = next((name for name in (PURCHASE, RATING) if name in types), None)
        if implied is None:
            raise SettingsError(
                "source.events has no target: write target: true for the type that "
                f"recommendations should predict, one of {', '.join(declared or types)}"
            )
        types[implied] = types[implied].model_copy(update={"target": True})
    event_types = EventTypes(types, returns, _seen_types(types, exclude_seen))
    _validate(event_types)
    return event_types


def _is_implied_target(declared: Mapping[str, EventTypeSettings]) -> bool:
    """Returns whether untyped rows are targets: yes, unless only other types are declared so."""
    targets = {name for name, type_ in declared.items() if type_.target}
    return not targets or PURCHASE in targets


def _seen_types(
    types: Mapping[str, EventTypeSettings], exclude_seen: bool | Sequence[str]
) -> tuple[str, ...]:
    if isinstance(exclude_seen, bool):
        targets = tuple(name for name, type_ in types.items() if type_.target)
        return targets if exclude_seen else ()
    unknown = sorted(set(exclude_seen) - set(types))
    if unknown:
        raise SettingsError(
            f"recommendations.exclude_seen names {', '.join(unknown)}: write true, false, or types "
            f"of source.events, which are {', '.join(types)}"
        )
    # A source without types has purchases of the type `interaction`.
    return (*exclude_seen, *((UNTYPED,) if PURCHASE in exclude_seen and UNTYPED in types else ()))


def _validate(event_types: EventTypes) -> None:
    """Raises SettingsError for a value of two types, and for a target that nothing learns from."""
    owners: dict[str, str] = {}
    for name, values in event_types.values_by_type().items():
        for value in values:
            if value in owners:
                raise SettingsError(
                    f"source.events: the value {value!r} belongs to {owners[value]} and {name}: "
                    "remove it from one of them"
                )
            owners[value] = name
    for name in (*event_types.targets, *event_types.seen):
        if event_types.types[name].weight == 0:
            raise SettingsError(
                f"source.events.{name} has the weight 0, but is a target or in "
                "recommendations.exclude_seen: give it a weight above 0"
            )
