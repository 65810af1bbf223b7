"""The home's Dagster instance, and who holds the slots of its pools."""

from __future__ import annotations

import importlib.util
import os
from importlib import resources
from pathlib import Path

import dagster as dg
import yaml

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home_bucket import location_of
from batch_predictions.core.redaction import has_secret
from batch_predictions.orchestration import dagster_internals
from batch_predictions.orchestration.executors import inherited_env
from batch_predictions.settings import PREFIX, Settings, SettingsError
from batch_predictions.settings.environment import WITHHELD

_HOME = f"{PREFIX}HOME"
_BATCH_VARIABLE, _BATCH_EVENTS = "DAGSTER_EVENT_BATCH_SIZE", "1000"
"""Dagster's variable that lets it store events in batches."""
_LOCAL_JOB_SERVER = "http://127.0.0.1:8265"

_EVENT_LOG = {
    "event_log_storage": {
        "module": "batch_predictions.orchestration.dagster_internals.event_log",
        "class": "HomeEventLogStorage",
    }
}
_COMPUTE_LOGS = {
    "compute_logs": {
        "module": "batch_predictions.orchestration.dagster_internals.compute_logs",
        "class": "HomeComputeLogManager",
    }
}
_POSTGRES_STORAGES = {
    "run_storage": "HomePostgresRunStorage",
    "event_log_storage": "HomePostgresEventLogStorage",
    "schedule_storage": "HomePostgresScheduleStorage",
}


def prepare(settings: Settings) -> Path:
    """Writes `<home>/dagster/dagster.yaml` and makes its folder `DAGSTER_HOME`.

    It is the platform's dagster.yaml with `execution.instance` merged into it, and with the event
    log and the compute log manager of `dagster_internals` where these settings have no storage, or
    its storages where they have PostgreSQL. Jobs of a Ray cluster without PostgreSQL use Dagster's
    own: they and the process that waits for them read each other's events. So does every home with
    a Dagster whose private modules are not known.

    Raises:
        SettingsError: the address of Ray's job server has a password, the URL of Dagster's
            PostgreSQL names another driver than psycopg2, or dagster-postgres is not installed.
    """
    folder = settings.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    text = (resources.files("batch_predictions") / "dagster.yaml").read_text(encoding="utf-8")
    overrides = {**_launcher(settings), **_with_postgres(settings.execution.instance)}
    _require_psycopg2(settings.execution.instance)
    uses_ray = "ray" in (settings.execution.executor, settings.execution.launcher)
    is_ours = dagster_internals.are_known() and not uses_ray
    if is_ours and not {"storage", *_EVENT_LOG} & {*overrides}:
        overrides |= _EVENT_LOG
    if is_ours:
        overrides = _COMPUTE_LOGS | overrides
    text = yaml.safe_dump({**yaml.safe_load(text), **overrides}, sort_keys=False)
    target = folder / "dagster.yaml"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        atomic_write(target, text)
    os.environ["DAGSTER_HOME"] = str(folder)
    if is_ours:
        os.environ.setdefault(_BATCH_VARIABLE, _BATCH_EVENTS)
    return folder


def create_storage(folder: Path) -> None:
    """Creates the databases of Dagster's storage that are missing; one process at a time.

    Dagster's processes create them at their start: of two that start together on a new home, one
    would find a table of the other and end.

    Args:
        folder: that of `prepare`.
    """
    with file_lock(folder / ".storage.lock"), dg.DagsterInstance.get() as instance:
        instance.get_runs_count()
        instance.get_asset_keys(limit=1)
        instance.all_instigator_state()


def _with_postgres(instance: dict[str, object]) -> dict[str, object]:
    """`execution.instance` with the platform's storages in the PostgreSQL that it names."""
    storage = instance.get("storage")
    if not isinstance(storage, dict) or set(storage) != {"postgres"}:
        return instance
    if importlib.util.find_spec("dagster_postgres") is None:
        raise SettingsError(
            "execution.instance: storage.postgres needs dagster-postgres: install "
            "batch_predictions with the extra postgres"
        )
    if not dagster_internals.are_known():
        return instance
    module = "batch_predictions.orchestration.dagster_internals.postgres_storage"
    storages = {
        name: {"module": module, "class": class_, "config": storage["postgres"]}
        for name, class_ in _POSTGRES_STORAGES.items()
    }
    return {**{key: value for key, value in instance.items() if key != "storage"}, **storages}


def _launcher(settings: Settings) -> dict[str, object]:
    """The part of dagster.yaml that launches runs on a Ray cluster, if that is set."""
    if settings.execution.launcher == "default":
        return {}
    # Names without values: the launching process passes its values on.
    environment = inherited_env(settings)
    names = sorted(set(environment) - {_HOME, WITHHELD})
    withheld = [f"{WITHHELD}={environment[WITHHELD]}"] if WITHHELD in environment else []
    address = settings.execution.ray_jobs or os.environ.get("RAY_ADDRESS") or _LOCAL_JOB_SERVER
    if has_secret(address):
        raise SettingsError(
            "variable RAY_ADDRESS has a password or key, which would be written to dagster.yaml: "
            "remove it, and set Ray's RAY_AUTH_MODE and token"
        )
    ray = {
        "address": address,
        "env_vars": [f"{_HOME}={location_of(settings.home)}", *withheld, *names],
    }
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    launcher = {"module": "dagster_ray", "class": "RayRunLauncher", "config": {"ray": ray}}
    return {"run_launcher": launcher}


def _require_psycopg2(config: object) -> None:
    """Refuses a URL of PostgreSQL for which SQLAlchemy takes a driver that Dagster cannot use.

    `postgresql://` is psycopg 3 from SQLAlchemy 2.1 on, and Dagster's storage would fail at its
    first event with a syntax error of SQL.
    """
    if isinstance(config, list):
        for item in config:
            _require_psycopg2(item)
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        if key == "postgres_url" and isinstance(value, dict) and "env" in value:
            url = os.environ.get(str(value["env"]))
            if url is None:
                raise SettingsError(
                    f"variable {value['env']} is not set: execution.instance names it as the URL "
                    "of Dagster's PostgreSQL, postgresql+psycopg2://user:password@host/database"
                )
            if not url.startswith("postgresql+psycopg2://"):
                raise SettingsError(
                    f"variable {value['env']}: let it begin with postgresql+psycopg2://, the "
                    "driver that Dagster's storage needs"
                )
        if key == "postgres_db" and isinstance(value, dict):
            scheme = value.get("scheme")
            if scheme != "postgresql+psycopg2":
                raise SettingsError(
                    f"execution.instance: add scheme: postgresql+psycopg2 to {key}, the driver "
                    "that Dagster's storage needs"
                )
        _require_psycopg2(value)


def closed_pools(instance: dg.DagsterInstance) -> list[str]:
    """Names of pools whose limit is 0, so that no step of theirs ever begins."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return []
    return sorted(pool.name for pool in storage.get_pool_limits() if pool.limit == 0)


def slot_holders(instance: dg.DagsterInstance, pool: str) -> list[str]:
    """Unfinished runs, with their steps, that hold the slots of a pool.

    Slots of runs that have ended are freed, as the daemon does.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return []
    holders = set()
    for claim in storage.get_concurrency_info(pool).claimed_slots:
        run = instance.get_run_by_id(claim.run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(claim.run_id)
        else:
            holders.add(f"run {claim.run_id} ({claim.step_key})")
    return sorted(holders)
