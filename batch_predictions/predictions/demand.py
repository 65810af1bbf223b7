"""Daily forecasts of demand for each of the coming days, and over the periods of orders.

Eligible are the series of `features.demand`: the `demand.max_series` of each level with the most
units in the last 84 days. Items that sell less are no series, and have no reason.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Doubles, Int64s
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext, result_schema
from batch_predictions.inference.validation import Check
from batch_predictions.models.demand.data.panel_builder import history_lengths
from batch_predictions.models.demand.demand_model import DemandPrediction
from batch_predictions.models.demand.demand_training import DemandModels
from batch_predictions.models.demand.stock_policy import TERM_COLUMNS, OrderTerms
from batch_predictions.predictions.demand_plots import plot_forecasts
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMAND_FORECASTS, LEAD_TIME_DEMAND

QUANTILES = {"q05": 0.05, "q10": 0.1, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q90": 0.9, "q95": 0.95}
"""Quantiles of a day, by column."""
SUM_QUANTILES = {"q50": 0.5, "q90": 0.9, "q95": 0.95, "q99": 0.99}
"""Quantiles of a sum over days, by column."""


class DemandScorer:
    """Forecasts each series with the model of its level, from the history known on the day.

    Quantiles are calibrated on the errors at past origins: for each day, and for the sums over the
    lead time and over the cycle of lead time and review period.
    """

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False
    # Threads suffice: matrix products, trees and compiled loops release the interpreter's lock.
    workers: ClassVar[str] = "threads"

    def __init__(self, models: DemandModels, parameters: Mapping[str, Any]) -> None:
        self.models = models
        self.min_days = int(parameters["min_days"])
        self.horizon = int(parameters["horizon"])
        self.default_terms = parameters

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Loads the models of all levels."""
        assert context.model is not None
        return cls(DemandModels.load(context.model), context.parameters)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Forecasts of rows of `features.demand` that are all of one day."""
        series = pa.Table.from_batches([rows])
        [day] = set(series["date"].to_pylist())
        reasons = self._exclusion_reasons(series, day)
        levels = series["level"].to_pylist()
        parts = [_excluded_rows(series, reasons)]
        for level, model in self.models.models.items():
            is_forecast = [
                reason is None and series_level == level
                for reason, series_level in zip(reasons, levels, strict=True)
            ]
            if any(is_forecast):
                level_series = series.filter(pa.array(is_forecast))
                panel = self.models.panel_spec.build_panel(level_series, day)
                prediction = model.predict(panel, self.horizon, tuple(QUANTILES.values()))
                parts.append(self._forecast_rows(level_series, day, prediction))
        return pa.concat_tables(parts).combine_chunks().to_batches(10**9)[0]

    def _exclusion_reasons(self, series: pa.Table, day: dt.date) -> list[str | None]:
        """Explains why a series is not forecast; None where it is."""
        reasons: list[str | None] = []
        lengths = history_lengths(series, day).tolist()
        for days, level in zip(lengths, series["level"].to_pylist(), strict=True):
            if days < self.min_days:
                reasons.append(
                    f"its first sale is {days} days old: demand.min_days = {self.min_days}"
                )
            elif level not in self.models.models:
                reasons.append(f"no series of the level {level} was long enough for training")
            else:
                reasons.append(None)
        return reasons

    def _forecast_rows(
        self, series: pa.Table, day: dt.date, prediction: DemandPrediction
    ) -> pa.Table:
        """Builds one row for each series and day of the horizon."""
        n, horizon = prediction.mean.shape
        series_rows = pa.array(np.repeat(np.arange(n), horizon))
        target_dates = [day + dt.timedelta(days=step + 1) for step in range(horizon)]
        is_first_day = np.tile(np.arange(horizon) == 0, n)
        columns = {
            "item_id": pc.take(series["item_id"].combine_chunks(), series_rows),
            "location": pc.take(series["location"].combine_chunks(), series_rows),
            "target_date": pa.array(target_dates * n, pa.date32()),
            "mean": pa.array(prediction.mean.ravel()),
            **{
                name: pa.array(np.ascontiguousarray(prediction.quantiles[:, :, number]).ravel())
                for number, name in enumerate(QUANTILES)
            },
            "method": pc.take(pa.array(prediction.methods, pa.string()), series_rows),
            EXCLUDED: pa.nulls(n * horizon, pa.string()),
            "lead_time_demand": self._lead_time_demand(series, prediction, is_first_day),
        }
        return pa.table(columns, schema=_SCHEMA)

    def _lead_time_demand(
        self, series: pa.Table, prediction: DemandPrediction, is_first_day: npt.NDArray[np.bool_]
    ) -> pa.ListArray:
        """Demand over the lead time and over the cycle: a list in the first row of each series.

        Periods beyond the horizon are left out; the orders of such items are excluded.
        """
        item_terms = {name: float_values(series[name]) for name in TERM_COLUMNS}
        terms = OrderTerms.from_items(item_terms, self.default_terms)
        lengths = np.stack([terms.lead_days, terms.cycle_days], axis=1)
        is_within = lengths <= prediction.mean.shape[1]
        values: dict[str, list[Doubles]] = {}
        for days in np.where(is_within, lengths, 1).T:
            quantiles = prediction.sum_quantiles(days, tuple(SUM_QUANTILES.values()))
            columns = {
                "mean": prediction.sum_means(days),
                **{name: quantiles[:, number] for number, name in enumerate(SUM_QUANTILES)},
                "level": terms.service_level,
                "q_level": _quantiles_at_levels(prediction, days, terms.service_level),
            }
            for name, column in columns.items():
                values.setdefault(name, []).append(column)
        by_column = [np.stack(by_period, axis=1) for by_period in values.values()]
        entries = pa.StructArray.from_arrays(
            [pa.array(matrix[is_within]) for matrix in (lengths, *by_column)], fields=list(_ENTRY)
        )
        counts = np.zeros(len(is_first_day), np.int64)
        counts[is_first_day] = is_within.sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), entries, mask=pa.array(~is_first_day))


def _quantiles_at_levels(prediction: DemandPrediction, lengths: Int64s, levels: Doubles) -> Doubles:
    """Quantile of the sum over `lengths` days of each series at its own level, (n,)."""
    quantiles = np.empty(len(levels))
    for level in np.unique(levels):
        rows = levels == level
        quantiles[rows] = prediction.sum_quantiles(lengths, (float(level),))[rows, 0]
    return quantiles


def float_values(column: pa.Array | pa.ChunkedArray) -> Doubles:
    """The numbers of a column, nan where it is null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _excluded_rows(series: pa.Table, reasons: list[str | None]) -> pa.Table:
    """Builds one row with its reason for every series that is not forecast."""
    is_excluded = pa.array([reason is not None for reason in reasons])
    excluded = series.filter(is_excluded).select(["item_id", "location"])
    columns = {
        **{name: pa.nulls(excluded.num_rows, _SCHEMA.field(name).type) for name in _SCHEMA.names},
        "item_id": excluded["item_id"],
        "location": excluded["location"],
        EXCLUDED: pa.array([reason for reason in reasons if reason is not None], pa.string()),
    }
    return pa.table(columns, schema=_SCHEMA)


_ENTRY = pa.struct(
    {
        "days": pa.int64(),
        **dict.fromkeys(("mean", *SUM_QUANTILES, "level", "q_level"), pa.float64()),
    }
)
_SCHEMA = result_schema(DEMAND_FORECASTS).append(pa.field("lead_time_demand", pa.list_(_ENTRY)))


def parameters(settings: Settings) -> Mapping[str, Any]:
    """Returns horizon, shortest history of a series, and the default terms of orders."""
    demand = settings.demand
    return {
        "horizon": demand.horizon,
        "min_days": demand.min_days,
        **{name: getattr(demand, name) for name in TERM_COLUMNS},
    }


demand_forecasts = BatchPrediction(
    table=DEMAND_FORECASTS,
    key=("item_id", "location"),
    rows="""
        select date, item_id, location, level, category, first_date, units, promotion, display,
            mailer, lead_time_days, review_days, service_level, pack_size, min_order, holding_cost,
            lost_sale_cost
        from features.demand where date = $date
    """,
    scorer=DemandScorer,
    model="demand",
    child_tables={"lead_time_demand": LEAD_TIME_DEMAND},
    parameters=parameters,
    checks=(
        Check(
            "quantiles_in_order",
            "The quantiles of a day are ordered and not negative, and the mean is finite.",
            """select count(*) from new_rows where (0 <= q05 and q05 <= q10 and q10 <= q25
                and q25 <= q50 and q50 <= q75 and q75 <= q90 and q90 <= q95
                and isfinite(q95) and isfinite(mean) and mean >= 0) is not true""",
        ),
        Check(
            "sums_in_order",
            "The quantiles of a sum are ordered, and a longer period has no smaller mean.",
            """select count(*) from (select *, lag(mean) over (partition by item_id, location
                order by days) as shorter from new_lead_time_demand) where (0 <= q50
                and q50 <= q90 and q90 <= q95 and q95 <= q99 and isfinite(q99)
                and mean >= coalesce(shorter, 0) - 1e-9) is not true""",
        ),
        Check(
            "every_day_is_forecast",
            "Every series has one row for each day from the next one to the horizon.",
            """select count(*) from (select item_id, location from new_rows group by all
                having min(target_date) <> $date::DATE + 1
                or max(target_date) <> $date::DATE + $horizon::INTEGER
                or count(*) <> $horizon::INTEGER)""",
        ),
    ),
    plot=plot_forecasts,
    kinds=frozenset({"lightgbm", "duckdb"}),
)
