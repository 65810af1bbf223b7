"""Readers and writers at the same time; writers that are killed."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import pytest

from batch_predictions.settings import Settings
from batch_predictions.tables import USER_SEGMENTS
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.warehouse import _is_concurrent_replace
from batch_predictions_tests.worlds.at_once import call_at_once
from batch_predictions_tests.worlds.pets import DAY, PETS, ROW

KILLS = 10


def replace_forever(home: Path, number: int, sender: Connection) -> None:
    """Replaces a partition by one content after the other; every value says which it is."""
    warehouse = Warehouse.of(Settings(home=home))
    while True:
        number += 1
        warehouse.replace_partition(
            USER_SEGMENTS,
            DAY,
            "select i::VARCHAR as user_id, $n::VARCHAR as age_bracket, $n::VARCHAR as gender, "
            "repeat('x', 20) as location from range(4_000 + $n % 3) as r(i)",
            {"n": number},
        )
        sender.send(number)


SEGMENT_ROWS = "select user_id, age_bracket, gender from features.user_segments where date = $day"


def read_segments(warehouse: Warehouse, *, streamed: bool) -> tuple[int, int, set[str]]:
    """Rows, distinct users and distinct contents, by a query or by a stream."""
    bound = {"day": as_date(DAY)}
    if not streamed:
        query = f"""select count(*) as n, count(distinct user_id) as users,
            list(distinct age_bracket) || list(distinct gender) as content from ({SEGMENT_ROWS})"""
        row = warehouse.query(query, bound).to_pylist()[0]
        return row["n"], row["users"], set(row["content"])
    with warehouse.stream(SEGMENT_ROWS, bound, 4096) as reader:
        table = reader.read_all()
    content = {*table["age_bracket"].to_pylist(), *table["gender"].to_pylist()}
    return table.num_rows, len(set(table["user_id"].to_pylist())), content


class SegmentReader(threading.Thread):
    """Reads until it is stopped, and collects problems; `reads` counts finished reads."""

    def __init__(self, warehouse: Warehouse) -> None:
        super().__init__()
        self.warehouse = warehouse
        self.stopped, self.reads = threading.Event(), threading.Semaphore(0)
        self.versions: set[int] = set()
        self.problems: list[str] = []

    def run(self) -> None:
        streamed = False
        while not self.stopped.is_set():
            streamed = not streamed
            try:
                n, users, content = read_segments(self.warehouse, streamed=streamed)
                version = int(min(content))
                if len(content) > 1 or not n == users == 4_000 + version % 3:
                    self.problems.append(f"{n} rows, {users} users of {content}")
                self.versions.add(version)
            except Exception as error:  # every error is a problem
                self.problems.append(repr(error))
            self.reads.release()


@pytest.mark.slow
def test_a_reader_sees_old_or_new_rows_while_writers_are_killed(warehouse: Warehouse) -> None:
    warehouse.replace_partition(
        USER_SEGMENTS,
        DAY,
        "select i::VARCHAR as user_id, '0' as age_bracket, '0' as gender, '' as location "
        "from range(4_000) as r(i)",
    )
    reader = SegmentReader(warehouse)
    reader.start()
    # The fork server imports the modules once, for all writers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["batch_predictions.warehouse"])
    try:
        for kill in range(KILLS):
            receiver, sender = context.Pipe(duplex=False)
            writer = context.Process(
                target=replace_forever, args=(Path(warehouse.home), kill * 10_000, sender)
            )
            writer.start()
            sender.close()
            replaced = receiver.recv()
            # Each kill hits another point of a replacement: the reader's pace is the clock. The
            # second read from here on has begun after the replacement.
            while reader.reads.acquire(blocking=False):
                pass
            for _ in range(2 + kill % 4):
                reader.reads.acquire()
                while receiver.poll():
                    replaced = receiver.recv()
            assert writer.pid
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
            receiver.close()
            stored = int(warehouse.value("select min(gender) from features.user_segments"))
            assert stored >= replaced
    finally:
        reader.stopped.set()
        reader.join()
    assert not reader.problems, reader.problems[:3]
    assert len(reader.versions) > KILLS
    # The next write removes what the killed processes left.
    warehouse.replace_partition(PETS, DAY, ROW)
    left = [path.name for path in (warehouse.folder / ".tmp").iterdir() if path.name != "spill"]
    assert left == []


def test_a_query_is_tried_again_if_a_file_is_replaced_during_it(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB opens a file to plan and once more to read; here it is replaced all the time."""
    contents = []
    for n in (3_000, 5_000):
        rows = "select i::VARCHAR as pet_id, i / 7 as weight, $n::BIGINT as legs, null as tags, "
        rows += "null as toys, null as passport, null as born from range($n) as r(i)"
        result = warehouse.replace_partition(PETS, DAY, rows, {"n": n})
        contents.append(result.path.rename(result.path.with_name(str(n))))
    target = warehouse.path(PETS, DAY)
    target.hardlink_to(contents[-1])
    stop = threading.Event()

    def replace() -> None:
        for content in itertools.cycle(contents):
            if stop.is_set():
                return
            draft = target.with_name("draft")
            draft.hardlink_to(content)
            draft.replace(target)

    misread: list[Exception] = []

    def noted(error: duckdb.Error) -> bool:
        misread.append(error)
        return _is_concurrent_replace(error)

    monkeypatch.setattr("batch_predictions.warehouse.warehouse._is_concurrent_replace", noted)
    replacing = threading.Thread(target=replace)
    replacing.start()
    sums = "select count(*), count(distinct pet_id), min(legs), max(legs) from raw.pets"
    try:
        for _ in range(50_000):
            (row,) = warehouse.query(sums).to_pylist()
            assert len(set(row.values())) == 1 and set(row.values()) < {3_000, 5_000}
            if len(misread) >= 3:
                break
    finally:
        stop.set()
        replacing.join()
    assert misread, "no file was ever replaced between the plan and the reading"


def test_a_corrupt_file_is_an_error(warehouse: Warehouse) -> None:
    path = warehouse.replace_partition(PETS, DAY, ROW).path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(duckdb.Error):
        warehouse.query("from raw.pets")


def test_different_partitions_can_be_written_concurrently(warehouse: Warehouse) -> None:
    days = [f"2024-03-{day:02}" for day in range(1, 9)]
    call_at_once(lambda day: warehouse.replace_partition(PETS, day, ROW), days)
    assert warehouse.partitions(PETS) == days
    assert warehouse.value("select count(*) from raw.pets") == len(days)
