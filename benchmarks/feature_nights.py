"""CPU seconds of a night's features after 90, 180 and 365 days of history: by tiles, by direct SQL.

    python benchmarks/feature_nights.py [--days 90 180 365] [--users 50000] [--items 10000]
        [--events 13700] [--repeats 3] [--folder F]

For each length of history a home has that many days of interactions: 60 % purchases, 38 % views,
2 % returns, skewed over users and items. The tiles are made as of the day before the last. Then
the last night is measured, every time in a new process: tiles and feature tables (`tiles`), the
feature tables by one query each over all raw days (`direct`: the tests' reference), and the
histories that the recommender stages, both ways. The rows of both are compared. Prints one JSON
object: medians of CPU seconds, their growth, bytes on disk; progress goes to the standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import log, machine, print_json

ROOT = Path(__file__).parents[1]
FIRST_DAY = dt.date(2024, 1, 1)
WAYS = ("tiles", "direct")
DIRECT_HISTORIES = """
    select
        user_id,
        list(item_id order by item_id, date) as item_ids,
        list(($date::DATE - date)::INTEGER order by item_id, date) as ages,
        list(events order by item_id, date) as events,
        list(targets order by item_id, date) as targets,
        list(is_seen order by item_id, date) as is_seen,
        list(event_time order by item_id, date) as timestamps,
        list(rating order by item_id, date) as ratings
    from ({days}) group by user_id
"""
"""Histories as they were staged before there were tiles."""


def measure(folder: Path, days: list[int], arguments: argparse.Namespace) -> dict[str, Any]:
    """Makes a home for each length of history, and measures its last night."""
    result: dict[str, Any] = {"machine": machine(), **vars(arguments), "nights": {}}
    result.pop("folder")
    homes = {number: folder / f"home-{number}" for number in days}
    for number, home in homes.items():
        if not home.exists():
            log(f"{number} days: written")
            _run(home, "write", f"{number},{arguments.users},{arguments.items},{arguments.events}")
        log(f"{number} days: first tiles", _run(home, "first", str(number)))
    runs: dict[int, dict[str, list[dict[str, float]]]] = {
        number: {way: [] for way in WAYS} for number in days
    }
    for _ in range(arguments.repeats):
        for number, home in homes.items():
            for way in WAYS:
                runs[number][way].append(_run(home, way, str(number)))
                log(number, way, runs[number][way][-1])
    for number, home in homes.items():
        night = {way: _medians(runs[number][way]) for way in WAYS}
        result["nights"][number] = {
            **night,
            "rows_differ": _run(home, "compare", str(number)),
            "mib": {name: _mebibytes(home, name) for name in ("raw", "tiles")},
        }
    shortest, longest = min(days), max(days)
    result["growth"] = {
        way: {
            name: round(
                result["nights"][longest][way][name] / result["nights"][shortest][way][name], 2
            )
            for name in ("features", "histories")
        }
        for way in WAYS
    }
    return result


def _run(home: Path, step: str, argument: str) -> Any:
    """Runs a step in a process of its own."""
    process = subprocess.run(
        [sys.executable, __file__, "--step", step, argument, "--home", str(home)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(process.stdout)


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def _mebibytes(home: Path, name: str) -> float:
    files = (home / "warehouse" / name).rglob("*.parquet")
    return round(sum(file.stat().st_size for file in files) / 2**20, 1)


# --- steps, each in a process of its own -----------------------------------------------------


def _step(home: Path, step: str, argument: str) -> Any:
    sys.path.insert(0, str(ROOT))
    from batch_predictions.settings import Settings, SourceSettings
    from batch_predictions.warehouse import Warehouse

    source = SourceSettings(kind="files", path=home / "source")
    settings = Settings(home=home, source=source)
    warehouse = Warehouse.of(settings)
    if step == "write":
        _write_home(warehouse, *map(int, argument.split(",")))
        return None
    last = FIRST_DAY + dt.timedelta(days=int(argument) - 1)
    values = _parameters(settings, warehouse)
    steps: dict[str, Callable[..., Any]] = {
        "first": _make_first_tiles,
        "tiles": functools.partial(_measure_tiles, settings),
        "direct": _measure_direct,
        "compare": _compare,
    }
    warehouse.value("select 1")
    return steps[step](warehouse, last, values)


def _parameters(settings: Any, warehouse: Any) -> dict[str, Any]:
    from batch_predictions.core.home import State, write_state
    from batch_predictions.features.sql.queries import demand_parameters

    source_folder = settings.source.path
    source_folder.mkdir(parents=True, exist_ok=True)
    (source_folder / "interactions.csv").write_text("user_id,item_id,date\nu,i,2024-01-01\n")
    write_state(
        settings.home,
        State(source_kind="files", timezone="UTC", first_day=FIRST_DAY, default_date=FIRST_DAY),
    )
    return demand_parameters(warehouse, settings)


def _write_home(warehouse: Any, days: int, users: int, items: int, events: int) -> None:
    from batch_predictions.tables import INTERACTIONS, ITEMS, USERS

    warehouse.replace_partition(
        USERS,
        None,
        f"""select 'u' || lpad(i::VARCHAR, 7, '0') as user_id, null::DATE as signed_up_on,
        ['25-34', '35-44', '45-54'][1 + i % 3] as age_bracket, ['f', 'm'][1 + i % 2] as gender,
        case when i % 2 = 0 then 'shop ' || i % 20 end as location,
        map {{}}::MAP(VARCHAR, VARCHAR) as attributes from range({users}) as r(i)""",
    )
    warehouse.replace_partition(
        ITEMS,
        None,
        f"""select 'i' || lpad(i::VARCHAR, 6, '0') as item_id, 'Item ' || i as title,
        'category ' || i % 80 as category, null as subcategory, null as brand,
        case when i % 2 = 0 then 1 + (i % 900) / 100.0 end::DOUBLE as price,
        null::BOOLEAN as available, map {{}}::MAP(VARCHAR, VARCHAR) as attributes
        from range({items}) as r(i)""",
    )

    def draw(number: int, salt: int) -> str:
        return f"(hash(i, {number}, {salt}) % 1000003 / 1000003.0)"

    for number in range(days):
        day = FIRST_DAY + dt.timedelta(days=number)
        warehouse.replace_partition(
            INTERACTIONS,
            day.isoformat(),
            f"""select 'e' || lpad(({number} * {events}::BIGINT + i)::VARCHAR, 10, '0') as event_id,
            'u' || lpad(u::VARCHAR, 7, '0') as user_id,
            'i' || lpad(item::VARCHAR, 6, '0') as item_id,
            case when kind < .02 then 'return' when kind < .4 then 'view' else 'purchase' end
                as event_type,
            case when kind < .02 then -1 when kind >= .4 then units end::DOUBLE as quantity,
            case when kind < .02 then -price when kind >= .4 then round(units * price, 2) end
                ::DOUBLE as amount,
            'shop ' || u % 20 as location,
            '{day}'::TIMESTAMP + to_seconds(i % 86000) as occurred_at
            from (select i, floor(pow({draw(number, 1)}, 2) * {users})::BIGINT as u,
                floor(pow({draw(number, 2)}, 3) * {items})::BIGINT as item,
                {draw(number, 3)} as kind, 1 + floor({draw(number, 4)} * 3) as units,
                1 + item % 900 / 100.0 as price from range({events}) as r(i))""",
        )


def _make_first_tiles(warehouse: Any, last: dt.date, values: dict[str, Any]) -> dict[str, Any]:
    """The first tiles of a home, as of the day before the last."""
    shutil.rmtree(warehouse.folder / "tiles", ignore_errors=True)
    start = time.process_time()
    _write_tiles(warehouse, last - dt.timedelta(days=1), values)
    return {"cpu_seconds": round(time.process_time() - start, 2)}


def _write_tiles(warehouse: Any, day: dt.date, values: dict[str, Any]) -> dict[str, float]:
    from batch_predictions.features.tiles.base import TILES
    from batch_predictions.features.tiles.building import write_tile
    from batch_predictions.features.tiles.tile_fingerprints import RawDays

    seconds = {}
    for name, tile in TILES.items():
        start = time.process_time()
        write_tile(RawDays(warehouse, values, day), tile, [day.isoformat()])
        seconds[name] = time.process_time() - start
    return seconds


def _measure_tiles(
    settings: Any, warehouse: Any, last: dt.date, values: dict[str, Any]
) -> dict[str, float]:
    from batch_predictions.features.sql.queries import user_item_history
    from batch_predictions.features.tiles.building import outdated_tiles
    from batch_predictions.warehouse.schema_sql import tables_in

    for path in (warehouse.folder / "tiles").glob(f"*/date={last}"):
        shutil.rmtree(path)
    seconds = _write_tiles(warehouse, last, values)
    for feature in _features():
        start = time.process_time()
        assert not outdated_tiles(warehouse, settings, tables_in(feature.sql), [last.isoformat()])
        seconds["readiness"] = seconds.get("readiness", 0.0) + time.process_time() - start
        seconds[feature.table.qualified] = _cpu_seconds(
            warehouse, feature.table, last, feature.sql, values
        )
    state = "select * from features.item_state where date = $date"
    histories = user_item_history(state)
    return _with_sum(seconds, _stage(warehouse, last, histories, values, tiles=True))


def _measure_direct(warehouse: Any, last: dt.date, values: dict[str, Any]) -> dict[str, float]:
    from batch_predictions.features.sql.queries import user_item_days
    from batch_predictions_tests.worlds.direct_sql import direct_sql

    seconds = {}
    for feature in _features():
        query = direct_sql(feature.table.name)
        name = feature.table.qualified
        seconds[name] = _cpu_seconds(warehouse, feature.table, last, query, values)
    histories = user_item_days("select * from features.item_state where date = $date")
    return _with_sum(seconds, _stage(warehouse, last, histories, values, tiles=False))


def _features() -> list[Any]:
    from batch_predictions.features.base import FeatureTable
    from batch_predictions.tables.discovery import instances

    return instances(FeatureTable, "features/declared_features.py")


def _with_sum(seconds: dict[str, float], histories: float) -> dict[str, float]:
    return {**seconds, "features": sum(seconds.values()), "histories": histories}


def _cpu_seconds(
    warehouse: Any, table: Any, day: dt.date, query: str, values: dict[str, Any]
) -> float:
    start = time.process_time()
    warehouse.replace_partition(table, day.isoformat(), query, {**values, "date": day})
    return time.process_time() - start


def _stage(
    warehouse: Any, day: dt.date, query: str, values: dict[str, Any], *, tiles: bool
) -> float:
    """CPU seconds of the recommender's rows to score, or of the same rows by direct SQL."""
    from batch_predictions.predictions.recommendations import recommendations

    rows = recommendations.rows if tiles else DIRECT_HISTORIES.format(days=query)
    start = time.process_time()
    with warehouse.stream(rows, {**values, "date": day, "history_days": 365}) as reader:
        for _ in reader:
            pass
    return time.process_time() - start


def _compare(warehouse: Any, last: dt.date, values: dict[str, Any]) -> dict[str, int]:
    """Rows of each feature table, and of histories, that only one of the two ways has."""
    from batch_predictions.features.sql.queries import user_item_days, user_item_history
    from batch_predictions_tests.worlds.direct_sql import direct_sql

    state = "select * from features.item_state where date = $date"
    pairs = {f.table.qualified: (f.sql, direct_sql(f.table.name)) for f in _features()}
    pairs["histories"] = user_item_history(state), user_item_days(state)
    bound = {**values, "date": last, "history_days": 365}
    return {
        name: warehouse.value(
            f"select count(*) from ((({one}) except all ({other})) union all "
            f"(({other}) except all ({one})))",
            bound,
        )
        for name, (one, other) in pairs.items()
    }


def main() -> None:
    """Prints what nights cost, as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, nargs="+", default=[90, 180, 365])
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=13_700, help="interactions a day")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keeps the homes; default: a temporary folder")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(_step(arguments.home, *arguments.step)))
        return
    del arguments.step, arguments.home
    with tempfile.TemporaryDirectory() as folder:
        print_json(measure(arguments.folder or Path(folder), arguments.days, arguments))


if __name__ == "__main__":
    main()
