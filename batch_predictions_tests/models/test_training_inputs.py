"""Code and settings of a training: what counts as a change, and what does not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batch_predictions.models import training_inputs
from batch_predictions.models.training import Training, trainings
from batch_predictions.models.training_inputs import TrainingInputs, changed_settings
from batch_predictions.settings import Settings

TRAIN = """
from my_shop.maths import double

def train(warehouse, settings, through, log):
    return double(settings.churn.horizon_days)
"""
MATHS = """
def double(value):
    return value * 2
"""


@pytest.fixture
def package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[dict[str, str]], tuple[str, dict[str, object]]]]:
    """Writes a plugin; the version of its code and the settings that it reads."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(files: dict[str, str]) -> tuple[str, dict[str, object]]:
        for name in [name for name in sys.modules if name.split(".")[0] == "my_shop"]:
            del sys.modules[name]
        for old in (tmp_path / "my_shop").rglob("*.*"):
            old.unlink()
        for name, text in {"__init__.py": "", **files}.items():
            path = tmp_path / "my_shop" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        training_inputs._read_version.cache_clear()
        importlib.invalidate_caches()
        module = importlib.import_module(f"my_shop.{next(iter(files)).removesuffix('.py')}")
        training = Training("mine", "A model.", module.train)
        inputs = TrainingInputs.of(training, Settings())
        return inputs.code, dict(inputs.settings)

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == "my_shop"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "files",
    [
        {"trains.py": f'"""A model."""\n{TRAIN}', "maths.py": f"# doubles\n{MATHS}"},
        {"trains.py": TRAIN.replace("log):", 'log):\n    """Trains."""'), "maths.py": MATHS},
        {"other.py": TRAIN.replace("maths", "deeper.sums"), "deeper/sums.py": MATHS},
        {"trains.py": TRAIN.replace("from my_shop.maths import double", MATHS)},
    ],
    ids=["comments", "docstrings", "moved files", "one file"],
)
def test_documented_and_moved_code_is_the_same(
    package: Callable[[dict[str, str]], tuple[str, dict[str, object]]], files: dict[str, str]
) -> None:
    before = package({"trains.py": TRAIN, "maths.py": MATHS})
    if "deeper/sums.py" in files:
        files = {**files, "deeper/__init__.py": ""}
    assert package(files) == before


@pytest.mark.parametrize(
    "files",
    [
        {"trains.py": TRAIN, "maths.py": MATHS.replace("2", "3")},
        {"trains.py": TRAIN, "maths.py": MATHS, "query.sql": "select 1"},
        {"trains.py": TRAIN.replace("double(settings", "-double(settings"), "maths.py": MATHS},
    ],
)
def test_other_code_is_another_version(
    package: Callable[[dict[str, str]], tuple[str, dict[str, object]]], files: dict[str, str]
) -> None:
    assert package({"trains.py": TRAIN, "maths.py": MATHS})[0] != package(files)[0]


def test_settings_are_those_that_the_code_names(
    package: Callable[[dict[str, str]], tuple[str, dict[str, object]]],
) -> None:
    _, read = package({"trains.py": TRAIN, "maths.py": MATHS})
    own = {name for name in read if not name.startswith("source.")}
    assert own == {"churn.horizon_days"}


def test_models_of_the_platform_read_their_own_settings() -> None:
    settings, changed = Settings(), Settings()
    changed.recommender.factors = 32
    changed.inference.keep_days = 7
    differing = {
        name: changed_settings(
            TrainingInputs.of(t, settings).settings, TrainingInputs.of(t, changed).settings
        )
        for name, t in trainings().items()
    }
    expected = [f"recommender.factors is 32, was {settings.recommender.factors}"]
    assert {name for name, changes in differing.items() if changes} == {
        "recommender",
        "demographic",
    }
    assert differing["recommender"] == expected
    codes = {TrainingInputs.of(training, settings).code for training in trainings().values()}
    assert len(codes) == len(trainings())


def test_code_that_stores_models_does_not_count() -> None:
    own = "batch_predictions.models.common.intervals", "batch_predictions.features.sql.queries"
    assert all(training_inputs._files_of(name) for name in own)
    for name in ("models.training", "models.model_store", "warehouse.warehouse", "cli"):
        assert not training_inputs._files_of(f"batch_predictions.{name}")
