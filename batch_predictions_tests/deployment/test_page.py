"""The pages about deployment: their commands, files, units and variables exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

from batch_predictions_tests.worlds.deployment import DEPLOYMENT, assert_commands_exist, read_yaml
from batch_predictions_tests.worlds.paths import ROOT

PAGES = [
    "tutorials/server",
    *(f"how_to/deploy_{kind}" for kind in ("server", "containers", "kubernetes")),
    *(f"how_to/{name}" for name in ("postgres", "upgrade", "monitor")),
]
TEXT = "\n".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES)


def blocks(mark: str) -> list[str]:
    """The code blocks of a kind, those of steps unindented."""
    found = re.findall(rf"^( *)```{mark}\n(.*?)^\1```", TEXT, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for _, text in found]


def shell_lines() -> list[str]:
    """The lines of all shell blocks, a line that goes on being one."""
    lines = "".join(blocks("console")).replace("\\\n", " ").splitlines()
    console = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [*"".join(blocks("sh")).replace("\\\n", " ").splitlines(), *console]


def test_the_commands_of_services_exist() -> None:
    named = re.findall(r"^\| `(batch-predictions [^`]+)` \|", TEXT, re.MULTILINE)
    assert len(named) == 6
    assert assert_commands_exist(f"{line} DIR" if "backup" in line else line for line in named) == 6


def test_every_file_of_the_page_exists() -> None:
    paths = re.findall(r"deployment/[\w./*-]+", TEXT)
    assert len(paths) > 10
    for path in paths:
        assert list(ROOT.glob(path.rstrip("."))), path


def test_every_folder_of_deployment_is_on_the_page_and_has_its_files_named() -> None:
    for folder in DEPLOYMENT.iterdir():
        assert f"`{folder.name}/" in TEXT, folder.name
    for file in (DEPLOYMENT / "kubernetes").iterdir():
        assert file.name in TEXT, file.name


def test_every_unit_that_is_started_exists() -> None:
    units = {path.name for path in (DEPLOYMENT / "systemd").iterdir()}
    named = set()
    for line in shell_lines():
        if line.startswith("systemctl"):
            named |= set(re.findall(r"batch-predictions(?:-\w+|(?=\.))(?:\.\w+)?", line))
    files = {name if "." in name else f"{name}.service" for name in named}
    assert len(files) >= 6 and files <= units, files - units


def test_the_secrets_of_kubernetes_are_those_of_the_manifests() -> None:
    made = set(re.findall(r"kubectl create secret generic ([\w-]+)", TEXT))
    text = "".join(path.read_text() for path in (DEPLOYMENT / "kubernetes").iterdir())
    used = set(re.findall(r"secretRef: \{name: ([\w-]+)\}|postgresqlSecretName: ([\w-]+)", text))
    assert made == {name for pair in used for name in pair if name}
    [values] = read_yaml("kubernetes", "dagster-values.yaml")
    [code] = values["dagster-user-deployments"]["deployments"]
    assert {secret["name"] for secret in code["envSecrets"]} <= made


def test_the_settings_of_prometheus_name_the_job_of_the_rules() -> None:
    [block] = [text for text in blocks("yaml") if "scrape_configs" in text]
    [job] = yaml.safe_load(block)["scrape_configs"]
    rules = (DEPLOYMENT / "prometheus" / "rules.yaml").read_text(encoding="utf-8")
    assert f'job="{job["job_name"]}"' in rules


def test_the_keys_are_written_into_the_environment_file(tmp_path: Path) -> None:
    """The page's sed lines, on a copy of the file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    file = tmp_path / "environment"
    shutil.copy(DEPLOYMENT / "systemd" / "environment", file)
    lines = [line for line in shell_lines() if "sed" in line and "/etc/batch-predictions" in line]
    script = "\n".join([*lines, 'echo "$key"'])
    script = script.replace("/etc/batch-predictions/environment", str(file))
    process = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True)
    text = file.read_text(encoding="utf-8")
    [key] = re.findall(r"^BATCH_PREDICTIONS_HTTP_READ_KEYS=([0-9a-f]{64})$", text, re.MULTILINE)
    assert process.stdout.strip() == key
    assert re.search(r"^BATCH_PREDICTIONS_HTTP_WRITE_KEYS=[0-9a-f]{64}$", text, re.MULTILINE)
