"""`lstm` and `gru`: bidirectional recurrent nets with the maximum over time.

Hochreiter and Schmidhuber 1997; Cho et al. 2014.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from batch_predictions.models.sentiment.models.net import NetArchitecture, NetShape, net_spec

if TYPE_CHECKING:
    from torch import Tensor, nn


def build_recurrent(cell: str, shape: NetShape) -> nn.Module:
    """Builds the torch module of an LSTM or GRU with random weights.

    Args:
        cell: name of torch's class: LSTM or GRU.
        shape: dimensions.
    """
    module: nn.Module = _module_class()(cell, shape)
    return module


@cache
def _module_class() -> Any:
    """Defines the class of the module at the first use, because it needs torch."""
    import torch
    from torch import nn

    class RecurrentModule(nn.Module):
        """Network from ids (texts, longest) and lengths (texts,) to logits (texts, classes).

        The maximum over time of the states; the second direction reads the reversed text. Each
        direction starts with the first word that it reads and padding comes last, so that no state
        that counts has seen padding: sequences need not be packed, and the fused kernels run on
        the whole batch.
        """

        def __init__(self, cell: str, shape: NetShape) -> None:
            super().__init__()
            width, size = shape.embedding_width, shape.hidden_size
            cell_class: Any = getattr(nn, cell)
            self.embedding = nn.Embedding(shape.vocabulary_size, width, padding_idx=0, sparse=True)
            # Stored files are named after these attributes.
            self.onward = cell_class(width, size, batch_first=True)
            self.back = cell_class(width, size, batch_first=True) if shape.bidirectional else None
            self.dropout = nn.Dropout(shape.dropout)
            self.out = nn.Linear(size * (2 if shape.bidirectional else 1), shape.classes)

        def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
            """Logits of a batch."""
            positions = torch.arange(ids.shape[1], device=ids.device)
            is_word = positions < lengths[:, None]
            embedded = self.dropout(self.embedding(ids))
            mask = torch.where(is_word, 0.0, -1e4)[:, :, None].to(embedded.dtype)
            pooled = [(self.onward(embedded)[0] + mask).amax(dim=1)]
            if self.back is not None:
                reversed_positions = torch.where(
                    is_word, lengths[:, None] - 1 - positions, positions
                )
                # Selecting rows of the flattened batch is faster than `gather`, which selects
                # single numbers.
                offsets = torch.arange(len(ids), device=ids.device)[:, None] * ids.shape[1]
                rows = embedded.flatten(0, 1).index_select(
                    0, (offsets + reversed_positions).flatten()
                )
                pooled.append((self.back(rows.view_as(embedded))[0] + mask).amax(dim=1))
            return self.out(self.dropout(torch.cat(pooled, dim=1)))

    return RecurrentModule


GRU = NetArchitecture("gru", partial(build_recurrent, "GRU"))
gru = net_spec(GRU)


LSTM = NetArchitecture("lstm", partial(build_recurrent, "LSTM"))
lstm = net_spec(LSTM)
