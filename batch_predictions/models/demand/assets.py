"""The weekly training of demand models as a Dagster asset."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.home import read_state
from batch_predictions.features.sql.queries import demand_parameters, sql
from batch_predictions.models.demand.backtest import plot_coverage, plot_error_by_horizon
from batch_predictions.models.demand.data.panel import Panel
from batch_predictions.models.demand.data.panel_builder import PanelSpec, history_lengths
from batch_predictions.models.demand.demand_metrics import MSE_SUM
from batch_predictions.models.demand.demand_training import LevelSelection, select_levels
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.sources import source_registry
from batch_predictions.tables import ITEMS, PROMOTION_CALENDAR
from batch_predictions.warehouse import Warehouse

SERIES_ORDER = [(name, "ascending") for name in ("level", "item_id", "location")]


def panel_spec(settings: Settings) -> PanelSpec:
    """Returns how rows become panels in this home, before covariates and categories are fitted."""
    state = read_state(settings.home)
    source = source_registry.build_source(settings.source, state)
    return PanelSpec(
        history_days=settings.demand.history_days,
        horizon=settings.demand.horizon,
        country=settings.demand.holiday_country or source.holiday_country,
        holidays=settings.demand.holiday_dates,
        shift_days=state.shift_days if state else 0,
    )


def build_panels(
    rows: pa.Table, through: dt.date, settings: Settings
) -> tuple[dict[str, Panel], PanelSpec]:
    """Builds a panel by level of the series with at least `demand.min_days` days, and their spec.

    Args:
        rows: of `features.demand`, as of one day.
        through: that day, the last column of the panels.
        settings: of this home.
    """
    spec = panel_spec(settings).fit(rows)
    is_long = pa.array(history_lengths(rows, through) >= settings.demand.min_days)
    long_rows = rows.filter(is_long)
    panels: dict[str, Panel] = {}
    for level in settings.demand.levels:
        level_rows = long_rows.filter(pc.equal(long_rows["level"], level))
        if level_rows.num_rows:
            panels[level] = spec.build_panel(level_rows, through)
    return panels, spec


def select_demand(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> LevelSelection:
    """Selects a model for each level from what is known through a day.

    Args:
        warehouse: the demand series up to `through`.
        settings: of this home; those under `demand` configure the selection.
        through: last day that is known.
        progress: receives lines for the log.
    """
    values = {**demand_parameters(warehouse, settings), "date": through}
    # The query's row order varies between runs; LightGBM's rows and bootstrap samples depend on it.
    rows = warehouse.query(sql("demand"), values).sort_by(SERIES_ORDER)
    progress(f"{rows.num_rows:,} series (demand.max_series = {settings.demand.max_series:,})")
    panels, spec = build_panels(rows, through, settings)
    return select_levels(panels, spec, settings.demand, progress)


def train_demand(
    warehouse: Warehouse, settings: Settings, through: dt.date, progress: Callable[[str], None]
) -> Trained:
    """Selects a demand model for each level by backtests.

    The gate is on the error of the sum over the horizon and on bias.

    Args:
        warehouse: the demand series up to `through`.
        settings: of this home; those under `demand` configure the training.
        through: last day that is known.
        progress: receives lines for the log.
    """
    selection = select_demand(warehouse, settings, through, progress)
    first = next(iter(selection.selected.values()), None)
    return Trained(
        write=selection.models.save,
        candidate=selection.candidate,
        beats_baseline=selection.beats_baseline,
        parameters={
            "served": {level: selected.serving for level, selected in selection.selected.items()},
            "horizon": settings.demand.horizon,
        },
        why=selection.why,
        metrics=[dict(row) for row in selection.metrics],
        plotted=MSE_SUM,
        lower_is_better=True,
        figures={
            "error by horizon": lambda: plot_error_by_horizon(first.backtest),
            "coverage": lambda: plot_coverage(first.backtest, selection.candidate),
        }
        if first
        else {},
    )


demand = Training(
    "demand",
    "Demand of the coming days: the best of baselines, regressions, SARIMA and global models by "
    "the squared error of the horizon's sum at past origins, where it beats the best baseline "
    "significantly and its bias is small. Quantiles are calibrated on the errors at these origins.",
    train_demand,
    extra_tables=(ITEMS, PROMOTION_CALENDAR),
    kinds=frozenset({"python", "numpy", "lightgbm"}),
)
