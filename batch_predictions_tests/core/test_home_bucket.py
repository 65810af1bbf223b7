"""Files of a home in a bucket, on two machines that share nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.core.bucket_files import HomeBucket
from batch_predictions.core.durability import atomic_write, fsync_folder
from batch_predictions.core.home import HomeError
from batch_predictions.core.home_bucket import (
    CACHE_VARIABLE,
    bucket_of,
    fetch,
    location_of,
    refresh,
    working_folder,
)
from batch_predictions_tests.worlds.bucket import Bucket, faulty
from batch_predictions_tests.worlds.bucket_proxy import Kind
from batch_predictions_tests.worlds.programs import run_python


@pytest.fixture
def machines(
    new_home: Callable[[], Bucket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[HomeBucket, HomeBucket]:
    """One home on two machines."""
    return two_machines(new_home().url, tmp_path, monkeypatch)


def two_machines(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[HomeBucket, HomeBucket]:
    opened = []
    for name in ("first", "second"):
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / name))
        bucket = bucket_of(working_folder(url))
        assert bucket is not None
        opened.append(bucket)
    return opened[0], opened[1]


def test_what_one_machine_makes_durable_another_has(machines: tuple[HomeBucket, ...]) -> None:
    first, second = machines
    atomic_write(first.root / "state.yaml", "a: 1\n")
    folder = first.root / "ingests"
    folder.mkdir()
    atomic_write(folder / "users.json", "{}")
    second.pull()
    assert (second.root / "state.yaml").read_text() == "a: 1\n"
    assert (second.root / "ingests" / "users.json").read_text() == "{}"
    (folder / "users.json").unlink()
    fsync_folder(folder)
    second.pull()
    assert not (second.root / "ingests" / "users.json").exists()
    assert location_of(second.root) == second.url


def test_files_of_a_machine_alone_stay_there(machines: tuple[HomeBucket, ...]) -> None:
    first = machines[0]
    for name in ("dagster/dagster.yaml", "inference/x/1.parquet", "run.lock", ".draft", "serving"):
        path = first.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        fsync_folder(path.parent)
    first.pull()
    assert first.objects.list() == {}


def test_the_second_machine_that_changes_a_file_is_told(
    machines: tuple[HomeBucket, ...],
) -> None:
    first, second = machines
    atomic_write(first.root / "alerts.json", "1")
    second.pull()
    atomic_write(first.root / "alerts.json", "2")
    with pytest.raises(HomeError, match=r"another process has written alerts\.json: run again"):
        atomic_write(second.root / "alerts.json", "3")
    second.pull()
    assert (second.root / "alerts.json").read_text() == "2"
    atomic_write(second.root / "alerts.json", "3")
    first.pull()
    assert (first.root / "alerts.json").read_text() == "3"


def test_two_machines_that_begin_a_home_agree_on_its_state(
    machines: tuple[HomeBucket, ...],
) -> None:
    first, second = machines
    atomic_write(first.root / "state.yaml", "a: 1\n")
    with pytest.raises(HomeError, match=r"state\.yaml"):
        atomic_write(second.root / "state.yaml", "a: 2\n")
    second.pull()
    assert (second.root / "state.yaml").read_text() == "a: 1\n"


@pytest.mark.parametrize("kind", ["dropped", "lost", "cut"])
def test_a_write_whose_answer_is_lost_has_been_made(
    kind: Kind, new_home: Callable[[], Bucket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty(new_home()) as home:
        first, second = two_machines(home.url, tmp_path, monkeypatch)
        for text in ("1", "2", "3"):
            with home.faults(kind, r"PUT .*state\.yaml"):
                atomic_write(first.root / "state.yaml", text)
            with home.faults(kind, "GET "):
                assert second.pull() == ["state.yaml"]
            assert (second.root / "state.yaml").read_text() == text
        (first.root / "state.yaml").unlink()
        with home.faults(kind, "POST |DELETE "):
            fsync_folder(first.root)
        assert second.objects.list() == {}
        # An upload in parts.
        (large := tmp_path / "large").write_bytes(content := bytes(range(256)) * 40_000)
        for pattern in ("POST .*uploads", "PUT .*partNumber", "POST .*uploadId"):
            with home.faults(kind, pattern):
                second.objects.upload(large, "large")
            found = second.objects.get("large")
            assert found is not None and found[0] == content


def test_the_same_change_of_two_machines_is_no_conflict(machines: tuple[HomeBucket, ...]) -> None:
    """As of a process that was killed before it noted that it had uploaded a file."""
    first, second = machines
    atomic_write(first.root / "alerts.json", "1")
    second.pull()
    for text in ("2", "3"):
        atomic_write(first.root / "alerts.json", text)
        atomic_write(second.root / "alerts.json", text)


def test_what_a_process_that_was_killed_had_downloaded_is_not_this_machines_change(
    machines: tuple[HomeBucket, ...],
) -> None:
    first, second = machines
    for name in ("alerts.json", "last_run.json"):
        atomic_write(first.root / name, "1")
    code = (
        "import os, pathlib, sys; from batch_predictions.core.home_bucket import bucket_of; "
        "replace = pathlib.Path.replace\n"
        "def kill(draft, target):\n"
        "    replace(draft, target)\n"
        "    if target.name in ('alerts.json', 'last_run.json'): os._exit(9)\n"
        "pathlib.Path.replace = kill; bucket_of(pathlib.Path(sys.argv[1])).pull()"
    )
    assert run_python("-c", code, str(second.root), check=False).returncode == 9
    [downloaded] = second.root.glob("[al]*.json")
    # It was removed before the machine came back.
    (first.root / downloaded.name).unlink()
    fsync_folder(first.root)
    second.pull()
    [other] = second.root.glob("[al]*.json")
    assert other != downloaded
    assert [*second.objects.list()] == [other.name]


def test_a_file_that_a_killed_process_left_is_uploaded(machines: tuple[HomeBucket, ...]) -> None:
    first, second = machines
    (first.root / "last_run.json").write_text("{}")
    first.pull()
    second.pull()
    assert (second.root / "last_run.json").read_text() == "{}"


@pytest.mark.parametrize("look", ["pull", "refresh"])
def test_who_is_erased_elsewhere_is_in_no_copy_here(
    look: str, machines: tuple[HomeBucket, ...]
) -> None:
    first, second = machines
    kept = second.root / "dagster" / "dagster.yaml"
    copies = [
        second.root / name / "x"
        for name in (".cache/ab", ".at/1", "inference/t", "training_cache/recommender")
    ]
    for path in (kept, *copies):
        path.parent.mkdir(parents=True)
        path.write_text("u05")
    copies.append(second.root / "report.html")
    copies[-1].write_text("u05")
    second.pull()
    assert all(path.exists() for path in copies)
    atomic_write(first.root / "erasures.json", "{}")
    if look == "pull":
        second.pull()
    else:
        refresh(second.root / "erasures.json")
    assert not any(path.exists() for path in copies) and kept.exists()
    # Once: what is made since has none of the user's rows.
    copies[0].parent.mkdir(parents=True)
    copies[0].write_text("u06")
    second.pull()
    assert copies[0].exists()


def test_an_e_tag_is_the_same_by_whatever_request(machines: tuple[HomeBucket, ...]) -> None:
    objects = machines[0].objects
    written = objects.put("a", b"1")
    assert objects.list()["a"].e_tag == objects.e_tag("a") == written
    assert objects.get("a") == (b"1", written)
    assert objects.put("a", b"2", if_e_tag=objects.list()["a"].e_tag) != written


def test_models_are_downloaded_when_they_are_needed(machines: tuple[HomeBucket, ...]) -> None:
    first, second = machines
    version = Path("models/churn/versions/churn-1")
    (first.root / version / "trees").mkdir(parents=True)
    for name in ("manifest.json", "trees/0.txt", "columns.json"):
        (first.root / version / name).write_text(name)
    fsync_folder((first.root / version).parent)
    second.pull()
    assert [path.name for path in (second.root / version).iterdir()] == ["manifest.json"]
    fetch(second.root / version)
    assert (second.root / version / "trees" / "0.txt").read_text() == "trees/0.txt"
    third = HomeBucket(second.root.with_name("third"), second.url)
    third.root.mkdir()
    third.pull()
    # A machine that never had the files removes the model.
    (third.root / version / "manifest.json").unlink()
    (third.root / version).rmdir()
    third.pull()
    assert first.objects.list() == {}
    first.pull()
    assert not (first.root / version / "trees" / "0.txt").exists()


def test_a_store_that_ignores_conditions_is_refused(
    machines: tuple[HomeBucket, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines[1].probe()
    put = machines[0].objects.put

    def careless(name: str, content: bytes, **_: Any) -> str | None:
        return put(name, content)

    monkeypatch.setattr(machines[0].objects, "put", careless)
    with pytest.raises(HomeError, match="although the condition of the write is false"):
        machines[0].probe()
    assert machines[0].objects.list() == {}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://a/b", "a home cannot be at a URL ftp://"),
        ("s3://", "a home cannot be at a URL s3://"),
        ("s3://user:password@bucket/x", "the URL of a home has a user name, a password or a query"),
        ("s3://b?x=1", "the URL of a home has a user name, a password or a query"),
    ],
)
def test_other_urls_are_refused_without_their_secrets(url: str, problem: str) -> None:
    with pytest.raises(HomeError, match=problem) as refused:
        working_folder(url)
    assert "password@" not in str(refused.value)


def test_a_file_that_machines_change_in_turns_is_looked_at_before(
    machines: tuple[HomeBucket, ...],
) -> None:
    first, second = machines
    for number, machine in enumerate([first, second, first, second]):
        refresh(machine.root / "alerts.json")
        if number:
            assert (machine.root / "alerts.json").read_text() == str(number - 1)
        atomic_write(machine.root / "alerts.json", str(number))
    (second.root / "alerts.json").unlink()
    second.pull()
    refresh(first.root / "alerts.json")
    assert not (first.root / "alerts.json").exists()
