"""The site of the documentation: generated pages are current, and no link leads nowhere."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import shutil
from pathlib import Path

import pytest
import yaml

from batch_predictions.settings import Settings
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.programs import run_python

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PROGRAM = """
import json, runpy
print(json.dumps(runpy.run_path(".ci/reference.py", run_name="reference")["pages"]()))
"""


def test_generated_pages_are_those_of_the_code() -> None:
    """In a process of its own, since tests declare tables and commands."""
    pages = json.loads(run_python("-c", PROGRAM, cwd=ROOT).stdout)
    folder = DOCS / "reference"
    old = [name for name, text in pages.items() if (folder / name).read_text("utf-8") != text]
    assert not old, f"`python .ci/reference.py` writes {old}"


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted(ROOT.glob("*.md"))], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_links_of_a_page_lead_to_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


@pytest.mark.parametrize("page", sorted((DOCS / "how_to").glob("*.md")), ids=lambda page: page.stem)
def test_a_task_has_at_most_600_words_beside_code_and_tables(page: Path) -> None:
    lines = [line for line in _prose(page).splitlines() if not line.startswith(("|", "#"))]
    assert len(" ".join(lines).split()) <= 600


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_settings_of_a_page_are_valid(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        values = yaml.safe_load(block)
        if {*values} <= {*Settings.model_fields}:
            Settings.model_validate(values)


def test_every_page_is_in_the_navigation_and_old_addresses_lead_on() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8").replace("!!python/name:", "")
    config = yaml.safe_load(text)
    named = set(re.findall(r"[\w/]+\.md", yaml.safe_dump(config["nav"])))
    assert named == {page.relative_to(DOCS).as_posix() for page in PAGES}
    redirects = next(p for p in config["plugins"] if isinstance(p, dict))["redirects"]
    for new in redirects["redirect_maps"].values():
        assert (DOCS / new.partition("#")[0]).exists(), new


@pytest.mark.skipif(not importlib.util.find_spec("zensical"), reason="needs the extra docs")
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    run_python("-m", "zensical", "build", "--strict", cwd=tmp_path)
    assert (tmp_path / "site" / "index.html").exists()


def test_versions_of_the_site_lie_side_by_side(tmp_path: Path) -> None:
    publish = runpy.run_path(str(ROOT / ".ci" / "publish_site.py"))["publish"]
    (site := tmp_path / "site").mkdir()
    pages = tmp_path / "pages"
    for version in ("0.9.0", "0.10.0", "0.2.0"):
        (site / "index.html").write_text(version, "utf-8")
        publish(site, pages, version)
    entries = json.loads((pages / "versions.json").read_text("utf-8"))
    assert [entry["version"] for entry in entries] == ["0.10.0", "0.9.0", "0.2.0"]
    assert [entry["aliases"] for entry in entries] == [["latest"], [], []]
    assert "0.10.0/index.html" in (pages / "index.html").read_text("utf-8")
    assert (pages / "0.9.0" / "index.html").read_text("utf-8") == "0.9.0"


def _prose(page: Path) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.DOTALL)


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    titles = (
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", t) for t in re.findall(r"^#+ (.+)$", text, re.M)
    )
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
