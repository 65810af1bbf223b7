"""Units that will be wanted on each of the next days, every day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.demand.model import DemandPrediction
from batch_predictions.models.demand.panel import Doubles
from batch_predictions.models.demand.panel_builder import days_known
from batch_predictions.models.demand.replenishment.policy import OrderTerms
from batch_predictions.models.demand.training import DemandModels
from batch_predictions.predictions import demand_plots as plots
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMAND_FORECASTS, LEAD_TIME_DEMAND

QUANTILES = {"q05": 0.05, "q10": 0.1, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q90": 0.9, "q95": 0.95}
SUM_QUANTILES = {"q50": 0.5, "q90": 0.9, "q95": 0.95, "q99": 0.99}
TERMS = (
    "lead_time_days",
    "review_days",
    "service_level",
    "pack_size",
    "min_order",
    "holding_cost",
    "lost_sale_cost",
)
"""Attributes of an item that order by its own terms, and the settings that stand in for them."""


class DemandScorer:
    """The champion of the series' level, trained by the week that had ended, forecasts from the
    history known on the day; quantiles from the errors of past origins, of each day and of the sums
    over the lead time and over the cycle of orders."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False
    # Matrix products, trees and compiled loops let go of the interpreter's lock.
    workers: ClassVar[str] = "threads"

    def __init__(self, models: DemandModels, opening: ScorerContext) -> None:
        self.models = models
        self.min_days = int(opening.parameters["min_days"])
        self.horizon = int(opening.parameters["horizon"])
        self.usual = opening.parameters

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        """Opens the models of all levels."""
        assert opening.model is not None
        return cls(DemandModels.load(opening.model), opening)

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Forecasts of series: rows of `features.demand` of one day."""
        table = pa.Table.from_batches([rows])
        [day] = set(table["date"].to_pylist())
        reasons = self._reasons(table, day)
        parts = [_excluded(table, reasons)]
        for level, model in self.models.models.items():
            mine = np.array(
                [
                    reason is None and each == level
                    for reason, each in zip(reasons, table["level"].to_pylist(), strict=True)
                ],
                bool,
            )
            if mine.any():
                chosen = table.filter(pa.array(mine))
                panel = self.models.frame.panel(chosen, day)
                found = model.predict(panel, self.horizon, tuple(QUANTILES.values()))
                parts.append(self._rows(chosen, day, found))
        return pa.concat_tables(parts).combine_chunks().to_batches(10**9)[0]

    def _reasons(self, table: pa.Table, day: dt.date) -> list[str | None]:
        """Why a series is not forecast; None where it is."""
        reasons: list[str | None] = []
        known = days_known(table, day).tolist()
        for days, level in zip(known, table["level"].to_pylist(), strict=True):
            if days < self.min_days:
                short = f"its first sale is {days} days old: demand.min_days = {self.min_days}"
                reasons.append(short)
            elif level not in self.models.models:
                reasons.append(f"no series of {level} was long enough to train on")
            else:
                reasons.append(None)
        return reasons

    def _rows(self, table: pa.Table, day: dt.date, found: DemandPrediction) -> pa.Table:
        n, horizon = found.mean.shape
        owner = pa.array(np.repeat(np.arange(n), horizon))
        days = [day + dt.timedelta(days=step + 1) for step in range(horizon)]
        first = np.zeros((n, horizon), bool)
        first[:, 0] = True
        columns = {
            "item_id": pc.take(table["item_id"].combine_chunks(), owner),
            "location": pc.take(table["location"].combine_chunks(), owner),
            "target_date": pa.array(days * n, pa.date32()),
            "mean": pa.array(found.mean.ravel()),
            **{
                name: pa.array(np.ascontiguousarray(found.quantiles[:, :, place]).ravel())
                for place, name in enumerate(QUANTILES)
            },
            "method": pc.take(pa.array(found.methods, pa.string()), owner),
            EXCLUDED: pa.nulls(n * horizon, pa.string()),
            "lead_time_demand": self._sums(table, found, first.ravel()),
        }
        return pa.table(columns, schema=_SCHEMA)

    def _sums(self, table: pa.Table, found: DemandPrediction, first: Any) -> pa.ListArray:
        """Demand over the lead time and over the cycle, as a list on each series' first row."""
        own = {name: _numbers(table[name]) for name in TERMS}
        terms = OrderTerms.of(own, self.usual)
        lengths = np.stack([terms.lead, terms.cycle], axis=1)
        # A cycle that is longer than the forecast has no sum: the order says so.
        kept = lengths <= found.mean.shape[1]
        within = np.where(kept, lengths, 1)
        values: dict[str, Doubles] = {}
        for place in range(2):
            sums = found.sum_quantiles(within[:, place], tuple(SUM_QUANTILES.values()))
            each = {
                "mean": found.sums(within[:, place]),
                **{name: sums[:, at] for at, name in enumerate(SUM_QUANTILES)},
                "q_level": _at_levels(found, within[:, place], terms.level),
            }
            for name, column in each.items():
                values.setdefault(name, np.empty(kept.shape))[:, place] = column
        entries = pa.StructArray.from_arrays(
            [
                pa.array(lengths[kept]),
                *(pa.array(values[name][kept]) for name in ("mean", *SUM_QUANTILES)),
                pa.array(np.repeat(terms.level[:, None], 2, axis=1)[kept]),
                pa.array(values["q_level"][kept]),
            ],
            fields=list(_ENTRY),
        )
        counts = np.zeros(len(first), np.int64)
        counts[first] = kept.sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), entries, mask=pa.array(~first))


def _at_levels(found: DemandPrediction, lengths: Any, levels: Doubles) -> Doubles:
    """Quantiles of the sums, each series at its own level."""
    out = np.empty(len(levels))
    for level in np.unique(levels):
        mine = levels == level
        out[mine] = found.sum_quantiles(lengths, (float(level),))[mine, 0]
    return out


def _numbers(column: pa.ChunkedArray) -> Doubles:
    """Numbers, nan where there is none."""
    values = pc.cast(column, pa.float64()).to_numpy()
    return np.asarray(values, np.float64)


def _excluded(table: pa.Table, reasons: list[str | None]) -> pa.Table:
    """One row with its reason for every series that is not forecast."""
    out = pa.array([each is not None for each in reasons])
    lost = table.filter(out).select(["item_id", "location"])
    columns = {
        **{name: pa.nulls(lost.num_rows, _SCHEMA.field(name).type) for name in _SCHEMA.names},
        "item_id": lost["item_id"],
        "location": lost["location"],
        EXCLUDED: pa.array([each for each in reasons if each is not None], pa.string()),
    }
    return pa.table(columns, schema=_SCHEMA)


_ENTRY = pa.struct(
    {
        "days": pa.int64(),
        **dict.fromkeys(("mean", *SUM_QUANTILES, "level", "q_level"), pa.float64()),
    }
)
_SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "location": pa.string(),
        "target_date": pa.date32(),
        "mean": pa.float64(),
        **dict.fromkeys(QUANTILES, pa.float64()),
        "method": pa.string(),
        EXCLUDED: pa.string(),
        "lead_time_demand": pa.list_(_ENTRY),
    }
)


def parameters(settings: Settings) -> Mapping[str, Any]:
    """How far ahead, how long a series must be, and the usual terms of orders."""
    chosen = settings.demand
    return {
        "horizon": chosen.horizon,
        "min_days": chosen.min_days,
        **{name: getattr(chosen, name) for name in TERMS},
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
            "Quantiles of every day are in order and not negative, and the mean is finite.",
            """select count(*) from new_rows where (0 <= q05 and q05 <= q10 and q10 <= q25
                and q25 <= q50 and q50 <= q75 and q75 <= q90 and q90 <= q95
                and isfinite(q95) and isfinite(mean) and mean >= 0) is not true""",
        ),
        Check(
            "sums_in_order",
            "Quantiles of every sum are in order, and a longer sum expects no less.",
            """select count(*) from (select *, lag(mean) over (partition by item_id, location
                order by days) as shorter from new_lead_time_demand) where (0 <= q50
                and q50 <= q90 and q90 <= q95 and q95 <= q99 and isfinite(q99)
                and mean >= coalesce(shorter, 0) - 1e-9) is not true""",
        ),
        Check(
            "every_day_is_forecast",
            "Every series has the days from the next one to the horizon, each once.",
            """select count(*) from (select item_id, location from new_rows group by all
                having min(target_date) <> $date::DATE + 1
                or max(target_date) <> $date::DATE + $horizon::INTEGER
                or count(*) <> $horizon::INTEGER)""",
        ),
    ),
    plot=plots.fan,
    kinds=frozenset({"lightgbm", "duckdb"}),
)
