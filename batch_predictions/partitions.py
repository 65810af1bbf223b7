"""Daily and weekly partitions, and which week a day's predictions depend on.

A daily partition D holds what happened on the business day D, or what is predicted as of its end.
A weekly partition is named by its Monday; what is trained in it knows everything through its
Sunday (`trained_through`). A day's prediction depends on the newest week that had ended by that
day: on a Sunday, the week that ends with it. Tables that a source knows ahead, such as its
promotions, have weekly partitions that reach beyond today.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import dagster as dg

from batch_predictions.home import State
from batch_predictions.settings import Settings
from batch_predictions.tables import week_of as week_of


def trained_through(week: dt.date) -> dt.date:
    """The last day that a weekly partition knows: its Sunday."""
    return week + dt.timedelta(days=6)


def latest_ended_week(day: dt.date) -> dt.date:
    """Monday of the newest week that had ended by the end of a day."""
    return week_of(day - dt.timedelta(days=6))


def days_between(first: dt.date, last: dt.date) -> list[str]:
    """All days from first to last, both included, as partition keys."""
    return [(first + dt.timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def weeks_ahead(settings: Settings) -> int:
    """Weeks of tables known ahead that are read, the running one included.

    They hold every day of the 14 after yesterday, which demand forecasts cover, and of the
    recommender's `planned_weeks`.
    """
    return 1 + max(2, settings.recommender.planned_weeks)


newest_ended_week = dg.TimeWindowPartitionMapping(start_offset=-6, end_offset=-6)
"""A day's upstream week. The default mapping, and an offset of -1, point at an unfinished one."""


def weeks_ahead_mapping(weeks: int) -> dg.TimeWindowPartitionMapping:
    """A day's upstream weeks of a table known ahead: those of the 7 x `weeks` days after it."""
    return dg.TimeWindowPartitionMapping(start_offset=1, end_offset=7 * weeks)


@dataclass(frozen=True)
class Partitions:
    """The partitions of one home.

    Attributes:
        daily: from the home's first day on, to the source's last day if it has one.
        weekly: the weeks of those days.
        weekly_ahead: the same, and the weeks that are known ahead.
        known_ahead: a day's upstream mapping to all weeks that are known ahead.
    """

    daily: dg.DailyPartitionsDefinition
    weekly: dg.WeeklyPartitionsDefinition
    weekly_ahead: dg.WeeklyPartitionsDefinition
    known_ahead: dg.TimeWindowPartitionMapping

    @classmethod
    def of_home(cls, state: State, settings: Settings) -> Partitions:
        """The partitions that a home's state and settings define."""
        end, weekly_end = None, None
        if state.last_day is not None:
            end = (state.last_day + dt.timedelta(days=1)).isoformat()
            # The week that holds the last day, whole.
            weekly_end = (week_of(state.last_day) + dt.timedelta(days=7)).isoformat()
        first_week = week_of(state.first_day).isoformat()
        ahead = weeks_ahead(settings)

        def weeks(end_offset: int) -> dg.WeeklyPartitionsDefinition:
            return dg.WeeklyPartitionsDefinition(
                start_date=first_week,
                end_date=weekly_end,
                day_offset=1,
                timezone=state.timezone,
                # Dagster cuts offsets off at the end date.
                end_offset=end_offset,
            )

        return cls(
            daily=dg.DailyPartitionsDefinition(
                start_date=state.first_day.isoformat(), end_date=end, timezone=state.timezone
            ),
            weekly=weeks(0),
            weekly_ahead=weeks(ahead),
            known_ahead=weeks_ahead_mapping(ahead - 1),
        )
