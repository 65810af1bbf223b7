"""Settings: which of several places wins, and what is said of a wrong one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from batch_predictions.settings import (
    FILE_NAME,
    Settings,
    SettingsError,
    as_yaml,
    shareable_variables,
)

SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that is not the working directory, in the environment of this test alone."""
    folder = tmp_path / "a-home"
    folder.mkdir()
    monkeypatch.setenv("BATCH_PREDICTIONS_HOME", str(folder))
    return folder


def write(folder: Path, text: str) -> None:
    (folder / FILE_NAME).write_text(text, encoding="utf-8")


def uncommented(text: str) -> dict[str, dict[str, Any]]:
    """What the template says once its sections and keys are uncommented, explanations left."""
    live = re.sub(r"^# (?=[a-z_]+:$| {2}[a-z_]+:)", "", text, flags=re.MULTILINE)
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(live)
    return loaded


def test_settings_precedence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = []
    values.append(Settings.load(home).recommendations.k)
    write(Path.cwd(), "recommendations: {k: 2}")
    values.append(Settings.load(home).recommendations.k)
    write(home, "recommendations: {k: 3}")
    values.append(Settings.load(home).recommendations.k)
    monkeypatch.setenv("BATCH_PREDICTIONS_RECOMMENDATIONS__K", "4")
    values.append(Settings.load(home).recommendations.k)
    assert values == [20, 2, 3, 4]


def test_places_are_merged_key_by_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path.cwd(), "source: {kind: files, timezone: Asia/Tokyo}\nfallback: {k: 5}")
    write(home, "source: {timezone: Europe/Berlin, path: /data}")
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE__PATH", "/elsewhere")
    loaded = Settings.load(home)
    assert (loaded.source.kind, loaded.source.timezone) == ("files", "Europe/Berlin")
    assert loaded.source.path == Path("/elsewhere")
    assert loaded.fallback.k == 5


def test_the_home_is_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_HOME", "there")
    assert Settings.load().home == Path.cwd() / "there"
    assert Settings.load(Path("here")).home == Path.cwd() / "here"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("recommendations: {kk: 3}", "recommendations.kk"),
        ("recomendations: {k: 3}", "recomendations"),
        ("recommendations: {k: many}", "recommendations.k = 'many'"),
        ("recommendations: {k: 0}", "recommendations.k = 0"),
        ("recommender: {candidates: [als]}", "recommender.candidates"),
        ("recommender: {candidates_each: 9}", "recommender.candidates_each = 9"),
        ("recommender: {generators: [als, [knn]]}", "recommender.generators.1 = ['knn']"),
        ("inference: {device: tpu}", "inference.device = 'tpu'"),
        ("serving: {keep_releases: 1}", "serving.keep_releases = 1"),
        ("demand: {holidays: DE-ZZ}", "`DE` does not have subdivision ZZ"),
        ("demand: {holidays: [US, Christmas]}", "neither a date nor a country"),
        ("demand: {holidays: [US, DE]}", "more than one country"),
        ("recommendations: [", FILE_NAME),
        ("- recommendations", FILE_NAME),
    ],
)
def test_the_error_of_a_wrong_file_names_the_key(home: Path, text: str, key: str) -> None:
    write(home, text)
    with pytest.raises(SettingsError) as caught:
        Settings.load(home)
    assert key in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("RECOMMENDATIONS__K", "many", "recommendations.k = 'many'"),
        ("RECOMMENDATIONS__KK", "3", "recommendations.kk"),
        ("RECOMENDATIONS__K", "3", "RECOMENDATIONS__K"),
        ("SOURCE__COLUMNS", "{bad", '"source"'),
    ],
)
def test_the_error_of_a_wrong_variable_names_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, key: str
) -> None:
    monkeypatch.setenv(f"BATCH_PREDICTIONS_{name}", value)
    with pytest.raises(SettingsError) as caught:
        Settings.load(home)
    assert key in str(caught.value)


def test_the_error_names_every_wrong_key(home: Path) -> None:
    write(home, "recommendations: {k: 0}\nfallback: {kk: 1}")
    with pytest.raises(SettingsError) as caught:
        Settings.load(home)
    assert "recommendations.k = 0" in str(caught.value) and "fallback.kk" in str(caught.value)


@pytest.mark.parametrize(
    ("instance", "name"),
    [
        ({"storage": {"postgres": {"postgres_url": "postgresql://u:s3cret@h/d"}}}, "postgres_url"),
        (
            {"storage": {"postgres": {"postgres_db": {"password": "s3cret"}}}},
            "postgres_db.password",
        ),
        ({"storage": {"x": {"postgres_url": "postgresql://h/d?password=s3cret"}}}, "postgres_url"),
        ({"run_launcher": {"config": {"env_vars": ["A=1", "PGPASSWORD=s3cret"]}}}, "env_vars[]"),
        ({"run_launcher": {"config": {"env": [{"api_key": "s3cret"}]}}}, "env[].api_key"),
    ],
)
def test_a_secret_that_would_be_written_to_dagster_yaml_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, instance: dict[str, Any], name: str
) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_EXECUTION__INSTANCE", json.dumps(instance))
    with pytest.raises(SettingsError) as caught:
        Settings.load(home)
    message = str(caught.value)
    assert f"{name} has a password or key" in message and "{env: NAME}" in message
    assert "s3cret" not in message


def test_names_of_variables_and_of_secrets_are_no_secrets(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = {
        "storage": {"postgres": {"postgres_url": {"env": "DAGSTER_URL"}}},
        "run_launcher": {
            "module": "dagster_k8s",
            "config": {
                "env_secrets": ["shop-secrets"],
                "image_pull_secrets": [{"name": "registry"}],
                "env_vars": ["BATCH_PREDICTIONS_SERVING__URL", "LEVEL=info"],
                "service_account_name": "dagster",
            },
        },
    }
    monkeypatch.setenv("BATCH_PREDICTIONS_EXECUTION__INSTANCE", json.dumps(instance))
    assert Settings.load(home).execution.instance == instance


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("EXECUTION__RAY_JOBS", "http://ann:s3cret@head:8265", "execution.ray_jobs"),
        ("INFERENCE__RAY_ADDRESS", "ray://token-s3cret@head:10001", "inference.ray_address"),
        ("SOURCE__PATH", "s3://key:s3cret@bucket/x", "source.path"),
    ],
)
def test_a_secret_in_a_setting_that_messages_show_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, setting: str
) -> None:
    monkeypatch.setenv(f"BATCH_PREDICTIONS_{name}", value)
    with pytest.raises(SettingsError, match=f"{setting} has a password or key") as caught:
        Settings.load(home)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "serving: {url: postgresql://u:s3cret@h/d",
        "serving:\n  url: *s3cret\n",
        "serving:\n  url: 'postgresql://u:s3cret@h/d\n",
        "serving: {'postgresql://u:s3cret@h/d': 1}",
        "serving: postgresql://u:s3cret@h/d",
        "serving: {url: [s3cret]}",
        "execution: {instance: s3cret}",
        "source: {url: {password: s3cret}}",
        "s3cret",
    ],
)
def test_the_error_of_a_file_has_no_password(home: Path, text: str) -> None:
    write(home, text)
    with pytest.raises(SettingsError) as caught:
        Settings.load(home)
    assert "s3cret" not in str(caught.value)


def test_a_node_must_have_the_variables_that_are_not_passed_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql+psycopg://u:s3cret@h/d"
    monkeypatch.setenv("BATCH_PREDICTIONS_SERVING__URL", url)
    monkeypatch.setenv("BATCH_PREDICTIONS_SERVING__KEEP_RELEASES", "5")
    passed = shareable_variables()
    assert "s3cret" not in str(passed)
    assert passed["BATCH_PREDICTIONS_SERVING__KEEP_RELEASES"] == "5"
    monkeypatch.delenv("BATCH_PREDICTIONS_SERVING__URL")
    for name, value in passed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"SERVING__URL is not set on this node"):
        Settings.load(home)
    monkeypatch.setenv("BATCH_PREDICTIONS_SERVING__URL", url)
    assert Settings.load(home).serving.url == url


def test_the_template_equals_the_defaults(home: Path) -> None:
    first = Settings.load(home)
    write(home, as_yaml())
    assert yaml.safe_load(as_yaml()) is None
    assert Settings.load(home) == first
    # Settings without a section are explained too.
    explained = (Settings.model_fields["plugins"].description or "").split()
    assert explained and {*explained} <= {*as_yaml().split()}


def test_every_key_of_the_template_equals_its_default(home: Path) -> None:
    first = Settings.load(home)
    live = uncommented(as_yaml())
    assert {name: set(keys) for name, keys in live.items()} == {
        name: set(model.model_fields) for name, model in SECTIONS.items()
    }
    write(home, yaml.safe_dump(live))
    assert Settings.load(home) == first


def test_chosen_keys_are_live_and_load(home: Path) -> None:
    chosen: dict[str, dict[str, Any]] = {
        "source": {"kind": "files", "path": Path("/a b/it's: #1"), "exclude_items": {"brand": []}},
        "recommendations": {"exclude_seen": True, "k": 7},
    }
    write(home, as_yaml(chosen))
    assert set(yaml.safe_load(as_yaml(chosen))) == {"source", "recommendations"}
    loaded = Settings.load(home)
    assert loaded.source.kind == "files" and loaded.source.path == Path("/a b/it's: #1")
    assert loaded.source.exclude_items == {"brand": []}
    assert loaded.recommendations.exclude_seen is True and loaded.recommendations.k == 7
    assert loaded.fallback == Settings(home=home).fallback


def test_every_key_is_explained() -> None:
    for name, model in SECTIONS.items():
        assert model.__doc__, name
        for key, field in model.model_fields.items():
            assert field.description and field.description.endswith((".", "}.")), f"{name}.{key}"


def test_a_cycle_of_orders_beyond_the_forecast_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_DEMAND__HORIZON", "7")
    assert Settings.load(tmp_path).demand.horizon == 7
    monkeypatch.setenv("BATCH_PREDICTIONS_DEMAND__REVIEW_DAYS", "5")
    with pytest.raises(SettingsError, match=r"is 8, more than the 7 days .* raise the horizon"):
        Settings.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["wh?t", "100%20", "back\\slash", "line\nbreak", "date=2026-01-01"]
)
def test_a_home_that_a_database_would_read_as_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_HOME", str(tmp_path / name))
    with pytest.raises(SettingsError, match="choose or rename the folder"):
        Settings.load()


@pytest.mark.parametrize("name", ["we[i]rd *home", "q'uo\"te 100%", "a#b;c&d", "ünï"])
def test_a_home_may_have_wildcards_quotes_and_blanks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_HOME", str(tmp_path / name))
    assert Settings.load().home == tmp_path / name
