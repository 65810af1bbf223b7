"""Trained models on disk, and which of them serves a day."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from batch_predictions.models.model_store import (
    Decision,
    ModelError,
    ModelManifest,
    ModelStore,
    Verdict,
)
from batch_predictions_tests.worlds.at_once import call_at_once
from batch_predictions_tests.worlds.programs import run_python

# Three Sundays.
FIRST, SECOND, THIRD = dt.date(2024, 3, 3), dt.date(2024, 3, 10), dt.date(2024, 3, 17)
WEEK = dt.date(2024, 3, 11)


def files(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "factors").mkdir()
        (folder / "factors" / "users.txt").write_text(text, encoding="utf-8")
        (folder / "names.txt").write_text("a b c", encoding="utf-8")

    return write


def save(
    models: ModelStore, through: dt.date, text: str = "1 2 3", factors: int = 8
) -> ModelManifest:
    return models.save(
        "recommender",
        through,
        files(text),
        candidate="als",
        parameters={"factors": factors},
        data_version="rows-1",
    )


def decide(
    models: ModelStore, version: str, day: dt.date, decision: Verdict = "promoted"
) -> Decision:
    decided = Decision(
        model="recommender", version=version, effective_from=day, decision=decision, why="better"
    )
    models.decide(decided)
    return decided


def champion(models: ModelStore, day: dt.date, max_age_days: int = 35) -> str:
    return models.champion("recommender", day, max_age_days, WEEK).version


# --- storing ------------------------------------------------------------------------------------


def test_a_model_is_found_as_it_was_saved(models: ModelStore) -> None:
    manifest = save(models, FIRST)
    assert manifest.version.startswith("recommender-2024-03-03-")
    assert models.manifest("recommender", manifest.version) == manifest
    folder = models.verified_folder("recommender", manifest.version)
    assert (folder / "factors" / "users.txt").read_text(encoding="utf-8") == "1 2 3"
    assert set(manifest.files) == {"factors/users.txt", "names.txt"}
    assert models.models() == ["recommender"]


def test_equal_content_gives_the_same_version_and_is_stored_once(models: ModelStore) -> None:
    first = save(models, FIRST)
    path = models.folder("recommender", first.version) / "manifest.json"
    inode = path.stat().st_ino
    assert save(models, FIRST).version == first.version
    assert path.stat().st_ino == inode
    assert models.versions("recommender") == [first.version]


def test_another_content_parameter_or_week_gives_another_version(models: ModelStore) -> None:
    versions = {
        save(models, FIRST).version,
        save(models, FIRST, text="1 2 4").version,
        save(models, FIRST, factors=9).version,
        save(models, SECOND).version,
    }
    assert len(versions) == 4
    assert models.versions("recommender") == sorted(versions)


@pytest.mark.parametrize("damage", ["changed", "lost"])
def test_damage_is_found_before_a_model_is_used(models: ModelStore, damage: str) -> None:
    manifest = save(models, FIRST)
    file = models.folder("recommender", manifest.version) / "factors" / "users.txt"
    if damage == "lost":
        file.unlink()
    else:
        file.write_text("1 2 9", encoding="utf-8")
    with pytest.raises(ModelError, match=r"users\.txt is missing or has changed: .*run. moves"):
        models.verified_folder("recommender", manifest.version)
    assert models.damaged_file("recommender", manifest.version) == file


def test_a_manifest_that_cannot_be_read_is_named(models: ModelStore) -> None:
    version = save(models, FIRST).version
    assert models.damaged_file("recommender", version) is None
    path = models.folder("recommender", version) / "manifest.json"
    path.write_text("{", encoding="utf-8")
    assert models.damaged_file("recommender", version) == path


def test_a_flipped_bit_of_a_manifest_is_found_wherever_it_is(models: ModelStore) -> None:
    version = save(models, dt.date(2024, 3, 10)).version
    path = models.folder("recommender", version) / "manifest.json"
    content = path.read_bytes()
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 0x04
        path.write_bytes(damaged)
        if (
            damaged[position : position + 1].isspace()
            and content[position : position + 1].isspace()
        ):
            continue
        assert models.damaged_file("recommender", version) == path, bytes(damaged)
    path.write_bytes(content)
    assert models.damaged_file("recommender", version) is None


def test_the_error_of_a_missing_version_lists_the_stored_ones(models: ModelStore) -> None:
    with pytest.raises(ModelError, match=r"no version nine \(stored: none\)"):
        models.manifest("recommender", "nine")
    version = save(models, FIRST).version
    with pytest.raises(ModelError, match=rf"no version nine \(stored: {version}\)"):
        models.verified_folder("recommender", "nine")


def test_a_failed_save_leaves_no_files(models: ModelStore) -> None:
    def half(folder: Path) -> None:
        files("1")(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        models.save("churn", FIRST, half, candidate="gbm", parameters={}, data_version="rows-1")
    assert models.versions("churn") == []
    assert list((Path(models.home) / "models" / "churn").iterdir()) == []


def test_a_process_that_is_killed_while_it_saves_leaves_no_version(models: ModelStore) -> None:
    script = (
        "import datetime as dt, os, signal, sys\n"
        "from batch_predictions.models.model_store import ModelStore\n"
        "def write(folder):\n"
        "    (folder / 'half').write_text('1')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "ModelStore(home=sys.argv[1]).save('churn', dt.date(2024, 3, 3), write, candidate='gbm',"
        " parameters={}, data_version='rows-1')"
    )
    process = run_python("-c", script, models.home, check=False)
    assert process.returncode == -9
    assert models.versions("churn") == []
    assert models.save(
        "churn", FIRST, files("1"), candidate="gbm", parameters={}, data_version="rows-1"
    ).version in models.versions("churn")


def test_two_concurrent_saves_of_an_equal_model_succeed(models: ModelStore) -> None:
    def save_twice(candidate: str) -> list[ModelManifest]:
        together = threading.Barrier(2)

        def write(folder: Path) -> None:
            files("same")(folder)
            together.wait()

        save = partial(models.save, "demand", FIRST, write, parameters={}, data_version="1")
        return call_at_once(lambda _: save(candidate=candidate), range(2))

    for number in range(20):
        first, second = save_twice(str(number))
        assert first.version == second.version
        models.verified_folder("demand", first.version)
    assert len(models.versions("demand")) == 20


# --- champions ----------------------------------------------------------------------------------


def test_a_day_is_served_by_the_newest_training_through_then(models: ModelStore) -> None:
    old, new = save(models, FIRST).version, save(models, SECOND).version
    decide(models, old, FIRST)
    decide(models, new, SECOND)
    day = dt.timedelta(days=1)
    assert champion(models, FIRST) == old
    assert champion(models, SECOND - day) == old
    assert champion(models, SECOND) == new
    assert champion(models, SECOND + 20 * day) == new


def test_the_order_in_which_weeks_were_trained_does_not_matter(models: ModelStore) -> None:
    old, new = save(models, FIRST).version, save(models, SECOND).version
    decide(models, new, SECOND)
    decide(models, old, FIRST)
    assert champion(models, THIRD) == new
    assert [decision.version for decision in models.decisions("recommender")] == [old, new]


def test_the_error_without_a_training_names_the_week_and_the_command(
    models: ModelStore,
) -> None:
    decide(models, save(models, SECOND).version, SECOND)
    with pytest.raises(ModelError) as caught:
        champion(models, FIRST)
    message = str(caught.value)
    assert "models/recommender for the week 2024-03-11" in message
    assert "batch-predictions run --date 2024-03-03" in message


def test_a_training_that_is_too_old_is_refused(models: ModelStore) -> None:
    version = save(models, FIRST).version
    decide(models, version, FIRST)
    assert champion(models, FIRST + dt.timedelta(days=14), max_age_days=14) == version
    with pytest.raises(ModelError, match=r"is of 2024-03-03, older than .* = 14: materialize"):
        champion(models, FIRST + dt.timedelta(days=15), max_age_days=14)


def test_a_second_run_of_a_training_replaces_its_decision(models: ModelStore) -> None:
    first, second = save(models, FIRST).version, save(models, FIRST, text="other").version
    decide(models, first, FIRST)
    decision = decide(models, second, FIRST)
    assert models.decisions("recommender") == [decision]
    assert models.training("recommender", FIRST) == decision
    assert models.training("recommender", SECOND) is None


def test_a_training_that_the_gate_refused_keeps_the_champion_and_is_young(
    models: ModelStore,
) -> None:
    old = save(models, FIRST).version
    decide(models, old, FIRST)
    save(models, SECOND)
    decide(models, old, SECOND, "kept")
    assert champion(models, SECOND + dt.timedelta(days=10), max_age_days=10) == old


def test_a_baseline_serves_if_no_model_was_promoted(models: ModelStore) -> None:
    baseline = save(models, FIRST).version
    decide(models, baseline, FIRST, "baseline")
    assert champion(models, FIRST) == baseline


def test_a_version_that_was_not_stored_cannot_be_decided_for(models: ModelStore) -> None:
    with pytest.raises(ModelError, match="no version"):
        decide(models, "recommender-2024-03-03-00000000", FIRST)
    assert models.decisions("recommender") == []


def test_a_roll_back_is_effective_from_its_day_until_a_later_training(models: ModelStore) -> None:
    old, new = save(models, FIRST).version, save(models, SECOND).version
    decide(models, old, FIRST)
    decide(models, new, SECOND)
    day = SECOND + dt.timedelta(days=2)
    decision = models.roll_back("recommender", day, None, "complaints")
    assert (decision.version, decision.decision) == (old, "rolled_back")
    assert champion(models, day - dt.timedelta(days=1)) == new
    assert champion(models, day) == old
    newest = save(models, THIRD).version
    decide(models, newest, THIRD)
    assert champion(models, THIRD - dt.timedelta(days=1)) == old
    assert champion(models, THIRD) == newest


def test_a_roll_back_on_the_day_of_a_training_is_later_than_it(models: ModelStore) -> None:
    old, new = save(models, FIRST).version, save(models, SECOND).version
    decide(models, old, FIRST)
    decide(models, new, SECOND)
    models.roll_back("recommender", SECOND, old, "worse")
    assert champion(models, SECOND) == old
    # Training that week again does not undo it.
    decide(models, new, SECOND)
    assert champion(models, SECOND) == old
    assert models.training("recommender", SECOND) is not None


def test_a_roll_back_makes_no_training_younger(models: ModelStore) -> None:
    old, new = save(models, FIRST).version, save(models, SECOND).version
    decide(models, old, FIRST)
    decide(models, new, SECOND)
    day = SECOND + dt.timedelta(days=20)
    models.roll_back("recommender", day, None, "worse")
    assert champion(models, day, max_age_days=20) == old
    with pytest.raises(ModelError, match=r"newest training .* is of 2024-03-10, older"):
        champion(models, day, max_age_days=19)


def test_a_roll_back_needs_an_earlier_version(models: ModelStore) -> None:
    with pytest.raises(ModelError, match="no champion before None"):
        models.roll_back("recommender", FIRST, None, "worse")
    only = save(models, FIRST).version
    decide(models, only, FIRST)
    with pytest.raises(ModelError, match=f"no champion before {only} as of 2024-03-10"):
        models.roll_back("recommender", SECOND, None, "worse")
    with pytest.raises(ModelError, match="no version nine"):
        models.roll_back("recommender", SECOND, "nine", "worse")
    assert champion(models, SECOND) == only
