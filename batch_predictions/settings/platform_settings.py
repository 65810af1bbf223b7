"""Settings of the query engine, the batch engine, the serving store and the schedules."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from batch_predictions.settings.section import Location, Section


class DuckDBSettings(Section):
    """Limits of the query engine on this machine."""

    memory_limit: str = Field("2GB", description="Memory of DuckDB; beyond it, it spills to disk.")
    threads: int = Field(2, ge=1, description="Threads of one query.")
    max_temp_directory_size: str | None = Field(
        None,
        description="Disk for what does not fit into memory, such as 50GB; a query that needs "
        "more fails. Empty: 90 % of the free disk.",
    )

    def config(self) -> dict[str, str | int]:
        """The limits as options of DuckDB's `connect`."""
        return self.model_dump(exclude_none=True)


class InferenceSettings(Section):
    """The batch engine."""

    engine: Literal["local", "ray"] = Field(
        "local", description="Where shards are scored: on this machine or on a Ray cluster."
    )
    workers: int = Field(
        0, ge=0, description="Model instances that work in parallel; 0: one per core or GPU."
    )
    worker_kind: Literal["auto", "threads", "processes"] = Field(
        "auto",
        description="local: what the instances are. threads share the libraries and the model, and "
        "wait for each other wherever Python itself works. processes never wait, and each loads "
        "both: seconds, and some hundred MiB. auto: processes where the rows repay that and "
        "memory is free.",
    )
    shard_rows: int = Field(
        1024,
        ge=1,
        description="Rows of a shard, which is scored and resumed as a whole; 256 where there "
        "would be fewer than eight shards. Reviews have at least 8,192, which are sorted by "
        "length together.",
    )
    shard_mb: int = Field(
        64,
        ge=1,
        description="Memory for the rows of a shard, MiB; shards of wide rows have fewer of them.",
    )
    ray_address: str | None = Field(
        None,
        description="ray: address of the cluster, such as ray://head:10001 or auto; the home must "
        "be in a bucket, or a folder that all its nodes share. Empty: RAY_ADDRESS, else a new "
        "Ray on this machine.",
    )
    ray_num_cpus: float = Field(1.0, ge=0, description="ray: CPUs per instance.")
    ray_num_gpus: float | None = Field(
        None,
        ge=0,
        description="ray: GPUs per instance; with 0.5 two instances share one. Empty: 1 where the "
        "cluster has GPUs and device is not cpu, else 0.",
    )
    ray_patience_seconds: float = Field(
        60.0, gt=0, description="ray: seconds to wait for the first free resources of the cluster."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device of torch scorers; auto: cuda if available."
    )
    block_mb: int = Field(256, ge=1, description="Memory of one block of scores, MiB.")
    keep_days: int = Field(7, ge=1, description="Scored shards older than this are removed.")
    keep_partitions: int = Field(
        100,
        ge=1,
        description="Partitions of each prediction whose scored shards are kept for more than a "
        "day.",
    )


class ExecutionSettings(Section):
    """Where Dagster runs the steps of a job."""

    executor: Literal["in_process", "multiprocess", "ray", "kubernetes"] = Field(
        "in_process",
        description="in_process: one after the other in the job's process, the fastest on one "
        "machine. multiprocess: each in its own process. ray: each as a job of a Ray cluster "
        "(extra: ray), GPU-tagged steps on nodes with a GPU. kubernetes: each as a job of "
        "Kubernetes (extra: kubernetes), for runs that Dagster's K8sRunLauncher starts. For both, "
        "the home must be in a bucket, or a folder that all share.",
    )
    launcher: Literal["default", "ray"] = Field(
        "default",
        description="Where runs of schedules, sensors and the UI start. default: on this machine. "
        "ray: each as a job of a Ray cluster (extra: ray).",
    )
    pool_wait_minutes: float = Field(
        60.0,
        ge=0,
        description="Minutes that `run` waits while a run of the UI holds the pool gpu, and that a "
        "run of the UI waits for a command; then it ends, and says what it waited for.",
    )
    large_step_cpus: float | None = Field(
        None,
        gt=0,
        description="ray, kubernetes: cores that a step of features, tiles or a training requests, "
        "so that it runs on a large node. Empty: as any step.",
    )
    large_step_memory_gb: float | None = Field(
        None, gt=0, description="ray, kubernetes: memory that such a step requests, GB."
    )
    ray_jobs: str | None = Field(
        None,
        description="ray: address of the cluster's job server, such as http://head:8265. Empty: "
        "the variable RAY_ADDRESS, or this machine.",
    )
    file_mode: Literal["owner", "group_read", "group"] = Field(
        "owner",
        description="Who may use what commands and runs create: the home folder, its files, "
        "Dagster's storage, exports. owner: their owner alone (0700 and 0600, whatever the umask). "
        "group_read: the group may read, which lookups need (0750 and 0640). group: the group may "
        "read and write (0770 and 0660). Files that exist keep their modes.",
    )
    show_identifiers: bool = Field(
        False,
        description="Whether previews, plots, logs and messages of runs have ids of users and "
        "items, and texts. If not, previews show … in their place.",
    )
    instance: dict[str, Any] = Field(
        default_factory=dict,
        description="Merged into the platform's dagster.yaml, key by key, such as {run_launcher: "
        "{module: dagster_k8s, class: K8sRunLauncher, config: {…}}}. Passwords and keys are "
        "refused: write {env: NAME} for a variable of the environment.",
    )

    def large_step_tags(self) -> dict[str, Any]:
        """Tags with which a step requests a large node of Kubernetes or Ray; empty: none is set."""
        requests: dict[str, str] = {}
        ray: dict[str, float] = {}
        if (cpus := self.large_step_cpus) is not None:
            requests["cpu"], ray["num_cpus"] = f"{cpus:g}", cpus
        if (memory := self.large_step_memory_gb) is not None:
            requests["memory"], ray["memory"] = f"{memory:g}G", int(memory * 1e9)
        if not ray:
            return {}
        return {
            "dagster-k8s/config": {"container_config": {"resources": {"requests": requests}}},
            "dagster-ray/config": ray,
        }


class RetentionSettings(Section):
    """What is kept when `batch-predictions run` ends, and by `batch-predictions prune`."""

    run_days: int = Field(
        30,
        ge=1,
        description="Dagster runs older than this are removed with their events and logs. The "
        "newest materialization of every partition stays, without preview, plot and lineage.",
    )
    trainings: int = Field(
        8,
        ge=1,
        description="Newest trainings whose models are kept even if they never served. Models "
        "that serve or have served are kept as long as predictions of their days are.",
    )
    feature_days: int | None = Field(
        400,
        ge=60,
        description="Days of the feature tables, and of evaluation.histograms, that are kept, "
        "counted back from the newest. Older ones can be made again, as long as their raw rows are "
        "there. Empty: all.",
    )
    version_days: int = Field(
        7,
        ge=1,
        description="Days for which earlier versions of the tables of a home in a bucket stay; "
        "those that a stored release was made of stay as long as the release.",
    )
    score_days: int | None = Field(
        14,
        ge=7,
        description="The same of features.item_scores, the largest table: candidates of every "
        "user, which the promotion audience of the same day reads.",
    )
    prediction_days: int | None = Field(
        None,
        ge=120,
        description="The same of the predictions, which metrics compare with what happened later. "
        "Models that no kept day needs are removed with them. Empty: all.",
    )
    metric_days: int | None = Field(
        None,
        ge=60,
        description="The same of evaluation.realized_metrics, evaluation.drift and "
        "evaluation.costs, a few rows a day, which plots show over time. Empty: all.",
    )
    removed_query_days: int = Field(
        30,
        ge=0,
        description="Days for which predictions and models stay of a predictive query that the "
        "settings no longer declare; one of its name goes on with them. 0: they are removed at "
        "the end of the next run, or by `prune`.",
    )
    posted_days: int | None = Field(
        30,
        ge=0,
        description="Days for which events that applications have posted stay in the database of "
        "posted rows after raw.feedback has them, so that an event that is sent again within them "
        "is known; sign-ups that newer ones supersede, too. Empty or 0: all stay.",
    )


class ExperimentSettings(Section):
    """An experiment: a share of the users is served another list than the rest."""

    share: float = Field(
        gt=0, lt=1, description="Share of the users, chosen by a hash of their id."
    )
    list: str = Field(
        "fallback",
        min_length=1,
        description="What they get in place of their personal list: fallback, or a published table "
        "with the columns of recommendations, such as one of a plugin's challenger.",
    )
    min_uplift: float = Field(
        0.1,
        gt=0,
        description="Relative difference of the click and purchase rates that the experiment shall "
        "find; the power reached so far is of it.",
    )


class ServingSettings(Section):
    """The store that applications look predictions up in."""

    url: str | None = Field(
        None,
        repr=False,
        description="SQLAlchemy URL of the serving store, such as postgresql+psycopg://host/db. "
        "Empty: SQLite in <home>/serving.sqlite. Set it in the environment if it has a password.",
    )
    keep_releases: int = Field(3, ge=2, description="Releases kept, the current one included.")
    history_items: int = Field(
        10,
        ge=0,
        le=100,
        description="Newest items of every user that a release has, for the explorer and `GET "
        "/v1/users/{id}`; 0: none.",
    )
    history_days: int = Field(
        90,
        ge=1,
        description="Days of interactions that are read for them, so that a release costs the same "
        "however long history is: a user without an event in these days has no history.",
    )
    quotes: bool | None = Field(
        None,
        description="Whether a release has the texts, up to 280 characters, of the reviews that "
        "item_sentiments names as examples. People may have written names in them, so that they "
        "are copied to the serving machines only if you say so. Empty: of simulated reviews only, "
        "such as the demo's.",
    )
    posted_url: str | None = Field(
        None,
        repr=False,
        description="SQLAlchemy URL of the database of sign-ups and events that applications post "
        "to the HTTP service. Empty: beside the serving store, in <home>/serving-posted.sqlite or "
        "in the store's PostgreSQL. Services on several machines need one PostgreSQL.",
    )
    experiments: dict[str, ExperimentSettings] = Field(
        default_factory=dict,
        description="Experiments of the HTTP service by name, such as {no_lists: {share: 0.1, "
        "list: fallback}}. The name is the bucket in answers and events; a user is in the first "
        "experiment that the hash of their id chooses.",
    )

    @field_validator("experiments")
    @classmethod
    def _check_names(
        cls, experiments: dict[str, ExperimentSettings]
    ) -> dict[str, ExperimentSettings]:
        for name in experiments:
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
                raise ValueError(
                    f"{name!r} names no experiment: write up to 64 letters, digits, _, . and -"
                )
        return experiments

    release_dir: Location | None = Field(
        None,
        description="Folder, or URL such as s3://bucket/releases (extra: objectstore), to which "
        "the current release is exported as a file after each publish and roll-back, for "
        "`batch-predictions serve --release-dir`; keep_releases files stay. Empty: releases are "
        "exported by `batch-predictions releases export` only.",
    )


class ScheduleSettings(Section):
    """When Dagster's daemon begins a night, in the source's time zone."""

    nightly: str = Field(
        "0 5 * * *",
        description="Cron expression: when a night begins. It ingests what is missing or has "
        "changed; then each job starts when the one before has ended: training where one is due, "
        "weekly tables, predictions, release.",
    )
    poll_minutes: float = Field(
        5,
        ge=0,
        le=1440,
        description="Minutes between two looks of the sensor new_files at the source's days, for "
        "those that arrive or are corrected after the night. A database is asked for aggregates of "
        "source.late_days days each time. 0: it is off.",
    )
