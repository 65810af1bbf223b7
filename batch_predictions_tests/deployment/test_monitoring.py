"""Rules of Prometheus and Grafana's dashboard: their metrics and labels are the service's."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import subprocess
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from batch_predictions.serving.release_files.destinations import export_current
from batch_predictions.settings import HttpSettings, Settings
from batch_predictions_tests.worlds.deployment import DEPLOYMENT, assert_commands_exist, read_yaml
from batch_predictions_tests.worlds.http_service import publish_all, running_service
from batch_predictions_tests.worlds.prometheus import Prometheus, running_prometheus
from batch_predictions_tests.worlds.serving import open_world

NAME = re.compile(r"\bbatch_predictions_[a-z_]+")
SELECTOR = re.compile(r"(\bbatch_predictions_[a-z_]+)\{([^}]*)\}")
GROUPING = re.compile(r"\b(?:by|on) ?\(([^)]*)\)")
OF_PROMETHEUS = {"job", "instance", "alertname", "alertstate"}
"""Labels that Prometheus adds when it reads a service."""


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Labels of every metric of a service of the store and of one of release files."""
    folder = tmp_path_factory.mktemp("metrics")
    world = open_world(folder / "home")
    publish_all(world)
    export_current(world.settings, folder / "files")
    files = Settings(home=folder / "none", http=HttpSettings(release_dir=folder / "files"))
    event = {"event_id": "e1", "event_type": "click", "user_id": "u1", "item_id": "a1"}
    labels: dict[str, set[str]] = {}
    for settings in (world.settings, files):
        with running_service(settings) as client:
            client.list_of("u1")
            client.send("POST", "/v1/events", {"events": [event]})
            text = client.get("/metrics").body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels.setdefault(sample.name, set()).update(sample.labels)
    world.store.close()
    return labels


def rules() -> list[dict[str, Any]]:
    """The alerts of rules.yaml."""
    [document] = read_yaml("prometheus", "rules.yaml")
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    text = (DEPLOYMENT / "grafana" / "dashboard.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def queries() -> list[str]:
    """Every expression of the rules and of the dashboard, its variables' queries included."""
    shown = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    variables = dashboard()["templating"]["list"]
    return [
        *(rule["expr"] for rule in rules()),
        *shown,
        *(item["query"]["query"] for item in variables if item["type"] == "query"),
    ]


def test_every_metric_and_label_exists(metrics: dict[str, set[str]]) -> None:
    assert len(queries()) > 25
    for query in queries():
        names = set(NAME.findall(query))
        assert names or query.startswith("up{"), query
        assert names <= set(metrics), query
        known = set().union(*(metrics[name] for name in names)) | OF_PROMETHEUS
        for name, matchers in SELECTOR.findall(query):
            matched = set(re.findall(r"(\w+) ?(?:=~|!=|!~|=)", matchers))
            assert matched <= metrics[name] | OF_PROMETHEUS, query
        for grouped in GROUPING.findall(query):
            assert {label.strip() for label in grouped.split(",")} - {""} <= known, query


def test_every_metric_of_the_service_is_watched_or_shown(metrics: dict[str, set[str]]) -> None:
    used = set(NAME.findall(" ".join(queries())))
    missing = {name for name in metrics if name.startswith("batch_predictions_")} - used
    assert missing <= {"batch_predictions_http_request_seconds_sum"}


def test_thresholds_of_latency_are_bounds_of_the_histogram() -> None:
    from batch_predictions.serving.http.service_metrics import _SECONDS

    [slow] = [rule for rule in rules() if rule["alert"] == "BatchPredictionsSlow"]
    assert float(slow["expr"].rpartition(">")[2]) in _SECONDS


def test_every_alert_says_what_to_do_with_commands_that_exist() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 10
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"} and rule["for"]
        assert set(rule["annotations"]) == {"summary", "what_to_do"}
    told = [rule["annotations"]["what_to_do"] for rule in rules()]
    commands = [
        match[0] for text in told for match in re.finditer("batch-predictions [a-z]+", text)
    ]
    assert assert_commands_exist(commands) >= 2


def test_panels_do_not_overlap_and_have_a_source() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        area = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not area & cells and max(x for x, _ in area) < 24, panel["title"]
        cells |= area
        assert panel["datasource"]["uid"] == "${datasource}" and panel["title"]
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "arguments", [["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"]]
)
def test_prometheus_accepts_the_rules_and_they_fire(arguments: list[str], tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install promtool)")
    process = subprocess.run(
        [promtool, *arguments],
        cwd=DEPLOYMENT / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.slow
def test_in_a_prometheus_every_panel_has_data_and_every_rule_is_loaded(tmp_path: Path) -> None:
    """The page's configuration, and two services that are asked meanwhile."""
    world = open_world(tmp_path / "home")
    publish_all(world)
    export_current(world.settings, tmp_path / "files")
    files = Settings(home=tmp_path / "none", http=HttpSettings(release_dir=tmp_path / "files"))
    with ExitStack() as stack:
        services = [
            stack.enter_context(running_service(settings)) for settings in (world.settings, files)
        ]
        configuration = documented_configuration([client.port for client in services])
        prometheus = stack.enter_context(running_prometheus(tmp_path, configuration))
        asked = itertools.count()
        missing = {panel["title"]: panel for panel in dashboard()["panels"]}
        while missing:
            number = next(asked)
            assert number < 3_000, f"no data after {number} requests: {[*missing]}"
            event = {"event_id": f"e{number}", "event_type": "click", "user_id": "u1"}
            services[0].send("POST", "/v1/events", {"events": [{**event, "item_id": "a1"}]})
            for client in services:
                client.list_of(f"u{number % 50}")
            time.sleep(0.05)
            for title, panel in [*missing.items()]:
                if all(has_data(prometheus, target["expr"]) for target in panel["targets"]):
                    del missing[title]
        [ready] = set(prometheus.values(expand("avg(batch_predictions_store_reachable)")))
        assert ready == 1
        [group] = prometheus.get("rules")["groups"]
        assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in rules()]
        assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    world.store.close()


def documented_configuration(ports: list[int]) -> dict[str, Any]:
    """The configuration of monitor.md for services without keys, read every half second."""
    page = (DEPLOYMENT.parent / "docs" / "how_to" / "monitor.md").read_text(encoding="utf-8")
    [text] = re.findall(r"```yaml\n( *scrape_configs:.*?)```", page, re.DOTALL)
    configuration: dict[str, Any] = yaml.safe_load(textwrap.dedent(text))
    [job] = configuration["scrape_configs"]
    del job["authorization"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    return {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "scrape_configs": [job],
        "rule_files": [str(DEPLOYMENT / "prometheus" / "rules.yaml")],
    }


def expand(query: str) -> str:
    """A query with Grafana's variables as the dashboard begins with them."""
    values = {item["name"]: item.get("allValue", "") for item in dashboard()["templating"]["list"]}
    values["__rate_interval"] = "10s"
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], query)


def has_data(prometheus: Prometheus, query: str) -> bool:
    """Whether a query has values, and all of them are numbers."""
    values = prometheus.values(expand(query))
    return bool(values) and all(map(math.isfinite, values))
