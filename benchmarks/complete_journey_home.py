"""A home folder with the Complete Journey's year as it was, for benchmarks of past days."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

FIRST, LAST = dt.date(2017, 1, 1), dt.date(2017, 12, 31)


def open_home(home: Path, **sections: Any) -> tuple[Any, Any]:
    """Settings and warehouse of a home; the year is read into it unless it is there."""
    os.environ["BATCH_PREDICTIONS_HOME"] = str(home)
    from batch_predictions.settings import Settings, SourceSettings

    settings = Settings(
        home=home.absolute(),
        source=SourceSettings(kind="complete_journey", original_dates=True),
        **sections,
    )
    from batch_predictions.sources.home_state import initialise_home
    from batch_predictions.sources.ingest import ingest
    from batch_predictions.sources.source_registry import build_source
    from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEMS, PROMOTIONS, USERS
    from batch_predictions.warehouse import Warehouse

    state = initialise_home(settings)
    source = build_source(settings.source, state)
    warehouse = Warehouse.of(settings)
    days = [str(FIRST + dt.timedelta(days=n)) for n in range((LAST - FIRST).days + 1)]
    for table in (INTERACTIONS, CAMPAIGN_EVENTS, ITEMS, USERS, PROMOTIONS):
        if not (
            warehouse.partitions(table) or (not table.partition and warehouse.path(table).exists())
        ):
            ingest(warehouse, source, table, days if table.partition else [days[-1]], state)
    return settings, warehouse
