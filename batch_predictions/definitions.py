"""The `dg.Definitions` of a home folder.

Raw tables, feature tables, trainings, predictions and metrics are declarations in their folders and
in the modules that the setting `plugins` names; this module builds the assets from them.
"""

from __future__ import annotations

import warnings

import dagster as dg

from batch_predictions.evaluation.assets import (
    drift_asset,
    histograms_asset,
    realized_metrics_asset,
)
from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.features.assets import feature_asset, tile_asset
from batch_predictions.features.base import FeatureTable
from batch_predictions.features.tiles.base import TILES
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.dagster.assets import prediction_asset
from batch_predictions.inference.dagster.io_manager import JsonPathIOManager
from batch_predictions.inference.partition_staging import shares_engine
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.models.training_assets import training_asset
from batch_predictions.orchestration.executors import executor_of
from batch_predictions.orchestration.freshness import freshness_check, freshness_sensor
from batch_predictions.orchestration.jobs import INGEST, RELEASE, jobs
from batch_predictions.orchestration.new_files import new_files
from batch_predictions.orchestration.next_job import next_job
from batch_predictions.orchestration.progress import LOGGER, terminal
from batch_predictions.orchestration.run_process import process_settings
from batch_predictions.orchestration.schedules import schedules
from batch_predictions.orchestration.sensors import (
    dead_runs,
    release_after_failure,
    run_costs,
    sign_ups,
)
from batch_predictions.planning.declarations import load_declarations
from batch_predictions.serving.assets import release_asset
from batch_predictions.serving.sinks.sync import open_sinks
from batch_predictions.settings import Settings
from batch_predictions.sources.assets import raw_asset
from batch_predictions.sources.base import INGESTED_TABLES
from batch_predictions.sources.home_state import compute_state
from batch_predictions.tables.discovery import instances
from batch_predictions.tables.partitions import Partitions
from batch_predictions.warehouse import Warehouse

# Backfill policies and kinds are beta: without this, every start prints a warning per asset.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


def platform(settings: Settings) -> dg.Definitions:
    """Every asset, job, schedule, sensor and resource of a home folder.

    Raises:
        SettingsError: a plugin cannot be imported, a rule of recommendations is no SQL, or a sink
            is of an unknown kind.
        SourceError: the source cannot be read; the message says what to set.
        HomeError: the home was initialised with another source.
    """
    load_declarations(settings)
    open_sinks(settings)
    state = compute_state(settings)
    partitions = Partitions.of_home(state, settings)
    predictions = instances(BatchPrediction, "predictions/*.py")
    assets = [
        *(raw_asset(table, partitions) for table in INGESTED_TABLES),
        *(tile_asset(tile, partitions, settings) for tile in TILES.values()),
        *(
            feature_asset(feature, partitions, settings)
            for feature in instances(FeatureTable, "features/declared_features.py")
        ),
        *(training_asset(training, partitions, settings) for training in trainings().values()),
        *(prediction_asset(prediction, partitions, settings) for prediction in predictions),
        realized_metrics_asset(instances(RealizedMetric, "evaluation/*.py"), partitions),
        histograms_asset(partitions),
        drift_asset(partitions),
        release_asset(predictions, partitions),
    ]
    job_specs = jobs(assets)
    definitions = {job.name: job.definition(partitions) for job in (*job_specs, RELEASE)}
    keys = [spec.key for asset in assets for spec in asset.specs]
    return dg.Definitions(
        assets=assets,
        asset_checks=[freshness_check(keys)],
        jobs=list(definitions.values()),
        schedules=schedules(settings, state),
        sensors=[
            next_job([job for name, job in definitions.items() if name != INGEST.name]),
            new_files(settings),
            sign_ups,
            dead_runs,
            run_costs,
            freshness_sensor(keys),
            release_after_failure(definitions),
        ],
        resources={
            "settings": process_settings(settings),
            "warehouse": Warehouse.of(settings),
            "models": ModelStore.of(settings),
            "handles": JsonPathIOManager(home=str(settings.home), shared=shares_engine(settings)),
        },
        executor=executor_of(settings),
        loggers={"console": dg.colored_console_logger, LOGGER: terminal},
    )


defs = platform(Settings.load())


def job(name: str) -> dg.JobDefinition:
    """A job by name, for the processes that run it."""
    return defs.resolve_job_def(name)
