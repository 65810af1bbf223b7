"""Audiences as files for the tools that send campaigns, and campaigns of the user's own."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from batch_predictions.core.csv_text import cell, has_ambiguous_items, without_formula
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.sources.manual_rows import add_manual_rows
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    PROMOTION_AUDIENCE,
    PROMOTIONS,
    RETENTION_AUDIENCE,
    Table,
)
from batch_predictions.tables.audience_tables import RETENTION_LIST
from batch_predictions.tables.identifiers import id_problem, visible_text
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_schema

AD_HOC = "ad_hoc"
"""Kind of campaigns that are added by a command, not by the source."""
RETENTION = "retention"
AUDIENCES: dict[str, Table] = {RETENTION: RETENTION_AUDIENCE, "promotions": PROMOTION_AUDIENCE}
_CAMPAIGN_SQL = {RETENTION: f"'{RETENTION_LIST}'", "promotions": "campaign_id"}
"""SQL of the `campaign_id` under which the customers of an audience are recorded as listed."""
MAX_IDS_IN_ERROR = 5


class AudienceError(ReleaseError):
    """An audience or a campaign does not exist or is not valid; the message says what to do."""


def read_audience(
    warehouse: Warehouse,
    name: str,
    day: dt.date | None = None,
    campaign: str | None = None,
    with_held_out: bool = False,
) -> pa.Table:
    """The customers of an audience, best first.

    Args:
        warehouse: with the prediction tables.
        name: retention or promotions.
        day: as of the end of this day; None: the newest day.
        campaign: promotions of this campaign only; None: all campaigns.
        with_held_out: with the customers who are held out, who must not be contacted.

    Raises:
        AudienceError: the audience has no such day or campaign; the message lists those it has.
    """
    table = AUDIENCES[name]
    partition = _find_partition(warehouse, table, day)
    if campaign is not None and name == RETENTION:
        raise AudienceError("the audience retention has no campaigns: leave --campaign out")
    rows = warehouse.query(
        f"""select * from {table.qualified} where date = $date
        and (not held_out or $with_held_out::BOOLEAN)
        and ($campaign::VARCHAR is null or {_CAMPAIGN_SQL[name]} = $campaign)
        order by {"rank" if name == RETENTION else "campaign_id, rank"}""",
        {"date": partition, "with_held_out": with_held_out, "campaign": campaign},
    )
    if campaign is not None and not rows.num_rows:
        campaigns = warehouse.query(
            f"select distinct campaign_id from {table.qualified} where date = $date order by 1",
            {"date": partition},
        )["campaign_id"].to_pylist()
        raise AudienceError(
            f"campaign {campaign} has no audience on {partition} (campaigns with one: "
            f"{', '.join(campaigns) or 'none'}): check that it is live or starts soon"
        )
    return rows


def _find_partition(warehouse: Warehouse, table: Table, day: dt.date | None) -> dt.date:
    """Returns the day, or the newest one if it is None, checked to have a partition."""
    partitions = warehouse.partitions(table)
    if day is None and partitions:
        return dt.date.fromisoformat(partitions[-1])
    if day is not None and day.isoformat() in partitions:
        return day
    available = f"{partitions[0]} to {partitions[-1]}" if partitions else "none"
    raise AudienceError(
        f"{table.qualified} has no rows of {day or 'any day'} (available days: {available}): "
        f"`batch-predictions run{f' --date {day}' if day else ''}` computes them"
    )


def to_csv(rows: pa.Table) -> str:
    """Rows as CSV with a header.

    The items of a list are separated by spaces; if an item of the column is empty, has a blank or
    begins with `[`, all lists of the column are JSON instead. A text that a spreadsheet would run
    as a formula (it begins with `=`, `+`, `-`, `@`, a tab or a line end, and is no number) gets an
    apostrophe in front, which spreadsheets do not show.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([without_formula(name) for name in rows.column_names])
    is_json = [_has_ambiguous_items(column) for column in rows.columns]
    for row in rows.to_pylist():
        writer.writerow(
            [cell(value, as_json) for value, as_json in zip(row.values(), is_json, strict=True)]
        )
    return text.getvalue()


def _has_ambiguous_items(column: pa.ChunkedArray) -> bool:
    """Returns whether a column has list items that could not be told apart in CSV."""
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return False
    return has_ambiguous_items(item for values in column.to_pylist() for item in values or ())


def mark_listed(warehouse: Warehouse, name: str, rows: pa.Table) -> int:
    """Records the customers of an exported audience as `listed` in `raw.campaign_events`.

    The events have the audience's day. Exporting an audience again replaces its events. Customers
    who are held out are not recorded, since they are not contacted.

    Args:
        warehouse: to record in.
        name: retention or promotions.
        rows: what `read_audience` returned.

    Returns:
        The number of recorded customers.
    """
    listed = [row for row in rows.to_pylist() if not row["held_out"]]
    events_by_list: dict[tuple[dt.date, str], list[dict[str, object]]] = {}
    for row in listed:
        campaign = RETENTION_LIST if name == RETENTION else row["campaign_id"]
        event = {
            "date": row["date"],
            "campaign_id": campaign,
            "user_id": row["user_id"],
            "event_type": "listed",
        }
        events_by_list.setdefault((row["date"], campaign), []).append(event)
    for (day, campaign), events in events_by_list.items():
        table = pa.Table.from_pylist(events, arrow_schema(CAMPAIGN_EVENTS))
        add_manual_rows(warehouse, CAMPAIGN_EVENTS, f"{name} {campaign} {day}", table)
    return len(listed)


def add_campaign(
    warehouse: Warehouse, campaign: str, items: Sequence[str], starts: dt.date, ends: dt.date
) -> int:
    """Adds a campaign of the kind `ad_hoc`, or replaces it; returns its number of items.

    Args:
        warehouse: to add it to.
        campaign: its id.
        items: ids of its items; duplicates and empty ones are dropped.
        starts: first day.
        ends: last day.

    Raises:
        AudienceError: it has no items, unknown items, or days in the wrong order, or the source has
            a campaign of that id.
    """
    item_ids = list(dict.fromkeys(item.strip() for item in items if item.strip()))
    if not campaign.strip() or not item_ids:
        raise AudienceError("a campaign needs a name and at least one item")
    if problem := id_problem(campaign):
        raise AudienceError(f"the campaign's name {visible_text(campaign)!r} {problem}")
    if campaign == RETENTION_LIST:
        raise AudienceError(f"{campaign} is the name of the retention list: choose another name")
    if ends < starts:
        raise AudienceError(f"the campaign would end on {ends}, before it starts on {starts}")
    unknown = warehouse.query(
        """select item_id from (select unnest($items::VARCHAR[]) as item_id)
        anti join (select item_id from raw.items union select item_id from raw.interactions)
        using (item_id) order by item_id""",
        {"items": item_ids},
    )["item_id"].to_pylist()
    if unknown:
        n_hidden = len(unknown) - MAX_IDS_IN_ERROR
        more = f" and {n_hidden} more" if n_hidden > 0 else ""
        raise AudienceError(f"unknown items: {', '.join(unknown[:MAX_IDS_IN_ERROR])}{more}")
    is_in_source = warehouse.value(
        "select count(*) from raw.promotions where campaign_id = $campaign and kind <> $kind",
        {"campaign": campaign, "kind": AD_HOC},
    )
    if is_in_source:
        raise AudienceError(f"the source has a campaign {campaign} already: choose another name")
    rows = [
        {
            "campaign_id": campaign,
            "kind": AD_HOC,
            "item_id": item_id,
            "starts_on": starts,
            "ends_on": ends,
        }
        for item_id in item_ids
    ]
    table = pa.Table.from_pylist(rows, arrow_schema(PROMOTIONS))
    return add_manual_rows(warehouse, PROMOTIONS, campaign, table)


def read_item_ids(file: Path) -> list[str]:
    """Item ids from a text file with one id a line, or from a CSV's first column `item_id`."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        ids = [row[0].strip() for row in csv.reader(lines) if row and row[0].strip()]
    return ids[1:] if ids and ids[0] == "item_id" else ids
