"""Dockerfile and compose.yaml: what they copy exists and suffices, and their commands exist.

No container runs here: what is checked is what each step needs.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.deployment import DEPLOYMENT, PROGRAM, parse_command, read_yaml
from batch_predictions_tests.worlds.paths import ROOT

FOLDER = DEPLOYMENT / "docker"
VENV = "/opt/batch-predictions/venv"


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage of the Dockerfile, a line that goes on being one."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, rest = line.split(None, 1)
        if word == "FROM":
            current = found.setdefault(rest.rpartition(" AS ")[2], [])
        current.append((word, rest))
    return found


def instructions(stage: str, word: str) -> list[str]:
    """The arguments of a stage's instructions of a kind."""
    return [rest for name, rest in stages()[stage] if name == word]


def copied_sources() -> set[str]:
    """Paths of the repository that the image is built from."""
    sources = set()
    for stage in stages():
        for rest in instructions(stage, "COPY"):
            if not rest.startswith("--from"):
                sources |= set(shlex.split(rest)[:-1])
    return sources


def test_what_is_copied_exists_and_is_sent_to_docker() -> None:
    sent = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    assert len(copied_sources()) >= 5
    for source in copied_sources():
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in sent), source
    for path in sent:
        assert (ROOT / path).exists(), path


def test_stages_are_built_from_stages_that_exist() -> None:
    names = set(stages())
    assert {"platform", "serve"} <= names
    for stage in names:
        [parent] = [rest.split()[0] for rest in instructions(stage, "FROM")]
        assert parent in names or parent == "python:${PYTHON}-slim"
        for rest in instructions(stage, "COPY"):
            match = re.match(r"--from=(\S+) (\S+) (\S+)", rest)
            if match:
                assert match[1] in names and match[2] == match[3] == VENV
                assert any(VENV in run for run in instructions(match[1], "RUN"))
    [python] = re.findall(r"^ARG PYTHON=(\S+)", (FOLDER / "Dockerfile").read_text(), re.M)
    assert f"Programming Language :: Python :: {python}" in (ROOT / "setup.cfg").read_text()


@pytest.mark.parametrize("target", ["platform", "serve"])
def test_an_image_runs_as_a_user_without_rights_and_its_command_exists(target: str) -> None:
    [user] = instructions(target, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "Kubernetes compares numbers"
    # Dagster's launcher on Kubernetes gives `dagster api …` as the arguments of the image.
    assert not any(name == "ENTRYPOINT" for stage in stages().values() for name, _ in stage)
    [command] = instructions(target, "CMD")
    program, *words = json.loads(command)
    assert program == PROGRAM
    if words != ["--help"]:
        assert parse_command(words) == "serve"
    steps = [name for name, _ in stages()[target]]
    assert "RUN" not in steps[steps.index("USER") :]


def test_packages_are_of_the_tested_versions() -> None:
    for stage in ("platform-packages", "serve-packages"):
        installs = [run for run in instructions(stage, "RUN") if "pip install" in run]
        assert len(installs) == 2
        for run in installs:
            assert "-c constraints.txt" in run or "--no-deps" in run, run
    assert re.search(r"^torch==[\d.]+$", (ROOT / "constraints.txt").read_text(), re.M)
    [extras] = re.findall(r"ARG EXTRAS=(\S+)", (FOLDER / "Dockerfile").read_text())
    assert f"\n{extras} =\n" in (ROOT / "setup.cfg").read_text()


@pytest.mark.slow
def test_the_wheel_is_whole_when_it_is_built_from_what_is_copied(tmp_path: Path) -> None:
    if Version(version("setuptools")) < Version("77"):
        pytest.skip("setuptools 77 is needed, and a download of it is no test")
    source = tmp_path / "src"
    source.mkdir()
    for name in copied_sources():
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    process = subprocess.run(
        [*command, "--wheel-dir", str(tmp_path / "wheels"), str(source)],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    [wheel] = (tmp_path / "wheels").glob("batch_predictions-*.whl")
    packaged = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "batch_predictions"
    files = {
        str(path.relative_to(ROOT))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= packaged, sorted(files - packaged)


def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    [document] = read_yaml("docker", "compose.yaml")
    assert set(document["volumes"]) == {"home", "postgres"}
    return dict(document["services"])


def test_the_services_run_commands_that_exist_without_rights() -> None:
    assert set(services()) == {"postgres", "webserver", "daemon", "serve", "watch"}
    for name, service in services().items():
        if name == "postgres":
            continue
        program, *words = service.get("command") or [PROGRAM, "serve"]
        assert program == PROGRAM and parse_command(words) == name
        assert service["build"]["target"] in stages()
        assert (FOLDER / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).exists()
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["tmpfs"]
        assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        assert name == "watch" or "healthcheck" in service or name == "serve"
    for name, service in services().items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is reached from elsewhere"
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith("./") or (FOLDER / source).exists(), volume


def test_secrets_come_from_the_file_of_the_environment() -> None:
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{([A-Z_]+)", text))
    example = (FOLDER / "compose.env").read_text(encoding="utf-8")
    assert set(re.findall(r"^([A-Z_]+)=(?:$)", example, re.M)) == used
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert not re.search(r"PASSWORD: (?!\$)", text)


@pytest.mark.parametrize("name", ["daemon", "serve"])
def test_the_settings_of_the_containers_are_valid(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable, value in services()[name]["environment"].items():
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+[^}]*\}", "0123456789abcdef0123", value))
    shutil.copy(FOLDER / "settings.yaml", tmp_path / "batch_predictions.yaml")
    settings = Settings.load()
    assert str(settings.source.path) == "/source"
    assert settings.serving.url is not None and settings.serving.url.endswith("@postgres/serving")
    if name == "daemon":
        storage = settings.execution.instance["storage"]["postgres"]["postgres_url"]
        assert storage["env"] in services()[name]["environment"]
