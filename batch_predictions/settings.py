"""Every setting of the platform, documented where it is declared.

Settings come from, the first that has a key winning: the environment (two underscores between
levels: `BATCH_PREDICTIONS_SOURCE__KIND=files`), `<home>/batch_predictions.yaml`,
`batch_predictions.yaml` in the working directory, the defaults below.
"""

from __future__ import annotations

import datetime as dt
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

FILE_NAME = "batch_predictions.yaml"
PREFIX = "BATCH_PREDICTIONS_"
DEFAULT_HOME = Path(".batch_predictions")
Share = Annotated[float, Field(ge=0, le=1)]


class SettingsError(ValueError):
    """A setting is unknown or has a value that cannot be; the message names key and remedy."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourceSettings(_Section):
    """Where raw days come from."""

    kind: str = Field(
        "complete_journey",
        description="Adapter to read with: complete_journey, files, movielens, or a module of "
        "your own in batch_predictions/sources.",
    )
    path: Path | None = Field(None, description="Folder of the source (files, movielens).")
    timezone: str | None = Field(
        None,
        description="Time zone of the business day, such as Europe/Berlin. Empty: the adapter's "
        "own (complete_journey: America/New_York; otherwise UTC).",
    )
    default_date: dt.date | None = Field(
        None,
        description="Day of rows that carry no time. Empty: the last Sunday before the first run; "
        "then fixed in <home>/state.yaml.",
    )
    original_dates: bool = Field(
        False, description="complete_journey: the year 2017 as it was, instead of replayed."
    )
    columns: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="files: for each table, contract column: column of yours, such as "
        "{interactions: {user_id: customer, item_id: sku, occurred_at: ts}}.",
    )
    earliest: dt.date = Field(
        dt.date(1990, 1, 1), description="Rows dated before this day are refused as implausible."
    )
    exclude_items: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Items that are not goods to recommend, by column of raw.items and values, "
        "such as {category: [FUEL]}. Empty: the adapter's own list.",
    )


class DuckDBSettings(_Section):
    """The query engine's bounds on this machine."""

    memory_limit: str = Field("2GB", description="Memory DuckDB may use; beyond it spills to disk.")
    threads: int = Field(2, ge=1, description="Threads of one query.")


class RecommenderSettings(_Section):
    """Weekly training of the recommender."""

    two_stage: bool = Field(
        True,
        description="Rank the candidates of all generators by trees, where that beats the best "
        "simpler recommender. false: the best simpler one serves.",
    )
    generators: list[str] | None = Field(
        None,
        description="Sources of candidates, each a baseline too: als, ease, graph_filter, "
        "item_neighbours, current_neighbours, recent, own_history, segment_taste, promoted. Empty: "
        "all that suit the source.",
    )
    candidates_each: int | None = Field(
        None,
        ge=10,
        description="Candidates that each generator proposes for a user. Empty: 60 where people "
        "take the same again, elsewhere 100.",
    )
    holdout_days: int = Field(7, ge=1, description="Last days held out to judge recommenders.")
    lesson_users: int = Field(
        2500,
        ge=1,
        description="Users of past weeks that the ranker learns from, at least, while there are "
        "weeks.",
    )
    max_items: int = Field(
        12_000, ge=1, description="Items with most interactions that are known at all."
    )
    item_attributes: list[str] | None = Field(
        None,
        description="Attributes of raw.items that the ranker may read: numbers, or texts with "
        "several values separated by |. Empty: the adapter's own.",
    )
    tuning_trials: int = Field(
        0, ge=0, description="Optuna trials before a training, on the days before the hold-out."
    )
    history_days: int = Field(
        365, ge=1, description="Days of interactions that training and scoring look back on."
    )
    history_half_life_days: float | None = Field(
        None,
        gt=0,
        description="als, ease: an interaction counts half as much after so many days. Empty: 90 "
        "where people take the same again, elsewhere all alike.",
    )
    factors: int = Field(64, ge=1, description="ALS: dimensions of users and items.")
    ease_items: int = Field(3000, ge=1, description="EASE: most bought items that it models.")
    max_age_days: int = Field(
        35, ge=7, description="Predictions fail when the newest training is older than this."
    )
    seed: int = Field(7, description="Seed of everything random in training.")


class RecommendationsSettings(_Section):
    """The daily list of every user."""

    k: int = Field(20, ge=1, le=1000, description="Items per user.")
    exclude_seen: bool | None = Field(
        None,
        description="Leave out what the user already had. Empty: the adapter's own (off for "
        "groceries, on for films and files).",
    )
    per_category: int = Field(
        0, ge=0, description="Items of one category in a list, at most; 0: no cap."
    )
    new_share: Share = Field(
        0.0, description="Share of a list that the user has not had yet, at least."
    )
    blocked_items: list[str] = Field(
        default_factory=list, description="Items that nobody is offered."
    )
    boosted_campaigns: list[str] = Field(
        default_factory=list,
        description="Campaigns of raw.promotions whose items move up while they run.",
    )
    boost_places: int = Field(5, ge=0, description="Places that a boosted item moves up.")
    kept_scores: int = Field(
        200, ge=1, le=1000, description="Candidates per user kept in features.item_scores."
    )


class FallbackSettings(_Section):
    """What users without predictions of their own are offered."""

    k: int = Field(20, ge=1, le=1000, description="Items per segment.")
    min_users: int = Field(
        10, ge=1, description="Smaller segments get no list of their own: the coarser one serves."
    )
    window_days: int = Field(
        182, ge=1, description="Days of interactions that popularity is counted over."
    )
    location_from_interactions: bool = Field(
        True,
        description="A user whose location is not given is placed where they bought most so far.",
    )


class SentimentSettings(_Section):
    """Sentiment of reviews: weekly training, weekly tables."""

    candidates: list[
        Literal["tfidf_lr", "nb_lr", "cnn", "lstm", "gru", "average_cnn", "average_lstm", "encoder"]
    ] = Field(
        ["tfidf_lr", "nb_lr", "cnn", "lstm", "average_cnn"],
        description="Models trained and compared each week by macro-F1; tfidf_lr, the baseline, "
        "always is. An average sums the logits of a net and of nb_lr.",
    )
    default: str = Field(
        "average_cnn", description="Model that `benchmark sentiment` names as the default."
    )
    negative_up_to: float = Field(2, description="Ratings up to this are negative.")
    positive_from: float = Field(4, description="Ratings from this on are positive.")
    history_days: int = Field(365, ge=1, description="Days of reviews that training looks back on.")
    max_reviews: int = Field(
        6_000, ge=100, description="Different texts that training takes at most, the newest."
    )
    min_reviews: int = Field(
        60, ge=20, description="With fewer labelled texts nothing is trained, and none scored."
    )
    holdout_share: float = Field(
        0.2, gt=0, lt=1, description="Share of reviews, the newest, that the models are judged on."
    )
    baseline_weeks: int = Field(
        4, ge=1, description="Weeks before, with which a product's week is compared."
    )
    change_share: Share = Field(
        0.05,
        description="Chance that any unchanged product of a week is marked as changed.",
    )
    min_change: float = Field(
        0.1, ge=0, description="Smaller changes of net sentiment are not marked, however certain."
    )
    aspects: int = Field(10, ge=1, description="Terms of a product in each direction, at most.")
    aspect_reviews: int = Field(3, ge=1, description="Reviews that a term stands in, at least.")
    vectors: Path | None = Field(
        None,
        description="Pretrained word vectors: a text file, or a BERT-like folder whose table of "
        "word pieces is read. Empty: nets learn their own.",
    )
    encoder: Path | None = Field(
        None, description="Local Hugging Face folder of the candidate encoder (extra: encoder)."
    )
    options: dict[str, float] = Field(
        default_factory=dict,
        description="Further values of training, such as {epochs: 12, size: 100, frozen: 1}.",
    )
    seed: int = Field(7, description="Seed of everything random in training.")


class InferenceSettings(_Section):
    """The batch engine."""

    engine: Literal["local", "ray"] = Field(
        "local", description="Where shards are scored: on this machine or on a Ray cluster."
    )
    workers: int = Field(
        0, ge=0, description="Model instances at work at once; 0: one for each core or GPU."
    )
    shard_rows: int = Field(1024, ge=1, description="Rows of one shard, the unit of resume.")
    shard_mb: int = Field(
        64,
        ge=1,
        description="Memory that the rows of one shard may take, MiB; wide rows make shards of "
        "fewer rows.",
    )
    ray_address: str | None = Field(
        None,
        description="ray: address of the cluster, such as ray://head:10001 or auto; the home must "
        "be a folder that all its nodes share. Empty: a Ray of its own on this machine.",
    )
    ray_num_cpus: float = Field(1.0, ge=0, description="ray: CPUs that one instance asks for.")
    ray_num_gpus: float = Field(0.0, ge=0, description="ray: GPUs that one instance asks for.")
    ray_patience_seconds: float = Field(
        60.0, gt=0, description="ray: how long to wait for a first free place in the cluster."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device of torch scorers; auto: cuda where there is one."
    )
    block_mb: int = Field(256, ge=1, description="Memory of one block of scores, MiB.")
    keep_days: int = Field(7, ge=1, description="Scored shards older than this are removed.")


class ServingSettings(_Section):
    """The store that applications look predictions up in."""

    url: str | None = Field(
        None,
        description="SQLAlchemy URL of the serving store, such as postgresql+psycopg://host/db. "
        "Empty: SQLite in <home>/serving.sqlite. Set it by the environment if it has a password.",
    )
    keep_releases: int = Field(3, ge=2, description="Releases kept, the current one included.")


class ScheduleSettings(_Section):
    """Cron times of the schedules, in the source's time zone."""

    ingest: str = Field("0 1 * * *", description="Ingest yesterday's raw rows.")
    ingest_weekly: str = Field(
        "0 2 * * *", description="Ingest this week's and next week's promotions, known ahead."
    )
    weekly_training: str = Field("0 3 * * 1", description="Train on the week that ended.")
    weekly_predictions: str = Field(
        "0 4 * * 1", description="Weekly tables of the week that ended."
    )
    nightly: str = Field("0 5 * * *", description="Features, predictions, release of yesterday.")


class Settings(BaseSettings):
    """All settings. `Settings.load()` reads them; tests construct them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid")

    home: Path = Field(DEFAULT_HOME, description="Folder of the warehouse, models and releases.")
    source: SourceSettings = SourceSettings()
    duckdb: DuckDBSettings = DuckDBSettings()
    recommender: RecommenderSettings = RecommenderSettings()
    recommendations: RecommendationsSettings = RecommendationsSettings()
    fallback: FallbackSettings = FallbackSettings()
    sentiment: SentimentSettings = SentimentSettings()
    inference: InferenceSettings = InferenceSettings()
    serving: ServingSettings = ServingSettings()
    schedules: ScheduleSettings = ScheduleSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before the home's file before the working directory's."""
        files = [home_folder() / FILE_NAME, Path(FILE_NAME)]
        return (
            init_settings,
            env_settings,
            *(YamlConfigSettingsSource(settings_cls, yaml_file=file) for file in files),
        )

    @classmethod
    def load(cls, home: Path | None = None) -> Settings:
        """The settings of a home folder.

        Raises:
            SettingsError: a key is unknown, or a value has the wrong type or range.
        """
        if home is not None:
            os.environ["BATCH_PREDICTIONS_HOME"] = str(home.absolute())
        _refuse_unknown_variables()
        try:
            settings = cls()
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None
        except yaml.YAMLError as error:
            raise SettingsError(f"{FILE_NAME} is not YAML: {error}") from None
        except ValueError as error:
            # A file that is no mapping, or a variable of a list or mapping that is not JSON.
            raise SettingsError(
                f"{FILE_NAME} or a variable cannot be read: {error} ({error.__cause__})"
            ) from None
        settings.home = settings.home.absolute()
        return settings


def _refuse_unknown_variables() -> None:
    """pydantic-settings passes over variables whose section it does not know."""
    for name in (name for name in os.environ if name.upper().startswith(PREFIX)):
        section, nested, _ = name.lower().removeprefix(PREFIX.lower()).partition("__")
        if nested and section not in Settings.model_fields:
            raise SettingsError(f"variable {name}: there is no section {section}")


def home_folder() -> Path:
    """The home folder, before any file is read: `BATCH_PREDICTIONS_HOME` or the default."""
    return Path(os.environ.get("BATCH_PREDICTIONS_HOME") or DEFAULT_HOME).absolute()


def as_yaml(chosen: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The settings as a YAML text in which every key is explained.

    Args:
        chosen: section to key to value; these keys are written live, all others commented out
            with their defaults.
    """
    chosen = chosen or {}
    lines = [
        "# Settings of batch_predictions. To change one, uncomment its line and its section's.",
        "# The environment wins over this file: BATCH_PREDICTIONS_SOURCE__KIND=files",
    ]
    for name, section in Settings.model_fields.items():
        model = section.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        live = chosen.get(name, {})
        mark = "" if live else "# "
        lines += ["", *(f"# {line}" for line in _wrapped(model.__doc__ or "")), f"{mark}{name}:"]
        for key, field in model.model_fields.items():
            lines += [f"#   # {line}" for line in _wrapped(f"{field.description}{_choices(field)}")]
            default = field.get_default(call_default_factory=True)
            mark = "" if key in live else "# "
            lines.append(f"{mark}  {key}: {_scalar(live.get(key, default))}".rstrip())
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    """A value as YAML on one line; nothing for None, which YAML reads as null."""
    if value is None:
        return ""
    value = str(value) if isinstance(value, Path) else value
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).split("\n")[0]


def _choices(field: FieldInfo) -> str:
    annotation = field.annotation
    inner = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    return f" One of: {', '.join(get_args(inner))}." if get_origin(inner) is Literal else ""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 92)


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"setting {key} does not exist (see `batch-predictions init` for all)")
        else:
            lines.append(f"setting {key} = {problem['input']!r}: {problem['msg']}")
    return "; ".join(lines)
