"""Evaluation tables: metrics of trainings, decisions about models, realized metrics."""

from __future__ import annotations

from batch_predictions.tables.base import Table, columns, declare

MODEL_METRICS = declare(
    Table(
        "evaluation",
        "model_metrics",
        "One row per training, candidate and metric, baselines included.",
        columns("""
        model VARCHAR: recommender, demographic, …
        trained_through DATE: last day of the training week
        candidate VARCHAR: candidate or baseline
        metric VARCHAR: ndcg@10, recall@20, …
        value DOUBLE: metric on the hold-out
        lower DOUBLE: lower end of the 95 % interval; null without one
        upper DOUBLE: upper end
        n BIGINT: users, series or reviews that were evaluated
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
        "One row per decision about which version of a model serves.",
        columns("""
        decided_at TIMESTAMP: UTC; of a training: the end of its week
        model VARCHAR: recommender, demographic, …
        model_version VARCHAR: version that serves after the decision
        trained_through DATE: last day of the training week, or the roll-back's day
        decision VARCHAR: promoted, baseline, kept or rolled_back
        why VARCHAR: reason, with the metrics
    """),
        partition=None,
        parts=("model", "trained_through", "decision"),
    )
)
REALIZED_METRICS = declare(
    Table(
        "evaluation",
        "realized_metrics",
        "Metrics of earlier predictions against what happened, as of the end of each day.",
        columns("""
        date DATE: as of the end of this day
        model VARCHAR: churn, retention, promotion, recommender, demand, replenishment, …
        metric VARCHAR: auc, uplift, …; of a part with a suffix: :<campaign>, :source=personal, …
        value DOUBLE: value of the metric
        lower DOUBLE: lower end of the 95 % interval; null without one
        upper DOUBLE: upper end
        n BIGINT: customers, shown items, series or orders that were evaluated
    """),
        key=("model", "metric"),
    )
)
BACKTESTS = declare(
    Table(
        "evaluation",
        "backtests",
        "How models and predictions of past weeks did, each week run as if it were the newest.",
        columns("""
        week DATE: Monday of the week at whose end models were trained and predictions made
        settings VARCHAR: own, or the name of the file of other settings
        period VARCHAR: hold_out, the days that the training kept apart; or after, what came then
        model VARCHAR: recommender, demand, churn, …
        candidate VARCHAR: candidate or baseline; of the days after, served
        metric VARCHAR: ndcg@10, log_loss, …; of the days after as in evaluation.realized_metrics
        value DOUBLE: value of the metric
        lower DOUBLE: lower end of the 95 % interval; null without one
        upper DOUBLE: upper end
        n BIGINT: users, series, reviews or orders that were evaluated
    """),
        key=("settings", "period", "model", "candidate", "metric"),
        partition="week",
    )
)
BACKTEST_DECISIONS = declare(
    Table(
        "evaluation",
        "backtest_decisions",
        "Which version of a model the trainings of past weeks chose in a backtest, and why.",
        columns("""
        week DATE: Monday of the week at whose end the model was trained
        settings VARCHAR: own, or the name of the file of other settings
        model VARCHAR: recommender, demand, churn, …
        decision VARCHAR: promoted, baseline or kept
        why VARCHAR: reason, with the metrics
    """),
        key=("settings", "model"),
        partition="week",
    )
)
COSTS = declare(
    Table(
        "evaluation",
        "costs",
        "What making a table or a model has used, one row per asset and run.",
        columns("""
        date DATE: the partition that was made; of several the last one, of a week its Monday
        asset VARCHAR: predictions.demand, models.churn, …
        partition_key VARCHAR: the partition, or the first and last of a range, first...last
        run_id VARCHAR: the Dagster run
        rows BIGINT: rows of the partitions
        seconds DOUBLE: wall clock of the asset's steps
        cpu_seconds DOUBLE: of all cores
        peak_mib DOUBLE: peak memory of a step's process, MiB
        bytes_read BIGINT: read by the steps' processes from files and sockets
        bytes_written BIGINT: written by them
        cost DOUBLE: in the currency of the settings costs.*; 0 without prices
        requests BIGINT: that the steps' processes made to the bucket of the home; 0 of a local home
        bytes_sent BIGINT: of objects that they uploaded to the bucket
        bytes_received BIGINT: of objects that they downloaded from it
    """),
        key=("asset", "partition_key", "run_id"),
    )
)
DRIFT = declare(
    Table(
        "evaluation",
        "drift",
        "How much features and predictions of each day differ from those of the newest training.",
        columns("""
        date DATE: the day
        table_name VARCHAR: table whose rows are compared, such as features.user_activity
        column_name VARCHAR: its column
        statistic VARCHAR: psi, ks or wasserstein
        value DOUBLE: 0 where nothing differs; psi above .25 is much
        reference DATE: last day of the training, whose rows the day's are compared with
        n BIGINT: rows of the day that were compared
    """),
        key=("table_name", "column_name", "statistic"),
    )
)
HISTOGRAMS = declare(
    Table(
        "evaluation",
        "histograms",
        "Features and predictions of each day in bins that the newest training froze.",
        columns("""
        date DATE: the day
        table_name VARCHAR: table whose rows are counted, such as features.user_activity
        column_name VARCHAR: its column
        bin BIGINT: 0 has the rows without a value, the last one those of no other bin
        lower DOUBLE: of numbers, the end of the bin before; of the first bin, the day's smallest
        upper DOUBLE: the largest number of the bin; of the last bin, the day's largest
        category VARCHAR: of text, the value; null in the first and the last bin
        reference DATE: last day of the training, by whose rows the bins were made
        reference_rows BIGINT: rows of that day in the bin
        rows BIGINT: rows of the day in the bin
    """),
        key=("table_name", "column_name", "bin"),
    )
)
