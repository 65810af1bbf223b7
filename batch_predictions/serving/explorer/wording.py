"""Explains predictions in words for people who have not read the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LIKED = "because_you_liked:"
_REASONS = {
    "bought_before": "bought before",
    "viewed_before": "looked at before, but did not take",
    "popular_with_your_segment": "popular with people like them",
    "popular": "popular with everybody",
    "trending": "in demand lately",
    "on_promotion": "on promotion the next day",
}
_ATTRIBUTES = {"age_bracket": "age bracket", "gender": "gender", "location": "location"}


def liked_item(reason: str | None) -> str | None:
    """The item that a reason names; None if it names none."""
    return reason.removeprefix(LIKED) if reason and reason.startswith(LIKED) else None


def explain_reason(reason: str | None, titles: Mapping[str, str]) -> str:
    """Explains the reason of a recommendation in words; an unknown reason stays as it is.

    Args:
        reason: such as bought_before, or because_you_liked:ITEM; None: none is stored.
        titles: titles by item.
    """
    item = liked_item(reason)
    if item is not None:
        return f"because they liked {titles.get(item, item)}"
    return _REASONS.get(reason or "", reason or "")


def explain_source(source: str, segment: Mapping[str, str] | None) -> str:
    """Explains in a sentence how a list was made: personal, demographic or popular.

    Args:
        source: of the list.
        segment: its level and values.
    """
    if source == "personal":
        return "Ranked for this user, from what they have done so far."
    if source == "demographic":
        values = [
            f"{_ATTRIBUTES.get(name, name)} {value}"
            for name, value in (segment or {}).items()
            if name != "level"
        ]
        return (
            "The user has no list of their own and gets what is popular with people "
            f"of {', '.join(values)}."
        )
    return (
        "The user has no list of their own, and no segment is known for them: they get "
        "what is popular with everybody."
    )


def explain_change(row: Mapping[str, object]) -> str:
    """Says in words whether the change of an item's sentiment is significant."""
    if row.get("changed"):
        return "marked as changed"
    return "too few reviews to test" if row.get("change_p") is None else "not significant"


def age_in_words(seconds: float) -> str:
    """An age such as `5 hours` or `3 days`."""
    hours = seconds / 3600
    if hours < 1:
        return "less than an hour"
    number, unit = (int(hours), "hour") if hours < 48 else (int(hours / 24), "day")
    return f"{number} {unit}" + ("s" if number != 1 else "")


def bar_lengths(scores: Sequence[float | None]) -> list[float]:
    """Lengths of bars for scores, 0 to 100; the largest is 100.

    Scores are compared with zero where none is negative, otherwise with the smallest.
    """
    numbers = [score for score in scores if score is not None]
    if not numbers:
        return [0.0] * len(scores)
    low, high = min(0.0, *numbers), max(numbers)
    if high <= low:
        return [0.0] * len(scores)
    return [0.0 if s is None else round(100 * (s - low) / (high - low), 1) for s in scores]
