"""Audiences as files for whoever sends the campaign, and the record of who was on them."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from batch_predictions.serving.release.pointer import ReleaseError
from batch_predictions.sources.manual_rows import add_manual_rows
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    PROMOTION_AUDIENCE,
    PROMOTIONS,
    RETENTION_AUDIENCE,
    Table,
)
from batch_predictions.warehouse import Warehouse

AD_HOC = "ad_hoc"
"""Kind of the campaigns that are added by a command."""
AUDIENCES: dict[str, Table] = {"retention": RETENTION_AUDIENCE, "promotions": PROMOTION_AUDIENCE}
_LISTS = {"retention": "'retention'", "promotions": "campaign_id"}
"""SQL of the campaign under which an audience's customers are recorded."""


class AudienceError(ReleaseError):
    """There is no such audience or campaign; the message says what there is."""


def audience(
    warehouse: Warehouse,
    name: str,
    day: dt.date | None = None,
    campaign: str | None = None,
    held_out: bool = False,
) -> pa.Table:
    """Rows of an audience, best first: who is to be contacted, without the held out unless asked.

    Args:
        warehouse: where it lies.
        name: retention or promotions.
        day: as of the end of this day; None: the newest.
        campaign: of promotions, one campaign alone.
        held_out: with the customers who are kept out for measuring.

    Raises:
        AudienceError: no such audience was made, or it has no such campaign.
    """
    table = AUDIENCES[name]
    days = warehouse.partitions(table)
    chosen = day.isoformat() if day else (days[-1] if days else None)
    if chosen is None or chosen not in days:
        there = f"{days[0]} to {days[-1]}" if days else "none"
        raise AudienceError(
            f"{table.qualified} was not made for {day or 'any day'} (days there: {there}): "
            f"`batch-predictions run{f' --date {day}' if day else ''}` makes it"
        )
    if campaign is not None and name != "promotions":
        raise AudienceError(f"{name} has no campaigns: leave --campaign out")
    found = warehouse.query(
        f"""select * from {table.qualified} where date = $date
        and (not held_out or $held_out::BOOLEAN)
        and ($campaign::VARCHAR is null or {_LISTS[name]} = $campaign)
        order by {"campaign_id, " if name == "promotions" else ""}rank""",
        {"date": dt.date.fromisoformat(chosen), "held_out": held_out, "campaign": campaign},
    )
    if campaign is not None and not found.num_rows:
        every = warehouse.query(
            f"select distinct campaign_id from {table.qualified} where date = $date order by 1",
            {"date": dt.date.fromisoformat(chosen)},
        )["campaign_id"].to_pylist()
        raise AudienceError(
            f"campaign {campaign} has no audience on {chosen} (campaigns there: "
            f"{', '.join(every) or 'none'}): is it live, or about to start?"
        )
    return found


def as_csv(rows: pa.Table) -> str:
    """Rows as CSV with a header; lists are joined by blanks."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in rows.to_pylist():
        writer.writerow(
            [" ".join(value) if isinstance(value, list) else value for value in row.values()]
        )
    return out.getvalue()


def mark_listed(warehouse: Warehouse, name: str, rows: pa.Table) -> int:
    """Records who is on an exported list as `listed` in `raw.campaign_events` of its day.

    Exporting a list again replaces its record. The held out are not listed: nobody contacts them.
    """
    listed = [row for row in rows.to_pylist() if not row["held_out"]]
    lists: dict[tuple[dt.date, str], list[dict[str, object]]] = {}
    for row in listed:
        campaign = row["campaign_id"] if name == "promotions" else name
        lists.setdefault((row["date"], campaign), []).append(
            {
                "date": row["date"],
                "campaign_id": campaign,
                "user_id": row["user_id"],
                "item_id": None,
                "event_type": "listed",
            }
        )
    for (day, campaign), events in lists.items():
        table = pa.Table.from_pylist(events, _EVENTS)
        add_manual_rows(warehouse, CAMPAIGN_EVENTS, f"{name} {campaign} {day}", table)
    return len(listed)


_EVENTS = pa.schema(
    [
        ("date", pa.date32()),
        *((name, pa.string()) for name in ("campaign_id", "user_id", "item_id", "event_type")),
    ]
)


def add_campaign(
    warehouse: Warehouse, campaign: str, items: Sequence[str], starts: dt.date, ends: dt.date
) -> int:
    """A list of items becomes a campaign of the kind `ad_hoc`; adding it again replaces it.

    Raises:
        AudienceError: it has no items, unknown items or days out of order, or the source has a
            campaign of that name.
    """
    wanted = list(dict.fromkeys(item.strip() for item in items if item.strip()))
    if not campaign.strip() or not wanted:
        raise AudienceError("a campaign needs a name and at least one item")
    if campaign == "retention":
        raise AudienceError("retention is the name of the retention list: choose another one")
    if ends < starts:
        raise AudienceError(f"the campaign would end on {ends}, before it starts on {starts}")
    unknown = warehouse.query(
        """select item_id from (select unnest($items::VARCHAR[]) as item_id)
        anti join (select item_id from raw.items union select item_id from raw.interactions)
        using (item_id) order by item_id""",
        {"items": wanted},
    )["item_id"].to_pylist()
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise AudienceError(f"items that nobody knows: {', '.join(unknown[:5])}{more}")
    theirs = warehouse.value(
        "select count(*) from raw.promotions where campaign_id = $campaign and kind <> $kind",
        {"campaign": campaign, "kind": AD_HOC},
    )
    if theirs:
        raise AudienceError(f"the source has a campaign {campaign} already: choose another name")
    rows = [
        {
            "campaign_id": campaign,
            "kind": AD_HOC,
            "item_id": item,
            "starts_on": starts,
            "ends_on": ends,
        }
        for item in wanted
    ]
    types = {"starts_on": pa.date32(), "ends_on": pa.date32()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in rows[0]])
    return add_manual_rows(warehouse, PROMOTIONS, campaign, pa.Table.from_pylist(rows, schema))


def items_in(file: Path) -> list[str]:
    """Item ids of a text file, one a line, or of a CSV's first column under `item_id`."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        ids = [row[0].strip() for row in csv.reader(opened) if row and row[0].strip()]
    return ids[1:] if ids and ids[0] == "item_id" else ids
