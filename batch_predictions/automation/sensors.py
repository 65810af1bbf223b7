"""The sensor for users who signed up since the last release."""

from __future__ import annotations

import dagster as dg

from batch_predictions.home import read_state
from batch_predictions.serving.release.pointer import read_pointer
from batch_predictions.serving.sign_ups import add_sign_ups
from batch_predictions.serving.store.schema import Store
from batch_predictions.settings import Settings
from batch_predictions.sources import registry
from batch_predictions.sources.sign_ups import new_sign_ups
from batch_predictions.warehouse import Warehouse


@dg.sensor(
    name="new_sign_ups",
    description="Adds new users with their demographics to the release that is served, so that a "
    "lookup by their id returns the list of their demographic segment.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def sign_ups(
    context: dg.SensorEvaluationContext,
    warehouse: Warehouse,
    settings: dg.ResourceParam[Settings],
) -> dg.SensorResult:
    """Polls the source's users.

    The cursor is the source's fingerprint, so that an unchanged source is not read.
    """
    with Store.of(settings) as store:
        with store.read() as db:
            served = read_pointer(db)
        if served is None:
            return dg.SensorResult(skip_reason="no release is served yet", cursor=context.cursor)
        source = registry.source_of(settings, read_state(settings.home))
        # A release keeps earlier sign-ups; those that it does not know are added.
        users, cursor = new_sign_ups(warehouse, source, context.cursor)
        added = add_sign_ups(store, users.to_pylist())
    note = f"{added} sign-ups added to release {served.release_id}" if added else "no new sign-ups"
    context.log.info(note)
    return dg.SensorResult(skip_reason=note, cursor=cursor)
