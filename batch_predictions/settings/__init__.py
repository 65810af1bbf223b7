"""Every setting of the platform, documented where it is declared.

The value of a key comes from the first of these that has it: the environment (two underscores
between levels: `BATCH_PREDICTIONS_SOURCE__KIND=files`), `<home>/batch_predictions.yaml`,
`batch_predictions.yaml` in the working directory, the defaults.
"""

from batch_predictions.settings.audiences_settings import AudiencesSettings, ChurnSettings
from batch_predictions.settings.demand_settings import DemandSettings
from batch_predictions.settings.environment import PREFIX, shareable_variables
from batch_predictions.settings.http_settings import HttpSettings
from batch_predictions.settings.loading import FILE_NAME, Settings, home_folder, prepare_home
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
    ExperimentSettings,
    InferenceSettings,
    RetentionSettings,
    ScheduleSettings,
    ServingSettings,
)
from batch_predictions.settings.recommendations_settings import (
    FallbackSettings,
    RecommendationsSettings,
    RecommenderSettings,
)
from batch_predictions.settings.section import SettingsError
from batch_predictions.settings.sentiment_settings import SentimentSettings
from batch_predictions.settings.sinks_settings import SinkSettings
from batch_predictions.settings.source_settings import (
    DeduplicateRule,
    EventTypeSettings,
    FilesEntry,
    IdRule,
    SourceSettings,
)
from batch_predictions.settings.template import as_yaml

__all__ = [
    "FILE_NAME",
    "PREFIX",
    "AlertsSettings",
    "AudiencesSettings",
    "ChecksSettings",
    "ChurnSettings",
    "CostsSettings",
    "DeduplicateRule",
    "DemandSettings",
    "DuckDBSettings",
    "EventTypeSettings",
    "ExecutionSettings",
    "ExperimentSettings",
    "FallbackSettings",
    "FilesEntry",
    "HttpSettings",
    "IdRule",
    "InferenceSettings",
    "RecommendationsSettings",
    "RecommenderSettings",
    "ReportSettings",
    "RetentionSettings",
    "ScheduleSettings",
    "SentimentSettings",
    "ServingSettings",
    "Settings",
    "SettingsError",
    "SinkSettings",
    "SourceSettings",
    "TrainingSettings",
    "as_yaml",
    "home_folder",
    "prepare_home",
    "shareable_variables",
]
