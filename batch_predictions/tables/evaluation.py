"""Evaluation: what models reached, what was decided about them, and what came of it."""

from __future__ import annotations

from batch_predictions.tables.declaration import Table, columns, declare

MODEL_METRICS = declare(
    Table(
        "evaluation",
        "model_metrics",
        "One row per training, candidate and metric, baselines included.",
        columns("""
        model VARCHAR: recommender, demographic, …
        trained_through DATE: last day of the training week
        candidate VARCHAR: what was measured; baselines are candidates too
        metric VARCHAR: ndcg@10, recall@20, …
        value DOUBLE: on the hold-out
        lower DOUBLE: lower end of the 95 % interval, where there is one
        upper DOUBLE: upper end
        n BIGINT: users, series or reviews that it is measured on
    """),
        key=("model", "trained_through", "candidate", "metric"),
        partition=None,
        parts=("model", "trained_through"),
    )
)
PROMOTIONS_LOG = declare(
    Table(
        "evaluation",
        "promotions_log",
        "One row per decision about a champion: promoted, refused, rolled back.",
        columns("""
        decided_at TIMESTAMP: UTC; of a training: the end of its week
        model VARCHAR: recommender, demographic, …
        model_version VARCHAR: version that serves after the decision
        trained_through DATE: last day of the training week, or the roll-back's day
        decision VARCHAR: promoted, baseline, kept or rolled_back
        why VARCHAR: in words, with the figures
    """),
        partition=None,
        parts=("model", "trained_through", "decision"),
    )
)
REALIZED_METRICS = declare(
    Table(
        "evaluation",
        "realized_metrics",
        "What came of earlier predictions, as seen at the end of each day.",
        columns("""
        date DATE: day by whose end it was seen
        model VARCHAR: churn, retention, promotion, …
        metric VARCHAR: auc, uplift, …; of one campaign: with :<campaign> behind
        value DOUBLE: the figure
        lower DOUBLE: lower end of the 95 % interval, where there is one
        upper DOUBLE: upper end
        n BIGINT: customers that it is measured on
    """),
        key=("model", "metric"),
    )
)
