"""One Settings object from the environment and from files."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from batch_predictions.core.home_bucket import CACHE_VARIABLE, bucket_of, working_folder
from batch_predictions.core.redaction import configure, has_secret, is_secret_name, redact
from batch_predictions.settings.audiences_settings import AudiencesSettings, ChurnSettings
from batch_predictions.settings.demand_settings import DemandSettings
from batch_predictions.settings.environment import PREFIX, require_withheld
from batch_predictions.settings.http_settings import HttpSettings
from batch_predictions.settings.operations_settings import (
    AlertsSettings,
    ChecksSettings,
    CostsSettings,
    ReportSettings,
    TrainingSettings,
)
from batch_predictions.settings.platform_settings import (
    DuckDBSettings,
    ExecutionSettings,
    InferenceSettings,
    RetentionSettings,
    ScheduleSettings,
    ServingSettings,
)
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.settings.recommendations_settings import (
    FallbackSettings,
    RecommendationsSettings,
    RecommenderSettings,
)
from batch_predictions.settings.section import SettingsError
from batch_predictions.settings.sentiment_settings import SentimentSettings
from batch_predictions.settings.sinks_settings import SinkSettings
from batch_predictions.settings.source_settings import SourceSettings
from batch_predictions.settings.yaml_file import StrictYamlSource

FILE_NAME = "batch_predictions.yaml"
DEFAULT_HOME = Path(".batch_predictions")
_OF_QUERIES = "churn is trained as every predictive query"
REMOVED_SETTINGS = {
    "churn.cutoffs": _OF_QUERIES,
    "churn.step_days": _OF_QUERIES,
    "churn.max_customers": _OF_QUERIES,
    "churn.calibration": _OF_QUERIES,
    "churn.min_churned": _OF_QUERIES,
    "churn.seed": _OF_QUERIES,
    "recommendations.exact_reasons": "reasons are always those of groups of features",
    "recommender.tuning_trials": "parameters are compared within recommender.tuning_minutes",
}
"""Settings of earlier versions, which a file may still have, and why they went."""
_log = logging.getLogger(__name__)
_SECRET_SETTINGS = {
    "source",
    "source.url",
    "serving",
    "serving.url",
    "serving.posted_url",
    "execution",
    "execution.instance",
}
"""Their values are in no message."""


class Settings(BaseSettings):
    """All settings. `Settings.load()` reads them; tests construct them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid")

    home: Path = Field(
        DEFAULT_HOME,
        description="Folder of the warehouse, models and releases; or s3://bucket/prefix, gs:// or "
        "az:// (extra: lakehouse), with PostgreSQL in execution.instance and serving.url. See "
        "docs/how_to/bucket.md.",
    )
    home_cache: Path | None = Field(
        None,
        description="Folder of this machine for its copies of homes in buckets, from the "
        "environment alone: BATCH_PREDICTIONS_HOME_CACHE. Empty: ~/.cache/batch_predictions.",
    )
    home_cache_gb: float = Field(
        20, gt=0, description="Copies of partitions of a bucket that this machine keeps, GB."
    )
    plugins: list[str] = Field(
        [],
        description="Modules of your own package, such as [my_shop.predictions]: sources, tables, "
        "models, predictions and commands that they declare join the platform. See own_models.md.",
    )
    predictions: dict[str, PredictiveQuery] = Field(
        {},
        description="Predictions of your own by name, such as {expected_spend: {predict: "
        "sum(amount), of: purchase, for: user, days: 28}}. See docs/tutorials/own_prediction.md.",
    )
    source: SourceSettings = SourceSettings()
    duckdb: DuckDBSettings = DuckDBSettings()
    recommender: RecommenderSettings = RecommenderSettings()
    recommendations: RecommendationsSettings = RecommendationsSettings()
    fallback: FallbackSettings = FallbackSettings()
    sentiment: SentimentSettings = SentimentSettings()
    churn: ChurnSettings = ChurnSettings()
    audiences: AudiencesSettings = AudiencesSettings()
    demand: DemandSettings = DemandSettings()
    training: TrainingSettings = TrainingSettings()
    inference: InferenceSettings = InferenceSettings()
    execution: ExecutionSettings = ExecutionSettings()
    retention: RetentionSettings = RetentionSettings()
    serving: ServingSettings = ServingSettings()
    sinks: list[SinkSettings] = Field(
        [],
        description="Databases and buckets that get the release that is served, such as "
        "[{url: 'postgresql://warehouse/shop', tables: [recommendations], keep: days}].",
    )
    http: HttpSettings = HttpSettings()
    schedules: ScheduleSettings = ScheduleSettings()
    alerts: AlertsSettings = AlertsSettings()
    checks: ChecksSettings = ChecksSettings()
    costs: CostsSettings = CostsSettings()
    report: ReportSettings = ReportSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment comes before the home's file, and that before the working directory's."""
        files = [home_folder() / FILE_NAME, Path(FILE_NAME)]
        return (
            init_settings,
            env_settings,
            *(StrictYamlSource(settings_cls, yaml_file=file) for file in files),
        )

    @field_validator("home", mode="before")
    @classmethod
    def _folder_of_url(cls, value: Any) -> Any:
        return working_folder(str(value)) if "://" in str(value) else value

    @field_validator("predictions", mode="before")
    @classmethod
    def _name_predictions(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: _named_query(name, query) for name, query in value.items()}

    @model_validator(mode="before")
    @classmethod
    def _leave_out_removed(cls, values: Any) -> Any:
        for name, why in REMOVED_SETTINGS.items():
            section, _, key = name.partition(".")
            given = values.get(section) if isinstance(values, dict) else None
            if isinstance(given, dict) and key in given:
                _warn_once(f"setting {name} no longer exists and is left out: {why}")
                values = {**values, section: {k: v for k, v in given.items() if k != key}}
        return values

    @classmethod
    def load(cls, home: Path | None = None) -> Settings:
        """The settings of a home folder.

        Raises:
            SettingsError: a key is unknown, or a value has the wrong type or range.
            HomeError: the home is in a bucket that cannot be read, or lacks conditional writes.
        """
        if home is not None:
            os.environ["BATCH_PREDICTIONS_HOME"] = str(home.absolute())
        _refuse_unknown_variables()
        require_withheld()
        # Its file of settings may be in a bucket.
        bucket = bucket_of(home_folder())
        if bucket is not None:
            bucket.probe()
            bucket.pull()
        try:
            settings = cls()
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None
        except yaml.YAMLError as error:
            raise SettingsError(f"{FILE_NAME} is not YAML: {_explain_yaml(error)}") from None
        except ValueError as error:
            # A file that is no mapping, or a variable with a list or mapping that is not JSON.
            raise SettingsError(
                f"{FILE_NAME} or an environment variable cannot be read: {redact(str(error))} "
                f"({redact(str(error.__cause__))})"
            ) from None
        settings.home = settings.home.absolute()
        _refuse_home(settings.home)
        prepare_home(settings)
        _refuse_secrets(settings)
        _refuse_rare_trainings(settings)
        url, serving = settings.source.url, settings.serving
        configure(
            [url.get_secret_value() if url else None, serving.url, serving.posted_url],
            show_identifiers=settings.execution.show_identifiers,
        )
        return settings


def _named_query(name: str, query: Any) -> Any:
    """A query of the settings, by parts or on one line, with its name."""
    if isinstance(query, str):
        return PredictiveQuery.from_question(query, name)
    return {**query, "name": name} if isinstance(query, dict) else query


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning(message)


def _refuse_unknown_variables() -> None:
    """Refuses variables of unknown sections, which pydantic-settings ignores."""
    for name in (name for name in os.environ if name.upper().startswith(PREFIX)):
        section, nested, _ = name.lower().removeprefix(PREFIX.lower()).partition("__")
        if nested and section not in Settings.model_fields:
            raise SettingsError(f"variable {name}: there is no section {section}")


# DuckDB and Dagster take these characters of a path otherwise than the file system does.
_UNUSABLE_IN_HOME = {
    r"\?": "'?' begins the parameters of a database's URL",
    r"\\": "a backslash is taken as a slash",
    r"%[0-9a-fA-F]{2}": "'%' and two digits are decoded to another character",
    r"[\x00-\x1f\x7f]": "a control character cannot be in a database's URL",
    r"(?:^|/)\w+=": "a folder NAME=VALUE is read as the column of a partition",
}


def _refuse_home(home: Path) -> None:
    """Raises SettingsError for a home folder that would be read as another one, or as empty."""
    for pattern, why in _UNUSABLE_IN_HOME.items():
        if re.search(pattern, str(home)):
            raise SettingsError(
                f"setting home = {str(home)!r} cannot be used ({why}): choose or rename the "
                "folder, as with --home"
            )


def prepare_home(settings: Settings) -> None:
    """Tells a home in a bucket of the settings that concern it; nothing for a folder.

    Raises:
        SettingsError: a database is not PostgreSQL, which all machines reach.
    """
    if settings.home_cache and CACHE_VARIABLE not in os.environ:
        raise SettingsError(
            f"setting home_cache is read from the environment only: set {CACHE_VARIABLE}"
        )
    bucket = bucket_of(settings.home)
    if bucket is None:
        return
    storage = settings.execution.instance.get("storage")
    if not (
        re.match(r"postgres(ql)?[:+]", settings.serving.url or "")
        and isinstance(storage, dict)
        and set(storage) == {"postgres"}
    ):
        raise SettingsError(
            f"home {bucket.url} is in a bucket and needs PostgreSQL for its databases: set "
            "serving.url to it, and execution.instance to "
            "{storage: {postgres: {postgres_url: {env: NAME}}}}"
        )
    bucket.database_url = settings.serving.url
    bucket.cache_bytes = int(settings.home_cache_gb * 1e9)


def home_folder() -> Path:
    """The home folder: `BATCH_PREDICTIONS_HOME` or the default; no file is read.

    Raises:
        HomeError: the variable has a URL that is not that of an object store.
    """
    return working_folder(os.environ.get("BATCH_PREDICTIONS_HOME") or str(DEFAULT_HOME))


def _refuse_secrets(settings: Settings) -> None:
    """Raises SettingsError for passwords in settings that are written to files or shown.

    `execution.instance` is written to dagster.yaml, the addresses of Ray are shown in messages.
    """
    for name, value in _texts("execution.instance", settings.execution.instance):
        option = name.rpartition(".")[2]
        if has_secret(value) or is_secret_name(option.removesuffix("[]")):
            raise SettingsError(
                f"setting {name} has a password or key, which would be written to dagster.yaml: "
                f"write {{env: NAME}} instead, and set the variable NAME in the environment"
            )
    shown = {
        "source.path": str(settings.source.path or ""),
        "execution.ray_jobs": settings.execution.ray_jobs or "",
        "inference.ray_address": settings.inference.ray_address or "",
    }
    for name, value in shown.items():
        if has_secret(value):
            raise SettingsError(
                f"setting {name} has a password or key: remove it, and set credentials in the "
                "environment"
            )


def _refuse_rare_trainings(settings: Settings) -> None:
    """Raises SettingsError where a model would be too old to predict before its next training."""
    weeks, limit = settings.training.every_weeks, settings.recommender.max_age_days
    oldest = 7 * weeks - 1
    if oldest > limit:
        raise SettingsError(
            f"with training.every_weeks = {weeks}, models would be {oldest} days old before the "
            f"next training, more than recommender.max_age_days = {limit}: raise it, or train "
            "more often"
        )


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text of a nested setting, with its dotted name."""
    if isinstance(value, dict):
        if set(value) == {"env"} and isinstance(value["env"], str):
            return  # it names a variable
        for key, inner in value.items():
            yield from _texts(f"{name}.{key}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(f"{name}[]", inner)
    elif isinstance(value, str):
        yield name, value


def _explain_yaml(error: yaml.YAMLError) -> str:
    """Describes an error of YAML and its place, without the line, which may have a password."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}"
        # A name in quotes may be the beginning of a password.
        problem = re.sub(r"'[^']{2,}'", "'…'", error.problem or "it cannot be parsed")
        return redact(f"{problem} ({where})")
    return redact(str(error).splitlines()[0])


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"setting {key} does not exist (see `batch-predictions init` for all)")
        elif isinstance(problem["input"], dict) or key in _SECRET_SETTINGS:
            # The value may have a password.
            lines.append(f"setting {key}: {problem['msg']}")
        else:
            lines.append(f"setting {key} = {problem['input']!r}: {problem['msg']}")
    return redact("; ".join(lines))
