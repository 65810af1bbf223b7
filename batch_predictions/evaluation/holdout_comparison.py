"""Compares the customers of an audience who were contacted with those who were held out."""

from __future__ import annotations

from dataclasses import dataclass

from batch_predictions.evaluation.realized_metric import realized_row
from batch_predictions.models.common.intervals import Row, proportion, proportion_difference


@dataclass(frozen=True)
class AudienceGroup:
    """Counts of one part of an audience: those to contact, or those held out.

    Attributes:
        customers: number of customers.
        responded: how many of them did what the audience was made for.
        exported: how many of them were on an exported list.
    """

    customers: int = 0
    responded: int = 0
    exported: int = 0


def compare_with_holdout(
    model: str, response: str, contacted: AudienceGroup, held_out: AudienceGroup, suffix: str = ""
) -> list[Row]:
    """Shares of customers who responded in both groups, and their difference.

    The difference is named `uplift`. If no list was exported, no customer was contacted: the
    difference is then named `placebo`, and shows the size of differences that are due to chance.

    Args:
        model: of the rows, such as retention.
        response: begins the names of the shares, such as returned.
        contacted: the customers to contact.
        held_out: the customers who must not be contacted.
        suffix: ends the names of all metrics, such as `:<campaign>`.
    """
    was_exported = contacted.exported > 0
    shares = {"contacted" if was_exported else "listed": contacted, "held_out": held_out}
    rows = [
        realized_row(
            model, f"{response}_{name}{suffix}", proportion(group.responded, group.customers)
        )
        for name, group in shares.items()
        if group.customers
    ]
    if contacted.customers and held_out.customers:
        difference = proportion_difference(
            contacted.responded, contacted.customers, held_out.responded, held_out.customers
        )
        name = "uplift" if was_exported else "placebo"
        rows.append(realized_row(model, f"{name}{suffix}", difference))
    return rows
