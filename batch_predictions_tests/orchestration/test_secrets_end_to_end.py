"""A planted password is in no output of a command and in no file of the home."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from batch_predictions_tests.worlds.postgres import empty_postgres
from batch_predictions_tests.worlds.retail_fixtures import environment, run_command, write_shop

pytestmark = pytest.mark.slow

PASSWORD = "s3cr3t/ü%@:w?#x"
WRONG = "wr0ng/ü%@:w?#x"
PLANTED = ("s3cr3t", "wr0ng", "%40%3Aw", "@:w", "ü%")
"""Parts of both passwords, as they are and encoded."""
SOURCE, STORE = "BATCH_PREDICTIONS_SOURCE__URL", "BATCH_PREDICTIONS_SERVING__URL"
INSTANCE = "BATCH_PREDICTIONS_EXECUTION__INSTANCE"


@dataclass
class Shop:
    """A home whose source and store are databases with a password, and what commands wrote."""

    folder: Path
    url: sa.URL
    env: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, check: bool = True, name: str = "", **env: str) -> str:
        """Runs a command; returns and collects what it wrote to both outputs."""
        process = run_command(*arguments, env={**self.env, **env}, cwd=self.folder, check=check)
        assert check or process.returncode != 0, process.stdout
        text = process.stdout + process.stderr
        self.outputs[name or " ".join(arguments)] = text
        return text

    def with_password(self, password: str, **parts: object) -> str:
        """The URL with another password, and other parts."""
        return self.url.set(password=password, **parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


def fill(url: sa.URL, folder: Path) -> None:
    """Writes a week of a shop into a database."""
    import datetime as dt

    write_shop(folder, days=8, last=dt.date(2024, 3, 17), users=8)
    engine = sa.create_engine(url, hide_parameters=True)
    with engine.begin() as db:
        for name in ("interactions", "users", "items"):
            rows = pq.read_table(folder / f"{name}.parquet").to_pylist()
            types = {str: "text", int: "bigint", float: "double precision", bool: "boolean"}
            declared = ", ".join(f"{k} {types.get(type(v), 'date')}" for k, v in rows[0].items())
            db.exec_driver_sql(f"create table shop_{name} ({declared})")
            db.execute(sa.insert(sa.table(f"shop_{name}", *map(sa.column, rows[0]))), rows)
    engine.dispose()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    server = empty_postgres()
    folder = tmp_path_factory.mktemp("secrets")
    role = f"role_{uuid.uuid4().hex[:8]}"
    admin = sa.create_engine(server)
    quoted = PASSWORD.replace("%", "%%")
    with admin.begin() as db:
        db.exec_driver_sql(f"create role {role} superuser login password '{quoted}'")
    url = sa.make_url(server).set(username=role, password=PASSWORD)
    env = environment(folder / "home", folder)
    del env["BATCH_PREDICTIONS_SOURCE__PATH"]
    tables = {name: f"shop_{name}" for name in ("interactions", "users", "items")}
    env |= {
        "BATCH_PREDICTIONS_SOURCE__KIND": "sql",
        "BATCH_PREDICTIONS_SOURCE__TABLES": json.dumps(tables),
        "BATCH_PREDICTIONS_SOURCE__COLUMNS": '{"interactions": {"occurred_at": "date"}}',
        "BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE": "false",
        "BATCH_PREDICTIONS_DEMAND__CANDIDATES": '["linear_regression"]',
        SOURCE: url.set(drivername="postgresql").render_as_string(hide_password=False),
        STORE: url.render_as_string(hide_password=False),
        "PYTHONIOENCODING": "utf-8",
    }
    fill(url, folder / "files")
    yield Shop(folder, url, env)
    with admin.begin() as db:
        db.exec_driver_sql(f"drop owned by {role}")
        db.exec_driver_sql(f"drop role {role}")
    admin.dispose()


def run_commands_that_succeed(shop: Shop) -> None:
    shop.run("init", "--source", "sql")
    shop.run("init", "--source", "sql", "--check", "--force")
    (shop.folder / "batch_predictions.yaml").unlink()
    shop.run("check-source")
    assert "released     2024-03-17" in shop.run("run", "--date", "2024-03-17")
    shop.run("run", "--date", "2024-03-17", name="again")
    shop.run("prune")
    shop.run("releases", "list")
    shop.run("lookup", "recommendations", "u01")
    shop.run("lookup", "table")
    shop.run("models", "list")
    # The password as an option of the URL, not of its user.
    query = {"user": shop.url.username, "password": PASSWORD}
    bare = sa.URL.create(
        "postgresql+psycopg", host=shop.url.host, port=shop.url.port, database=shop.url.database
    )
    option = bare.update_query_dict({k: str(v) for k, v in query.items()})
    in_query = option.render_as_string(hide_password=False)
    assert "password=" in in_query
    shop.run("releases", "list", check=True, name="option", **{STORE: in_query})


def run_commands_that_fail(shop: Shop) -> None:
    wrong = shop.with_password(WRONG)
    unreachable = shop.with_password(PASSWORD, port=1)
    unescaped = f"postgresql+psycopg://{shop.url.username}:{PASSWORD}@127.0.0.1:{shop.url.port}/x"
    in_query = f"postgresql+psycopg://127.0.0.1:1/x?user=u&password={quote(PASSWORD, safe='')}"
    without_retries = {"BATCH_PREDICTIONS_SOURCE__RETRIES": "0"}
    for number, url in enumerate([wrong, unreachable, unescaped, in_query, f"pg//{PASSWORD}"]):
        text = shop.run("lookup", "table", check=False, name=f"lookup {number}", **{STORE: url})
        assert len(text.splitlines()) == 1
        source = {SOURCE: url, **without_retries}
        shop.run("check-source", check=False, name=f"check {number}", **source)
    shop.run("run", "--force", check=False, name="wrong store", **{STORE: wrong})
    shop.run("run", "--force", check=False, name="wrong source", **{SOURCE: wrong})
    where = json.dumps({"interactions": "nope > 1"})
    shop.run("run", "--force", check=False, BATCH_PREDICTIONS_SOURCE__WHERE=where)
    for number, value in enumerate(
        [
            {"storage": {"postgres": {"postgres_url": wrong}}},
            {"storage": {"postgres": {"postgres_db": {"password": PASSWORD}}}},
            {"run_launcher": {"config": {"env_vars": [f"PGPASSWORD={PASSWORD}"]}}},
        ]
    ):
        instance = {INSTANCE: json.dumps(value)}
        text = shop.run("run", check=False, name=f"instance {number}", **instance)
        assert "{env: NAME}" in text and len(text.splitlines()) == 1
    shop.run("run", check=False, name="not JSON", **{INSTANCE: f"{{password: {PASSWORD}"})
    shop.run("run", check=False, name="no mapping", BATCH_PREDICTIONS_SERVING=json.dumps(wrong))
    settings_file = shop.folder / "batch_predictions.yaml"
    for number, text in enumerate(
        [f"serving: {{url: {wrong}", f"serving:\n  url: *{WRONG}\n", f"serving: {{{wrong}: 1}}"]
    ):
        settings_file.write_text(text, encoding="utf-8")
        shop.run("run", check=False, name=f"file {number}")
    settings_file.unlink()
    shop.run("init", "--path", f"s3://key:{WRONG}@bucket/x", check=False, name="init")


def test_the_password_is_in_no_output_and_no_file(shop: Shop) -> None:
    run_commands_that_succeed(shop)
    run_commands_that_fail(shop)
    forms = {*PLANTED, quote(PASSWORD), quote_plus(PASSWORD)}
    shown = {
        name: text for name, text in shop.outputs.items() if any(form in text for form in forms)
    }
    assert not shown
    files = [path for path in (shop.folder / "home").rglob("*") if path.is_file()]
    assert {"dagster.yaml", "last_run.json", "runs.db", "state.yaml"} <= {f.name for f in files}
    leaks = [
        str(path)
        for path in files
        if any(form.encode() in path.read_bytes() for form in (PASSWORD, "s3cr3t", "wr0ng"))
    ]
    assert not leaks
    assert not (shop.folder / "batch_predictions.yaml").exists()
    failures = {name: text for name, text in shop.outputs.items() if "Traceback" in text}
    assert not failures
    assert os.environ.get(STORE) is None
