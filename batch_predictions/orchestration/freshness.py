"""The asset check `is_fresh`: sources, predictions and the release have a recent day.

It looks at the newest partition, not at the newest materialization: a backfill of an old day makes
nothing fresh. A sensor reports the results when they change, so that they turn red where nothing
runs; the check can be run by hand too.
"""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from batch_predictions.core.home import State, read_state
from batch_predictions.serving.assets import RELEASE_KEY
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings
from batch_predictions.sources.source_registry import current_date
from batch_predictions.tables import EVENT_TABLES, TABLES, Table
from batch_predictions.tables.partitions import latest_ended_week
from batch_predictions.warehouse import Warehouse, as_date

IS_FRESH = "is_fresh"
EVERY_SECONDS = 300


@dataclass(frozen=True)
class Freshness:
    """The newest partition of a table, and the oldest one that counts as fresh.

    Attributes:
        key: the asset.
        newest: its newest partition; None: it has none.
        expected: the oldest partition that is fresh.
    """

    key: dg.AssetKey
    newest: dt.date | None
    expected: dt.date

    @property
    def is_fresh(self) -> bool:
        """Whether the newest partition is recent enough to count as fresh."""
        return self.newest is not None and self.newest >= self.expected

    def __str__(self) -> str:
        newest = f"the newest is {self.newest}" if self.newest else "there is none"
        return f"{newest}; {self.expected} or later is expected (alerts.max_age_days)"


def freshness_tables() -> list[Table]:
    """Raw tables and predictions by day or week that have a check, those of plugins too."""
    return [
        table
        for table in TABLES.values()
        if table.is_periodic and (table in EVENT_TABLES or table.schema == "predictions")
    ]


def read_freshness(settings: Settings, state: State, today: dt.date) -> list[Freshness]:
    """The freshness of every table that has rows, and of the release.

    Args:
        settings: `alerts.max_age_days`.
        state: of the home; after the last day of its source, that day is expected.
        today: the current date in the source's time zone.
    """
    warehouse = Warehouse.of(settings)
    day = today - dt.timedelta(days=settings.alerts.max_age_days)
    day = min(day, state.last_day or day)
    result = []
    for table in freshness_tables():
        partitions = warehouse.partitions(table)
        if partitions:
            expected = latest_ended_week(day) if table.partition == "week" else day
            result.append(Freshness(_key_of(table), as_date(partitions[-1]), expected))
    with ReadStore(store_url(settings)) as store:
        release = store.current_release()
    return [*result, Freshness(RELEASE_KEY, release.as_of if release else None, day)]


def freshness_check(keys: Sequence[dg.AssetKey]) -> dg.AssetChecksDefinition:
    """The check of some assets, to be run by hand.

    Args:
        keys: of the platform's assets; those that have no check are left out.
    """
    specs = [
        dg.AssetCheckSpec(
            IS_FRESH,
            asset=key,
            description="The newest partition is recent: at most `alerts.max_age_days` old.",
        )
        for key in _checked_keys(keys)
    ]

    # A run of some assets has the checks of these only.
    @dg.multi_asset_check(name="freshness", specs=specs, can_subset=True)
    def check(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.AssetCheckResult]:
        state = read_state(settings.home)
        assert state, "the definitions have initialised the home"
        known = {
            freshness.key: freshness
            for freshness in read_freshness(settings, state, current_date(state.timezone))
        }
        for key in sorted(key.asset_key for key in context.selected_asset_check_keys):
            freshness = known.get(key)
            yield dg.AssetCheckResult(
                check_name=IS_FRESH,
                asset_key=key,
                # A source without reviews has no sentiment, which is not stale.
                passed=freshness is None or freshness.is_fresh,
                severity=dg.AssetCheckSeverity.WARN,
                description=str(freshness) if freshness else "it has no partition yet",
            )

    return check


def freshness_sensor(keys: Sequence[dg.AssetKey]) -> dg.SensorDefinition:
    """The sensor that reports results of the check when they change.

    Args:
        keys: of the platform's assets.
    """
    checked = _checked_keys(keys)

    @dg.sensor(
        name="freshness",
        description="Says of sources, predictions and the release whether they are fresh: the "
        f"check {IS_FRESH}.",
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(
        context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
    ) -> dg.SensorResult:
        state = read_state(settings.home)
        assert state, "the definitions have initialised the home"
        told: dict[str, str] = json.loads(context.cursor or "{}")
        events, now = [], {}
        for freshness in read_freshness(settings, state, current_date(state.timezone)):
            name, shown = freshness.key.to_user_string(), f"{freshness.is_fresh} {freshness.newest}"
            now[name] = shown
            if freshness.key in checked and told.get(name) != shown:
                events.append(
                    dg.AssetCheckEvaluation(
                        asset_key=freshness.key,
                        check_name=IS_FRESH,
                        passed=freshness.is_fresh,
                        severity=dg.AssetCheckSeverity.WARN,
                        description=str(freshness),
                    )
                )
        note = f"{len(events)} results reported" if events else "nothing has changed"
        return dg.SensorResult(
            skip_reason=note, cursor=json.dumps(now, sort_keys=True), asset_events=events
        )

    return sensor


def _checked_keys(keys: Sequence[dg.AssetKey]) -> list[dg.AssetKey]:
    checked = {RELEASE_KEY, *map(_key_of, freshness_tables())}
    return [key for key in keys if key in checked]


def _key_of(table: Table) -> dg.AssetKey:
    return dg.AssetKey([table.schema, table.name])
