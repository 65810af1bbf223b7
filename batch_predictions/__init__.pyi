from .cli.console.command import command as command
from .cli.console.options import Home as Home
from .cli.console.options import Json as Json
from .cli.console.options import load_settings as load_settings
from .cli.console.printing import print_rows as print_rows
from .evaluation.realized_metric import RealizedMetric as RealizedMetric
from .features.base import FeatureTable as FeatureTable
from .inference.base import BatchPrediction as BatchPrediction
from .inference.scorer import Scorer as Scorer
from .inference.scorer import ScorerContext as ScorerContext
from .inference.validation import Check as Check
from .models.common.promotion_gate import paired_gate as paired_gate
from .models.demand.base import Forecaster as Forecaster
from .models.demand.base import ForecasterParams as ForecasterParams
from .models.demand.base import clip_forecasts as clip_forecasts
from .models.recommender.features.candidate_features import Feature as Feature
from .models.recommender.features.candidate_features import FeatureSet as FeatureSet
from .models.recommender.generators.base import Generator as Generator
from .models.recommender.generators.shared_scores import (
    SharedScoresRecommender as SharedScoresRecommender,
)
from .models.sentiment.models.net import NetArchitecture as NetArchitecture
from .models.sentiment.models.net import NetShape as NetShape
from .models.sentiment.models.net import net_spec as net_spec
from .models.training import Trained as Trained
from .models.training import Training as Training
from .serving.lookup import Lookup as Lookup
from .settings import Settings as Settings
from .settings import SettingsError as SettingsError
from .settings.predictive_query import PredictiveQuery as PredictiveQuery
from .sources.base import Source as Source
from .sources.base import SourceError as SourceError
from .sources.files.file_source import FileSource as FileSource
from .tables import Table as Table
from .tables import columns as columns
from .tables import declare as declare
from .warehouse import Warehouse as Warehouse
