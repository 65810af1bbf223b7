"""The warehouse that the queries of a declaration read."""

from __future__ import annotations

from batch_predictions.tables.discovery import is_of_plugin
from batch_predictions.warehouse.warehouse import Warehouse


def warehouse_of_declaration(warehouse: Warehouse, declaration: object) -> Warehouse:
    """The warehouse that queries of a declaration read: of a plugin's, a deterministic one.

    The platform's own queries keep their threads: they add with `fsum`, and order by ids.

    Args:
        warehouse: of the home.
        declaration: a `Training`, `BatchPrediction`, `FeatureTable` or `RealizedMetric`.
    """
    return warehouse.deterministic() if is_of_plugin(declaration) else warehouse
