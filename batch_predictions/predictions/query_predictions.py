"""Daily predictions of predictive queries: their tables, scorer and declarations."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.features.history.event_measures import HISTORY_DAYS
from batch_predictions.features.history.history_sql import History, history_keys
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import EXCLUDED, ScorerContext, result_schema
from batch_predictions.inference.validation import Check
from batch_predictions.models.queries.feature_encoder import WEEKDAY
from batch_predictions.models.queries.query_model import QueryModel
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import Table
from batch_predictions.tables.base import Column
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.path_sql import quote_literal
from batch_predictions.warehouse.plot_style import new_axes

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

CANDIDATES = "candidates"
"""Column of the rows of a `top`: the history of each value, as a list of structs."""
_KNOWN = {"user_id": "features.user_segments", "item_id": "features.item_state"}
"""Tables of all entities that are known at the end of a day."""


def query_table(query: PredictiveQuery) -> Table:
    """The table of a query's predictions."""
    task, target = query.target.task, query.target
    texts = [Column(key, "VARCHAR", "the entity") for key in query.keys]
    if task == "mean":
        numbers = {
            "value": f"expected {query.predict}",
            "lower": "10 % quantile",
            "upper": "90 % quantile",
        }
    elif task == "first":
        numbers = {
            "probability": f"of an event within {query.days} days",
            "value": "days until half of such entities have had the event; null: later",
            "lower": "days until a tenth of them have; null: later",
            "upper": "days until nine tenths of them have; null: later",
        }
    elif task == "top":
        texts += [Column("rank", "INTEGER", "1 is the most probable value")]
        texts += [Column(target.expression, "VARCHAR", "the value")]
        numbers = {"probability": "of an event with the value in the window"}
    else:
        numbers = {"probability": f"that {query.predict}"}
    return Table(
        "predictions",
        query.name,
        f"{query.question}, predicted for every {query.entity}.",
        (
            Column("week", "DATE", "Monday of the week; as of the end of its Sunday")
            if query.cadence == "weekly"
            else Column("date", "DATE", "as of the end of this day"),
            *texts,
            *(Column(name, "DOUBLE", words) for name, words in numbers.items()),
            Column("reason", "VARCHAR", "what moves the prediction most; null without trees"),
            Column("model_version", "VARCHAR", "version of the model"),
        ),
        key=(*query.keys, *(("rank",) if task == "top" else ())),
        partition="week" if query.cadence == "weekly" else "date",
    )


class QueryScorer:
    """Predicts what a query asks for, from the day's history of each entity."""

    version: ClassVar[str] = "1"
    uses_gpu: ClassVar[bool] = False
    # NumPy and the engine of trees release the interpreter's lock.
    workers: ClassVar[str] = "threads"

    def __init__(self, model: QueryModel) -> None:
        self.model = model

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        """Loads the query's model from its folder."""
        assert context.model is not None
        return cls(QueryModel.load(context.model))

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Predictions of entities (the columns of their history)."""
        query = self.model.query
        keys = {key: rows[key] for key in query.keys}
        if self.model.unserved_reason is not None:
            schema = result_schema(query_table(query))
            columns = {field.name: pa.nulls(rows.num_rows, field.type) for field in schema}
            reasons = pa.array([self.model.unserved_reason] * rows.num_rows, pa.string())
            return pa.RecordBatch.from_pydict({**columns, **keys, EXCLUDED: reasons})
        if query.target.task == "top":
            return self._lists(rows)
        predicted = self.model.predict(rows)
        columns = {name: _nullable(values) for name, values in predicted.items()}
        reasons = pa.array(self.model.reasons(rows), pa.string())
        return pa.RecordBatch.from_pydict({**keys, **columns, "reason": reasons})

    def _lists(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The k most probable values of each entity, best first."""
        target, lists = self.model.query.target, rows[CANDIDATES]
        pairs = pa.RecordBatch.from_struct_array(lists.flatten())
        probabilities = self.model.predict(pairs)["probability"]
        ends = np.cumsum(lists.value_lengths().to_numpy())
        places: list[int] = []
        owners: list[int] = []
        ranks: list[int] = []
        for owner, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            best = start + np.argsort(-probabilities[start:end], kind="stable")[: target.k]
            places += best.tolist()
            owners += [owner] * len(best)
            ranks += range(1, len(best) + 1)
        chosen = pairs.take(pa.array(places, pa.int64()))
        entity = self.model.query.keys[0]
        return pa.RecordBatch.from_pydict(
            {
                entity: rows[entity].take(pa.array(owners, pa.int64())),
                "rank": pa.array(ranks, pa.int32()),
                target.expression: chosen[target.expression],
                "probability": pa.array(probabilities[places]),
                "reason": pa.array(self.model.reasons(chosen), pa.string()),
            }
        )


def query_prediction(query: PredictiveQuery, history: History) -> BatchPrediction:
    """The declaration of a query's daily prediction.

    Args:
        query: what is predicted.
        history: the features of its entities; the table may have those of other queries too.
    """
    name, what, condition = (
        (
            "ordered_intervals",
            "Every value is within its interval.",
            "value between lower and upper",
        )
        if query.target.task == "mean"
        else (
            "probabilities",
            "Every probability is a number between 0 and 1.",
            "probability between 0 and 1",
        )
    )
    check = Check(name, what, f"select count(*) from new_rows where ({condition}) is not true")
    return BatchPrediction(
        table=query_table(query),
        rows=_rows_sql(query, history),
        key=query.keys,
        scorer=QueryScorer,
        model=query.name,
        eligible=_eligible_sql(query, history),
        checks=(check,),
        plot=_plot_of(query),
        kinds=frozenset({"lightgbm", "duckdb"}),
    )


def _day(query: PredictiveQuery) -> str:
    """SQL of the day as of which a partition is predicted."""
    return "($week::DATE + 6)" if query.cadence == "weekly" else "$date::DATE"


def _history_sql(query: PredictiveQuery, history: History) -> str:
    """The rows of the history: of the day's table, or of a week computed from raw events."""
    if query.cadence == "weekly":
        return history.sql().replace("$date::DATE", _day(query))
    return f"select * exclude (date) from features.{history.name} where date = $date::DATE"


def _rows_sql(query: PredictiveQuery, history: History) -> str:
    among = f" and ({query.among})" if query.among else ""
    names = ", ".join(f'"{name}"' for name in history.columns())
    rows = (
        f"select {names}, (isodow({_day(query)}) - 1)::DOUBLE as {WEEKDAY} "
        f"from ({_history_sql(query, history)}) where true{among}"
    )
    if query.target.task != "top":
        return rows
    first, second = history_keys(query)
    return (
        f"select {first}, list(candidate order by candidate.{second}) as {CANDIDATES} "
        f"from (select {first}, candidate from ({rows}) as candidate) group by {first}"
    )


def _eligible_sql(query: PredictiveQuery, history: History) -> str | None:
    """The query of all entities, with the reason of those that are not scored."""
    keys = ", ".join(query.keys)
    scored = f"select distinct {keys} from ({_history_sql(query, history)})"
    # The tables of a Sunday are not made where a run predicts another day.
    known = _KNOWN.get(keys) if query.cadence == "daily" else None
    if known is None and not query.among:
        return None
    everyone = scored
    if known is not None:
        everyone += f" union select {keys} from {known} where date = $date::DATE"
    reason = quote_literal(f"not among: {query.among}")
    return (
        f"select {keys}, case when is_scored then {reason} "
        f"else 'no event in the last {HISTORY_DAYS} days' end as reason "
        f"from ({everyone}) left join (select *, true as is_scored from ({scored})) using ({keys})"
    )


def _plot_of(query: PredictiveQuery) -> Callable[[Warehouse, str], Figure | None]:
    """A function that draws a day's predictions as a histogram."""
    column = "value" if query.target.task == "mean" else "probability"
    partition = query_table(query).partition

    def draw(warehouse: Warehouse, day: str) -> Figure | None:
        values: Doubles = warehouse.query(
            f"select {column} from predictions.{query.name} where {partition} = $partition",
            {"partition": as_date(day)},
        )[column].to_numpy()
        if not len(values):
            return None
        figure, ax = new_axes(
            f"{query.question}: {len(values):,} predictions, {day}",
            f"{column}, the largest 1 % in the last bar",
            "predictions",
        )
        # The largest percent would leave the others in one bar.
        ax.hist(np.minimum(values, np.quantile(values, 0.99)), 40)
        return figure

    return draw


def _nullable(values: Doubles) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))
