"""Daily and weekly partitions, and which week a day's predictions depend on.

A daily partition D contains the events of the business day D, or predictions as of its end. The
key of a weekly partition is its Monday; a model that is trained in it has read all rows through its
Sunday (`trained_through`). A day's prediction depends on the newest week that had ended by that
day: on a Sunday, the week that ends with it. Tables that a source knows in advance, such as
promotions, have weekly partitions beyond today.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import dagster as dg

from batch_predictions.core.home import State
from batch_predictions.settings import Settings
from batch_predictions.tables import week_of as week_of


def trained_through(week: dt.date) -> dt.date:
    """The last day of a weekly partition: its Sunday."""
    return week + dt.timedelta(days=6)


def latest_ended_week(day: dt.date) -> dt.date:
    """Monday of the newest week that had ended by the end of a day."""
    return week_of(day - dt.timedelta(days=6))


def days_between(first: dt.date, last: dt.date) -> list[str]:
    """Partition keys of the days from first to last, both included."""
    return [(first + dt.timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def weeks_ahead(settings: Settings) -> int:
    """How many weeks of tables known in advance are read, the current one included.

    They cover the 14 days that demand is forecast for, and the recommender's `planned_weeks`.
    """
    return 1 + max(2, settings.recommender.planned_weeks)


newest_ended_week = dg.TimeWindowPartitionMapping(start_offset=-6, end_offset=-6)
"""A day's upstream week. The default mapping and an offset of -1 give an unfinished week."""


def weeks_ahead_mapping(weeks: int) -> dg.TimeWindowPartitionMapping:
    """A day's upstream weeks of a table known in advance: those of the next 7 x `weeks` days."""
    return dg.TimeWindowPartitionMapping(start_offset=1, end_offset=7 * weeks)


@dataclass(frozen=True)
class Partitions:
    """The partitions of one home.

    Attributes:
        daily: from the home's first day to the source's last day, if it has one.
        weekly: the weeks of those days.
        weekly_ahead: also the weeks that are known in advance.
        known_ahead: a day's upstream mapping to the weeks that are known in advance.
    """

    daily: dg.DailyPartitionsDefinition
    weekly: dg.WeeklyPartitionsDefinition
    weekly_ahead: dg.WeeklyPartitionsDefinition
    known_ahead: dg.TimeWindowPartitionMapping

    @classmethod
    def of_home(cls, state: State, settings: Settings) -> Partitions:
        """The partitions by a home's state and settings."""
        end, weekly_end = None, None
        if state.last_day is not None:
            end = (state.last_day + dt.timedelta(days=1)).isoformat()
            # The week of the last day is included.
            weekly_end = (week_of(state.last_day) + dt.timedelta(days=7)).isoformat()
        first_week = week_of(state.first_day).isoformat()
        extra_weeks = weeks_ahead(settings)

        def weeks(end_offset: int) -> dg.WeeklyPartitionsDefinition:
            return dg.WeeklyPartitionsDefinition(
                start_date=first_week,
                end_date=weekly_end,
                day_offset=1,
                timezone=state.timezone,
                # Dagster limits offsets to the end date.
                end_offset=end_offset,
            )

        return cls(
            daily=dg.DailyPartitionsDefinition(
                start_date=state.first_day.isoformat(), end_date=end, timezone=state.timezone
            ),
            weekly=weeks(0),
            weekly_ahead=weeks(extra_weeks),
            known_ahead=weeks_ahead_mapping(extra_weeks - 1),
        )
