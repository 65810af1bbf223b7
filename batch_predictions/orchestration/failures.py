"""Tables and models that a job could not make, with the reason of each, and what serves instead."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import DagsterEventType

from batch_predictions.core.durability import is_about_full_disk
from batch_predictions.models.model_store import ModelStore

_MODULE = re.compile(r"^(?:\w+\.)+(?=\w+:)")
_STEP_ENDS = {DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_SUCCESS}


@dataclass(frozen=True)
class Failure:
    """An asset that a job did not make.

    Attributes:
        asset: its key, such as models/churn.
        reason: the first cause in a line.
        is_cause: whether its own step failed; else one that it needs did.
    """

    asset: dg.AssetKey
    reason: str
    is_cause: bool

    @property
    def name(self) -> str:
        """The key as text, such as predictions/demand."""
        return "/".join(self.asset.path)

    @property
    def concerns_all(self) -> bool:
        """Whether everything after it would fail for the same reason: the disk is full."""
        return is_about_full_disk(self.reason)

    @property
    def is_of_release(self) -> bool:
        """Whether the release was not made."""
        return self.asset.path[0] == "serving"

    @property
    def waits(self) -> bool:
        """Whether it is of metrics or the release, which do with what there is of predictions."""
        return not self.is_cause and self.asset.path[0] in ("evaluation", "serving")

    def describe(self, models: ModelStore, through: dt.date, *, is_weekly: bool) -> str:
        """The reason, and what serves instead.

        Args:
            models: of the home.
            through: last day of the partition that was not made.
            is_weekly: whether the job is of weeks.
        """
        stage = self.asset.path[0]
        if stage == "models":
            version = models.version_of(self.asset.path[-1], through)
            serving = f"{version} goes on serving" if version else "no version of it serves yet"
        elif stage == "evaluation":
            serving = "the rest goes on"
        else:
            unit = "week" if is_weekly else "day"
            serving = f"the release has an earlier {unit}, if there is one"
        return f"{self.reason}; {serving}"


def failures_of(
    events: Iterable[dg.DagsterEvent],
    selected: Collection[dg.AssetKey],
    graph: dg.BaseAssetGraph,
    run_id: str,
) -> list[Failure]:
    """The selected assets that a job did not make, those whose own step failed first.

    Args:
        events: of the job's run.
        selected: the assets that it was to make.
        graph: the asset graph, for the assets of a step and for what they need.
        run_id: of the run, for the message where no cause is known.
    """
    reasons: dict[str, str] = {}
    succeeded: dict[str, set[str]] = {}
    for event in events:
        if event.step_key is None or event.event_type not in _STEP_ENDS:
            continue
        node = event.step_key.split(".")[0]
        if event.event_type == DagsterEventType.STEP_FAILURE:
            reasons.setdefault(node, reason_of(event))
        else:
            succeeded.setdefault(node, set()).add(event.step_key)
    causes: dict[dg.AssetKey, str] = {}
    missing = set()
    for key in sorted(selected):
        node = graph.get(key).assets_def.node_def
        if node.name in reasons:
            causes[key] = reasons[node.name]
        elif len(succeeded.get(node.name, ())) < sum(1 for _ in node.iterate_op_defs()):
            missing.add(key)
    failures = [Failure(key, reason, True) for key, reason in causes.items()]
    for key in sorted(missing):
        needed = dg.AssetSelection.assets(key).upstream(include_self=False).resolve(graph)
        first = next((cause for cause in causes if cause in needed), None)
        reason = f"see run {run_id} in the UI" if first is None else causes[first]
        name = "" if first is None else f"it needs {'/'.join(first.path)}, which failed: "
        failures.append(Failure(key, f"{name}{reason}", False))
    return failures


def failures_of_run(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    selected: Collection[dg.AssetKey],
    graph: dg.BaseAssetGraph,
) -> list[Failure]:
    """The selected assets that a run that has ended did not make, by its events."""
    entries = instance.all_logs(run.run_id, of_type=_STEP_ENDS)
    events = (entry.get_dagster_event() for entry in entries)
    return failures_of(events, selected, graph, run.run_id)


def reason_of(event: dg.DagsterEvent) -> str:
    """The step of a failure, and its first cause without the traceback."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return f"{event.step_key}: {data.user_failure_data.description}"
    return f"{event.step_key}: {first_cause(data.error)}"


def first_cause(error: Any) -> str:
    """The message of the first cause of an error that Dagster has recorded, which may be None."""
    while error is not None and error.cause is not None:
        error = error.cause
    # The name of the error without its module's.
    return _MODULE.sub("", error.message.strip()) if error is not None else "no reason is known"
