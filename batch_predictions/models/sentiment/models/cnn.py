"""`cnn`: convolutions over words and the maximum over time (Kim 2014)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from batch_predictions.models.sentiment.models.net import NetArchitecture, NetShape, net_spec

if TYPE_CHECKING:
    from torch import Tensor, nn

FILTER_WIDTHS = (3, 4, 5)


def build_cnn(shape: NetShape) -> nn.Module:
    """Builds the torch module of the CNN with random weights."""
    module: nn.Module = _module_class()(shape)
    return module


@cache
def _module_class() -> Any:
    """Defines the class of the module at the first use, because it needs torch."""
    import torch
    from torch import nn

    class CNNModule(nn.Module):
        """Network from ids (texts, longest) and lengths (texts,) to logits (texts, classes).

        Filters may extend beyond the ends of a text, where they see zeros. The maximum is taken
        over the windows that are centred on words, so that padding changes nothing.
        """

        def __init__(self, shape: NetShape) -> None:
            super().__init__()
            width, size = shape.embedding_width, shape.hidden_size
            self.embedding = nn.Embedding(shape.vocabulary_size, width, padding_idx=0, sparse=True)
            self.convolutions = nn.ModuleList(
                nn.Conv1d(width, size, words, padding=words // 2) for words in FILTER_WIDTHS
            )
            self.dropout = nn.Dropout(shape.dropout)
            self.out = nn.Linear(size * len(FILTER_WIDTHS), shape.classes)

        def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
            """Logits of a batch."""
            longest = ids.shape[1]
            embedded = self.dropout(self.embedding(ids)).transpose(1, 2)
            is_word = torch.arange(longest, device=ids.device) < lengths[:, None]
            mask = torch.where(is_word, 0.0, -1e4).to(embedded.dtype)[:, None]
            # Filters of even width give one window more, which is not centred on a word.
            pooled = [
                torch.relu((convolution(embedded)[:, :, :longest] + mask).amax(dim=2))
                for convolution in self.convolutions
            ]
            return self.out(self.dropout(torch.cat(pooled, dim=1)))

    return CNNModule


CNN = NetArchitecture("cnn", build_cnn, default_hidden_size=100)
cnn = net_spec(CNN)
