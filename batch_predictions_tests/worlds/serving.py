"""Small predictions to release; a tag in their values tells releases apart."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions.serving.release.publish import NO_CONTEXT, publish
from batch_predictions.serving.release.release_records import releases
from batch_predictions.serving.store.pointer import Release
from batch_predictions.serving.store.store import CURRENT, Store, store_url
from batch_predictions.settings import ServingSettings, Settings
from batch_predictions.tables import (
    DEMOGRAPHIC_RECOMMENDATIONS,
    ITEM_STATE,
    RECOMMENDATIONS,
    USER_SEGMENTS,
    Table,
)
from batch_predictions.warehouse import Warehouse

DAY = dt.date(2024, 3, 3)
NOW = dt.datetime(2024, 3, 4, 5, tzinfo=dt.UTC)
TABLES = (RECOMMENDATIONS, DEMOGRAPHIC_RECOMMENDATIONS)
LEVELS = """
    ('age_gender_location', '25-34', 'F', 'Berlin'), ('age_gender_location', '35-44', 'M', 'Rome'),
    ('age_location', '25-34', null, 'Berlin'), ('age_gender', '25-34', 'F', null),
    ('gender_location', null, 'F', 'Berlin'), ('age', '25-34', null, null),
    ('age', '35-44', null, null), ('location', null, null, 'Berlin'),
    ('location', null, null, 'unknown'), ('gender', null, 'F', null), ('everyone', null, null, null)
"""


@dataclass(frozen=True)
class ServingWorld:
    """A home with a warehouse and a serving store."""

    settings: Settings
    warehouse: Warehouse
    store: Store

    def predict(self, day: dt.date = DAY, tag: str = "a", users: int = 3, k: int = 4) -> None:
        """Writes the predictions of a day; model, items and titles contain the tag.

        Users u0, u1, … have personal lists; `ann` (25-34, F, Berlin) and `bob` (all unknown) are
        known, but have no lists.
        """
        key = day.isoformat()
        replace = self.warehouse.replace_partition
        bound = {"tag": tag, "users": users, "k": k}
        replace(
            RECOMMENDATIONS,
            key,
            "select 'u' || u as user_id, r as rank, $tag || ((u + r) % 50) as item_id, "
            "1.0 / r as score, 'trending' as reason, 'als-' || $tag as model_version "
            "from range($users::BIGINT) as a(u), range(1, $k::BIGINT + 1) as b(r)",
            bound,
        )
        replace(
            DEMOGRAPHIC_RECOMMENDATIONS,
            key,
            f"select l.*, r as rank, $tag || r as item_id, 0.5 / r as score, 10 as support, "
            f"'demo-' || $tag as model_version from (values {LEVELS}) as "
            "l(segment_level, age_bracket, gender, location), range(1, $k::BIGINT + 1) as b(r)",
            bound,
        )
        replace(
            USER_SEGMENTS,
            key,
            "select 'u' || u as user_id, 'unknown' as age_bracket, 'unknown' as gender, "
            "'unknown' as location from range($users::BIGINT) as a(u) "
            "union all values ('ann', '25-34', 'F', 'Berlin'), ('bob', 'unknown', 'unknown', "
            "'unknown')",
            bound,
        )
        replace(
            ITEM_STATE,
            key,
            "select $tag || i as item_id, 'Title ' || $tag || i as title, 'things' as category, "
            "1.0 as price, false as is_excluded, true as available from range(40) as a(i)",
            bound,
        )

    def publish(
        self,
        day: dt.date = DAY,
        *more_tables: Table,
        keep: int = 3,
        optional: tuple[str, ...] = (),
        context: ContextChoice = NO_CONTEXT,
    ) -> Release:
        """Publishes a day of TABLES and of more tables."""
        return publish(
            self.store,
            self.warehouse,
            day,
            [*TABLES, *more_tables],
            keep=keep,
            now=NOW,
            optional=optional,
            context=context,
        )

    def release(self, day: dt.date = DAY, tag: str = "a") -> Release:
        """Writes and publishes a day."""
        self.predict(day, tag)
        return self.publish(day)


def open_world(home: Path, url: str | None = None) -> ServingWorld:
    """A world in a home folder, which may exist already."""
    settings = Settings(home=home, serving=ServingSettings(url=url))
    return ServingWorld(settings, Warehouse.of(settings), Store(store_url(settings)))


def current_release_id(world: ServingWorld) -> str | None:
    """The release that is served."""
    with world.store.read() as db:
        return db.execute(sa.select(CURRENT.c.release_id)).scalar()


def count_rows(world: ServingWorld, table: Any, release_id: str) -> int:
    """The rows of a release in a table of the store."""
    with world.store.read() as db:
        count = sa.select(sa.func.count()).select_from(table)
        return db.execute(count.where(table.c.release_id == release_id)).scalar_one()


def list_release_ids(world: ServingWorld) -> list[str]:
    """Ids of the releases in the store, the newest first."""
    return [release.release_id for release in releases(world.store)]
