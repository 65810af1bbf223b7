"""A home with customers of known hazards, and the audiences that are computed from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from batch_predictions.core.home import State, write_state
from batch_predictions.predictions.churn import churn_scores
from batch_predictions.predictions.promotions import promotion_audience
from batch_predictions.predictions.retention import retention_audience
from batch_predictions.settings import AudiencesSettings, Settings, SourceSettings
from batch_predictions.tables import CAMPAIGN_EVENTS, INTERACTIONS, ITEM_SCORES, RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions_tests.worlds.customers import FIRST
from batch_predictions_tests.worlds.home import asset_resources, features_asset, prediction_asset
from batch_predictions_tests.worlds.table_rows import write_rows

DAY = "2024-05-26"
BUDGET = 25
FEATURES = ("churn_history", "item_state", "item_rules", "item_activity", "user_segments")
AUDIENCES = tuple(
    prediction_asset(prediction)
    for prediction in (churn_scores, retention_audience, promotion_audience)
)


def recommended_item(user_id: str, rank: int) -> str:
    """The made-up recommendation of a user at a rank."""
    return f"i{(int(user_id[-3:]) + rank) % 10}"


class AudienceWorld:
    """A home with customers of known hazards, and the tables that are computed from them."""

    def __init__(self, root: Path, **overrides: Any) -> None:
        (root / "source").mkdir(parents=True)
        self.settings = Settings(
            home=root / "home",
            source=SourceSettings(kind="files", path=root / "source"),
            audiences=AudiencesSettings(
                **{"budget": BUDGET, "holdout_share": 0.25, "users_per_campaign": 20, **overrides}
            ),
        )
        write_state(
            self.settings.home,
            State(source_kind="files", timezone="UTC", first_day=FIRST, default_date=FIRST),
        )
        self.warehouse = Warehouse.of(self.settings)

    def materialize(self, *assets: dg.AssetsDefinition, day: str) -> None:
        result = dg.materialize(
            list(assets),
            partition_key=day,
            resources=asset_resources(self.settings),
            instance=dg.DagsterInstance.ephemeral(),
        )
        assert result.success

    def predict(self, day: str) -> None:
        """Computes a day's features and audiences; recommendations are made up."""
        self.materialize(*(features_asset(name) for name in FEATURES), day=day)
        users = self.rows("select distinct user_id from raw.interactions where date <= $day", day)
        lists = [
            {
                "date": as_date(day),
                "user_id": row["user_id"],
                "rank": rank,
                "item_id": recommended_item(row["user_id"], rank),
                "score": 1 / rank,
                "reason": "trending",
                "model_version": "m",
            }
            for row in users
            for rank in range(1, 8)
        ]
        write_rows(self.warehouse, RECOMMENDATIONS, lists)
        names = {column.name for column in ITEM_SCORES.columns}
        scores = [{name: row[name] for name in names} for row in lists]
        write_rows(self.warehouse, ITEM_SCORES, scores)
        for table in (INTERACTIONS, CAMPAIGN_EVENTS):
            if day not in self.warehouse.partitions(table):
                write_rows(self.warehouse, table, [], as_date(day))
        self.materialize(*AUDIENCES, day=day)

    def rows(self, sql: str, day: str = DAY) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.warehouse.query(sql, {"day": as_date(day)}).to_pylist()
        return rows

    def retention(self, day: str = DAY) -> list[dict[str, Any]]:
        return self.rows(
            "select * from predictions.retention_audience where date = $day order by rank", day
        )

    def promotions(self, day: str = DAY) -> list[dict[str, Any]]:
        return self.rows(
            "select * from predictions.promotion_audience where date = $day "
            "order by campaign_id, rank",
            day,
        )

    def exclusions(self, table: str, day: str = DAY) -> list[dict[str, Any]]:
        return self.rows(
            "select key, reason from predictions.exclusions "
            f"where date = $day and table_name = '{table}' order by key",
            day,
        )
