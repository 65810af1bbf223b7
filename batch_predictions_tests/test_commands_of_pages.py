"""Commands on the pages: all of them parse, and those of tasks run on a home of their world."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions_tests.worlds.customers import visits
from batch_predictions_tests.worlds.deployment import PROGRAM, SEPARATORS, assert_commands_exist
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.programs import run_python
from batch_predictions_tests.worlds.retail_fixtures import environment
from batch_predictions_tests.worlds.reviews import review_text

DOCS = ROOT / "docs"
GENERATED = {"http_clients", "python"}
PAGES = [
    page
    for page in [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    if page.stem not in GENERATED
]
TASKS = [
    "how_to/run_a_campaign",
    "explanation/gates",
    "explanation/orders",
    "explanation/sentiment",
    *(
        f"how_to/{name}"
        for name in (
            *("add_forecaster", "add_generator", "add_sentiment_model", "backfill", "backup"),
            *("business_rules", "correct_days", "drift_and_costs", "refused_rows"),
            *("releases_and_rollback", "report", "schedule", "sinks"),
            *("status_and_alerts", "damaged_files", "erase_users"),
        )
    ),
]
COMMANDS_OF_PLUGINS = "shop "
NOT_RUN = re.compile(r"ui$|watch --every|backup s3://|pip |run --from")
"""Commands that run until they are stopped, need a bucket or a registry, or predict many days."""
PROBLEMS_ARE_FOUND = re.compile(r"status|watch|doctor")
"""Commands that exit with 1 for what needs attention."""
SETTINGS = "sinks: [{url: sink}]\n"
ITEMS = ["1029743", "995242", *(str(number) for number in range(8))]
NEWEST = dt.date(2026, 11, 26)
# Each command runs in a child of one process, which has imported what all of them need.
RUN = """
import json, os, shlex, sys
import dagster, duckdb, pandas, pyarrow.parquet
import batch_predictions.cli.command_line
from batch_predictions.cli import main

for words, variables, out in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if not (child := os.fork()):
        os.environ.update(variables)
        sys.argv = ["batch-predictions", *words]
        for number, name in ((1, out), (2, out + ".err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        main()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps([shlex.join(words), code, open(out + ".err").read()[-2000:]]))
"""


def _blocks(page: Path, mark: str) -> list[str]:
    found = re.findall(rf"^( *)```{mark}\n(.*?)^\1```", page.read_text("utf-8"), re.S | re.M)
    return [text for _, text in found]


def _commands(page: Path) -> list[str]:
    """Lines of shell blocks that call the platform, a line that goes on being one."""
    console = "".join(_blocks(page, "console")).replace("\\\n", " ").splitlines()
    lines = [line.strip().removeprefix("$ ") for line in console if line.strip().startswith("$ ")]
    lines += "".join(_blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [re.sub(r".*docker compose run --rm daemon ", "", line.strip()) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_a_page_are_accepted(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.yaml").touch()
    named = re.compile(rf"(^|/bin/){PROGRAM} (?!{COMMANDS_OF_PLUGINS})")
    calls = [line for line in _commands(page) if named.search(line)]
    assert assert_commands_exist(calls) == len(calls)


def _write_source(folder: Path) -> None:
    """Purchases of 60 days by users 0 to 70 and 4711, reviews, and a campaign of the shop."""
    folder.mkdir()
    first = NEWEST - dt.timedelta(days=59)
    purchases = [
        {
            "user_id": "4711" if user.endswith("071") else str(int(user[-3:])),
            "item_id": ITEMS[(int(user[-3:]) + day % 2) % len(ITEMS)],
            "date": first + dt.timedelta(days=day),
            "amount": 10.0,
        }
        for user, day in visits(72, days=60)
    ]
    random = np.random.default_rng(3)
    reviews = [
        {
            "item_id": ITEMS[number % len(ITEMS)],
            "rating": (rating := int(random.choice([1, 3, 5]))),
            "text": review_text(random, rating),
            "date": first + dt.timedelta(days=number % 60),
        }
        for number in range(400)
    ]
    campaign = [
        {"campaign_id": "18", "item_id": item, "starts_on": first, "ends_on": dt.date(2027, 1, 1)}
        for item in ITEMS[:3]
    ]
    names = {"interactions": purchases, "reviews": reviews, "promotions": campaign}
    for name, rows in names.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")


def _words_of(line: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Words and variables of a call, with folders of the test."""
    for name in ("/mnt/backups", "/srv/restored"):
        line = line.replace(name, str(folder / Path(name).name))
    words = shlex.split(line.replace(" ITEM", f" {ITEMS[0]}"), comments=True)
    start = words.index(PROGRAM)
    variables = dict(word.split("=", 1) for word in words[:start])
    words = words[start + 1 :]
    ends = [words.index(word) for word in SEPARATORS if word in words]
    return words[: min(ends, default=len(words))], variables


@pytest.mark.slow
def test_commands_and_queries_of_tasks_run(tmp_path: Path) -> None:
    _write_source(tmp_path / "source")
    (tmp_path / "batch_predictions.yaml").write_text(SETTINGS, encoding="utf-8")
    env = environment(
        tmp_path / "home",
        tmp_path / "source",
        BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE="false",
        BATCH_PREDICTIONS_DEMAND__CANDIDATES='["linear_regression"]',
        BATCH_PREDICTIONS_SENTIMENT__CANDIDATES='["nb_lr"]',
        BATCH_PREDICTIONS_CHURN__HORIZON_DAYS="7",
        PYTHONPATH=str(ROOT),
    )
    lines = ["batch-predictions run --date 2026-11-18", "batch-predictions run"]
    named = (line for page in TASKS for line in _commands(DOCS / f"{page}.md") if PROGRAM in line)
    once = dict.fromkeys(re.sub(r"\s*#.*", "", line) for line in named)
    lines += [line for line in once if not NOT_RUN.search(line)]
    calls = [[*_words_of(line, tmp_path), str(tmp_path / "out")] for line in lines]
    answers = run_python("-c", RUN, json.dumps(calls), env=env, cwd=tmp_path).stdout
    results = [json.loads(line) for line in answers.splitlines()]
    assert len(results) == len(lines) > 35
    failed = [
        result
        for result in results
        if result[1] and not (result[1] == 1 and PROBLEMS_ARE_FOUND.match(result[0]))
    ]
    assert not failed
    with duckdb.connect(str(tmp_path / "home" / "warehouse.duckdb"), read_only=True) as db:
        for page in TASKS:
            for query in _blocks(DOCS / f"{page}.md", "sql"):
                if "current_" not in query:  # Those are of the serving store.
                    db.execute(query)
