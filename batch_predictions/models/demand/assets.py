"""The weekly training of demand as a Dagster asset."""

import datetime as dt
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.features.demand import parameters
from batch_predictions.features.queries import sql
from batch_predictions.home import read_state
from batch_predictions.models.demand import plots
from batch_predictions.models.demand.panel import Panel
from batch_predictions.models.demand.panel_builder import PanelSpec, days_known
from batch_predictions.models.demand.selection import BacktestConfig
from batch_predictions.models.demand.training import LevelSelection, select_levels
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.sources import registry
from batch_predictions.tables import ITEMS, PROMOTION_CALENDAR
from batch_predictions.warehouse import Warehouse

BASELINES = ("mean28_weekday", "seasonal_naive")
WAPE_SUM = "wape_sum"


def frame_of(settings: Settings) -> PanelSpec:
    """How this home's rows become panels, before anything is learned."""
    state = read_state(settings.home)
    return PanelSpec(
        history_days=settings.demand.history_days,
        horizon=settings.demand.horizon,
        country=registry.source_of(settings.source, state).holidays,
        holidays=tuple(settings.demand.holidays),
        shift_days=state.shift_days if state else 0,
    )


def contest_of(settings: Settings) -> BacktestConfig:
    """How candidates are compared; the baselines always are."""
    chosen = settings.demand
    return BacktestConfig(
        candidates=tuple(dict.fromkeys([*BASELINES, *chosen.candidates])),
        horizon=chosen.horizon,
        origins=chosen.origins,
        step_size=chosen.origin_days,
        fits=chosen.fits,
        baseline=BASELINES[0],
        max_bias=chosen.max_bias,
        options=dict(chosen.options),
        seed=chosen.seed,
    )


def panels(
    rows: pa.Table, through: dt.date, settings: Settings
) -> tuple[dict[str, Panel], PanelSpec]:
    """The series of every level that are long enough to be forecast, and how they were made."""
    frame = frame_of(settings).learned(rows)
    long = rows.filter(pa.array(days_known(rows, through) >= settings.demand.min_days))
    found: dict[str, Panel] = {}
    for level in settings.demand.levels:
        mine = long.filter(pc.equal(long["level"], level))
        if mine.num_rows:
            found[level] = frame.panel(mine, through)
    return found, frame


def select_demand(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> LevelSelection:
    """The contests of all levels on what is known through a day."""
    bound = {**parameters(warehouse, settings), "date": through}
    rows = warehouse.query(sql("demand"), bound)
    progress(f"{rows.num_rows:,} series (demand.max_series = {settings.demand.max_series:,})")
    known, frame = panels(rows, through, settings)
    return select_levels(known, frame, contest_of(settings), settings.demand.min_days, progress)


def train_demand(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Every method on past origins, with the gate on error and bias of the horizon's sum."""
    selection = select_demand(warehouse, settings, through, progress)
    first = next(iter(selection.selected), None)
    return Trained(
        write=selection.models.save,
        candidate=selection.chosen,
        beats_baseline=selection.beats_baseline,
        parameters={
            "served": {
                level: each.winner if each.model else BASELINES[0]
                for level, each in selection.selected.items()
            },
            "horizon": settings.demand.horizon,
        },
        why=selection.why,
        metrics=[dict(row) for row in selection.metrics],
        plotted=WAPE_SUM,
        lowest_is_best=True,
        figures={
            "error by horizon": lambda: plots.by_horizon(selection.selected[first].backtest),
            "coverage": lambda: plots.coverage(
                selection.selected[first].backtest, selection.chosen
            ),
        }
        if first
        else {},
    )


demand = Training(
    "demand",
    "Demand of the next days: of baselines, regressions, SARIMA and global models the one with "
    "the least error of the horizon's sum at past origins, where it is surely better than the "
    "baseline and not biased; with quantiles from the errors of those origins.",
    train_demand,
    extra_tables=(ITEMS, PROMOTION_CALENDAR),
    kinds=frozenset({"python", "numpy", "lightgbm"}),
)
