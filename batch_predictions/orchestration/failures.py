"""Tables and models that a job could not make, with the reason of each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import dagster as dg

from batch_predictions.core.durability import is_about_full_disk


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


def failures_of(
    result: dg.JobExecutionResult, selected: Collection[dg.AssetKey], graph: dg.BaseAssetGraph
) -> list[Failure]:
    """The selected assets that a job did not make, those whose own step failed first.

    Args:
        result: of the job.
        selected: the assets that it was to make.
        graph: the asset graph, for the assets of a step and for what they need.
    """
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    reasons = _reasons(result)
    causes: dict[dg.AssetKey, str] = {}
    for key in sorted(selected):
        node = graph.get(key).assets_def.node_def.name
        if node in reasons:
            causes[key] = reasons[node]
    failures = [Failure(key, reason, True) for key, reason in causes.items()]
    for key in sorted({*selected} - {*causes} - made):
        needed = dg.AssetSelection.assets(key).upstream(include_self=False).resolve(graph)
        first = next((cause for cause in causes if cause in needed), None)
        reason = f"see run {result.run_id} in the UI" if first is None else causes[first]
        name = "" if first is None else f"it needs {'/'.join(first.path)}, which failed: "
        failures.append(Failure(key, f"{name}{reason}", False))
    return failures


def _reasons(result: dg.JobExecutionResult) -> dict[str, str]:
    """The cause of each failed step without its traceback, by the node of its asset."""
    reasons: dict[str, str] = {}
    for event in result.all_events:
        if event.event_type_value != "STEP_FAILURE" or event.step_key is None:
            continue
        reasons.setdefault(event.step_key.split(".")[0], reason_of(event))
    return reasons


def reason_of(event: dg.DagsterEvent) -> str:
    """The step of a failure, and its first cause without the traceback."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return f"{event.step_key}: {data.user_failure_data.description}"
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    reason = error.message.strip() if error is not None else "no reason is known"
    return f"{event.step_key}: {reason}"
