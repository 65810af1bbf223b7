"""Daily and weekly partitions of this home, and which week a day's predictions stand on.

A daily partition D holds what happened on the business day D, or what is predicted as of its end.
A weekly partition is named by its Monday; what is trained in it knows everything through its
Sunday (`trained_through`). A day's prediction stands on the newest week that had ended by that
day, so that on a Sunday it is the week that ends with it. What a source knows ahead, such as its
promotions, has weekly partitions that reach beyond today.
"""

from __future__ import annotations

import datetime as dt

import dagster as dg

from batch_predictions import home
from batch_predictions.settings import Settings, home_folder
from batch_predictions.tables import week_of as week_of

_state = home.read_state(home_folder())
if _state is None:
    raise home.HomeError(
        f"{home_folder()} has not begun: load `batch_predictions.definitions`, or run "
        "`batch-predictions run`, which fix its first day"
    )


def trained_through(week: dt.date) -> dt.date:
    """The last day that a weekly partition knows: its Sunday."""
    return week + dt.timedelta(days=6)


def latest_ended_week(day: dt.date) -> dt.date:
    """The newest week that had ended by the end of a day."""
    return week_of(day - dt.timedelta(days=6))


def days_between(first: dt.date, last: dt.date) -> list[str]:
    """All days from first to last, both included, as partition keys."""
    return [(first + dt.timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def weeks_ahead(settings: Settings) -> int:
    """Weeks that are read ahead, the running one included: they hold every day of the 14 after
    yesterday, which forecasts look forward to, and of the recommender's `planned_weeks`."""
    return 1 + max(2, settings.recommender.planned_weeks)


_end, _weekly_end = None, None
if _state.last_day is not None:
    _end = (_state.last_day + dt.timedelta(days=1)).isoformat()
    # The week that holds the last day, whole.
    _weekly_end = (week_of(_state.last_day) + dt.timedelta(days=7)).isoformat()

daily = dg.DailyPartitionsDefinition(
    start_date=_state.first_day.isoformat(),
    end_date=_end,
    timezone=_state.timezone,
)
weekly = dg.WeeklyPartitionsDefinition(
    start_date=week_of(_state.first_day).isoformat(),
    end_date=_weekly_end,
    day_offset=1,
    timezone=_state.timezone,
)
_ahead = weeks_ahead(Settings.load())
# More weeks than those that have ended: the one that is running and the next two, which hold every
# day of the 14 after yesterday, or as many as are planned. Dagster cuts them off at the end date.
weekly_ahead = dg.WeeklyPartitionsDefinition(
    start_date=week_of(_state.first_day).isoformat(),
    end_date=_weekly_end,
    day_offset=1,
    timezone=_state.timezone,
    end_offset=_ahead,
)
newest_ended_week = dg.TimeWindowPartitionMapping(start_offset=-6, end_offset=-6)
"""A day's upstream week: the default mapping, and an offset of -1, point at an unfinished one."""


def weeks_ahead_mapping(weeks: int) -> dg.TimeWindowPartitionMapping:
    """The weeks of `weekly_ahead` that the 7 x `weeks` days after a day lie in: what is planned for
    them."""
    return dg.TimeWindowPartitionMapping(start_offset=1, end_offset=7 * weeks)


known_ahead = weeks_ahead_mapping(_ahead - 1)
"""All of them: the 14 days after a day, or those of as many weeks as are planned."""
