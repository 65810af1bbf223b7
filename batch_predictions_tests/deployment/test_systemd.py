"""Units of systemd: it accepts them, their commands exist, and they have no rights to spare."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.deployment import DEPLOYMENT, assert_commands_exist

FOLDER = DEPLOYMENT / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))
TIMERS = sorted(FOLDER.glob("*.timer"))
LASTING = {"webserver", "daemon", "serve", "watch"}
"""Services that run until they are stopped."""
WITH_GPU = {"webserver", "daemon", "run"}
"""Services that start runs, which may need a GPU."""
HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "UMask": "0077",
}


def read_unit(path: Path) -> dict[str, str]:
    """The keys of a unit's sections, each of which is given once."""
    pairs = [
        line.split("=", 1)
        for line in path.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "["))
    ]
    unit = dict(pairs)
    assert len(unit) == len(pairs), path
    return unit


def kind_of(path: Path) -> str:
    """`daemon` of batch-predictions-daemon.service."""
    return path.stem.removeprefix("batch-predictions-")


def test_there_is_a_unit_for_everything_that_runs() -> None:
    assert {kind_of(path) for path in SERVICES} == {*LASTING, "run", "backup"}
    assert {kind_of(path) for path in TIMERS} == {"run", "backup"}


@pytest.mark.parametrize("path", SERVICES, ids=kind_of)
def test_a_service_runs_an_existing_command_without_further_rights(path: Path) -> None:
    unit = read_unit(path)
    assert assert_commands_exist([unit["ExecStart"]]) == 1
    assert kind_of(path) == shlex.split(unit["ExecStart"])[1]
    assert unit["User"] == unit["Group"] == "batch-predictions"
    assert unit.items() >= HARDENING.items()
    assert "/var/lib/batch-predictions" in unit["ReadWritePaths"].split()
    assert ("PrivateDevices" in unit) == (kind_of(path) not in WITH_GPU)
    assert unit["KillSignal"] == "SIGTERM" and int(unit["TimeoutStopSec"]) >= 20
    assert "MemoryDenyWriteExecute" not in unit, "numba and torch compile at run time"
    if kind_of(path) in LASTING:
        assert unit["Restart"] == "on-failure" and unit["StartLimitIntervalSec"] == "0"
        assert unit["WantedBy"] == unit["PartOf"] == "batch-predictions.target"
        # Whatever listens, listens on loopback: Dagster's pages ask for no password.
        assert "--host" not in unit["ExecStart"] or "--host 127.0.0.1" in unit["ExecStart"]
    else:
        assert unit["Type"] == "oneshot" and unit["TimeoutStartSec"] == "infinity"


@pytest.mark.parametrize("path", TIMERS, ids=kind_of)
def test_a_timer_starts_its_service_and_makes_up_for_an_outage(path: Path) -> None:
    unit = read_unit(path)
    assert path.with_suffix(".service") in SERVICES
    assert unit["Persistent"] == "true" and unit["WantedBy"] == "timers.target"


def test_a_night_is_started_by_the_daemon_or_by_the_timer() -> None:
    daemon = read_unit(FOLDER / "batch-predictions-daemon.service")
    timer = read_unit(FOLDER / "batch-predictions-run.timer")
    assert daemon["Conflicts"] == "batch-predictions-run.timer"
    assert timer["Conflicts"] == "batch-predictions-daemon.service"


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copies = []
    for path in [*SERVICES, *TIMERS, *FOLDER.glob("*.target")]:
        copies.append(tmp_path / path.name)
        text = path.read_text(encoding="utf-8")
        command = "/opt/batch-predictions/venv/bin/batch-predictions"
        assert (command in text) == (path in SERVICES)
        copies[-1].write_text(text.replace(command, str(program)))
    process = subprocess.run(
        [analyze, "verify", *map(str, copies)], capture_output=True, text=True, check=False
    )
    # A name of a key that does not exist is only told of, and is no error.
    told = [line for line in process.stderr.splitlines() if "batch-predictions" in line]
    assert process.returncode == 0 and not told, process.stderr
    text = copies[0].read_text() + "\nNoSuchKey=1\n"
    copies[0].write_text(text)
    process = subprocess.run([analyze, "verify", copies[0]], capture_output=True, text=True)
    assert "NoSuchKey" in process.stderr


def test_every_variable_of_the_environment_file_is_one_that_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = (FOLDER / "environment").read_text(encoding="utf-8").splitlines()
    named = [line.lstrip("#") for line in lines if line and not line.startswith("# ")]
    values = {}
    for line in named:
        [word] = shlex.split(line)
        name, value = word.split("=", 1)
        values[name] = value or "0123456789abcdef01234567"
    assert len(values) == len(named) == 9
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.home == Path("/var/lib/batch-predictions")
    storage = settings.execution.instance["storage"]["postgres"]["postgres_url"]
    assert storage == {"env": "DAGSTER_POSTGRES_URL"} and storage["env"] in values
    assert settings.serving.url == values["BATCH_PREDICTIONS_SERVING__URL"]
    assert settings.source.url is not None
    from batch_predictions.core.redaction import ALERT_URLS, KEY_LIST

    rest = {name for name in values if "__" not in name} - {
        "BATCH_PREDICTIONS_HOME",
        storage["env"],
    }
    assert {name for name in rest if KEY_LIST.search(name)} == rest - {ALERT_URLS}


def test_the_administrators_command_has_the_units_environment(tmp_path: Path) -> None:
    """The script, with folders of the test in place of the server's, and without another user."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "environment").write_text("BATCH_PREDICTIONS_HOME=/home/of/test\nA='{\"b\": 1}'\n")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$BATCH_PREDICTIONS_HOME $A $NUMBA_CACHE_DIR $PWD $*"\n')
    program.chmod(0o755)
    daemon = read_unit(FOLDER / "batch-predictions-daemon.service")
    text = (FOLDER / "batch-predictions").read_text(encoding="utf-8")
    for before, after in {
        "/etc/batch-predictions": str(etc),
        f"runuser -u {daemon['User']} -- ": "",
        shlex.split(daemon["ExecStart"])[0]: str(program),
    }.items():
        assert before in text
        text = text.replace(before, after)
    process = subprocess.run(
        ["sh", "-c", text, "batch-predictions", "status", "--json"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    cache = "/var/cache/batch-predictions/numba"
    assert f"NUMBA_CACHE_DIR={cache.replace('/var/cache', '%C')}" in daemon["Environment"]
    assert process.stdout == f'/home/of/test {{"b": 1}} {cache} {etc} status --json\n'
