"""Settings of prices, by which `evaluation.costs` is computed."""

from __future__ import annotations

from pydantic import Field

from batch_predictions.settings.section import Section


class CostsSettings(Section):
    """Prices in a currency of your own, for `evaluation.costs` and `batch-predictions costs`."""

    core_hour: float = Field(0.0, ge=0, description="Price of a core for an hour.")
    gpu_hour: float = Field(
        0.0, ge=0, description="Price of a GPU for an hour; charged while a step scores on one."
    )
    gib_month: float = Field(0.0, ge=0, description="Price of a written GiB for a month.")
