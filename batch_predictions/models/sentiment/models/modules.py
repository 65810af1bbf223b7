"""The torch modules: a convolutional net and recurrent nets that never read padding.

Every module maps ids (texts, longest) and lengths (texts,) to logits (texts, classes).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

WIDTHS = (3, 4, 5)


def module_of(about: dict[str, Any]) -> nn.Module:
    """A module of its description (see `nets.NetPart`)."""
    cnn, recurrent = _kinds()
    shape = (about["words"], about["width"], about["size"], about["classes"], about["dropout"])
    if about["net"] == "cnn":
        return cnn(*shape)
    return recurrent(about["net"], *shape, both=about["both"])


@cache
def _kinds() -> tuple[Any, Any]:
    """The classes, made at their first use: they stand on torch, which is loaded late."""
    import torch
    from torch import nn

    class Cnn(nn.Module):
        """Convolution over words and maximum over time (Kim 2014).

        A window may reach over an end of the text, where it sees zeros; a maximum is taken over the
        windows centred on words, so that padding changes nothing.
        """

        def __init__(self, words: int, width: int, size: int, classes: int, dropout: float) -> None:
            super().__init__()
            self.embedding = nn.Embedding(words, width, padding_idx=0, sparse=True)
            self.convolutions = nn.ModuleList(
                nn.Conv1d(width, size, each, padding=each // 2) for each in WIDTHS
            )
            self.dropout = nn.Dropout(dropout)
            self.out = nn.Linear(size * len(WIDTHS), classes)

        def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
            """Logits of a batch."""
            longest = ids.shape[1]
            embedded = self.dropout(self.embedding(ids)).transpose(1, 2)
            inside = torch.arange(longest, device=ids.device) < lengths[:, None]
            beyond = torch.where(inside, 0.0, -1e4).to(embedded.dtype)[:, None]
            # Even widths give one window more: it is centred on no word.
            pooled = [
                torch.relu((each(embedded)[:, :, :longest] + beyond).amax(dim=2))
                for each in self.convolutions
            ]
            return self.out(self.dropout(torch.cat(pooled, dim=1)))

    class Recurrent(nn.Module):
        """LSTM or GRU with the maximum over time; the second direction reads the text turned round.

        Each direction begins with the text's own word and padding follows it, so that no state that
        counts has read any: no packing is needed, and the fused kernels work on the whole batch.
        """

        def __init__(
            self,
            cell: str,
            words: int,
            width: int,
            size: int,
            classes: int,
            dropout: float,
            both: bool,
        ) -> None:
            super().__init__()
            kind: Any = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
            self.embedding = nn.Embedding(words, width, padding_idx=0, sparse=True)
            self.onward = kind(width, size, batch_first=True)
            self.back = kind(width, size, batch_first=True) if both else None
            self.dropout = nn.Dropout(dropout)
            self.out = nn.Linear(size * (2 if both else 1), classes)

        def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
            """Logits of a batch."""
            places = torch.arange(ids.shape[1], device=ids.device)
            inside = places < lengths[:, None]
            beyond = torch.where(inside, 0.0, -1e4)[:, :, None]
            embedded = self.dropout(self.embedding(ids))
            beyond = beyond.to(embedded.dtype)
            pooled = [(self.onward(embedded)[0] + beyond).amax(dim=1)]
            if self.back is not None:
                turned = torch.where(inside, lengths[:, None] - 1 - places, places)
                # Whole rows of the batch laid flat: `gather` takes number by number.
                first = torch.arange(len(ids), device=ids.device)[:, None] * ids.shape[1]
                rows = embedded.flatten(0, 1).index_select(0, (first + turned).flatten())
                pooled.append((self.back(rows.view_as(embedded))[0] + beyond).amax(dim=1))
            return self.out(self.dropout(torch.cat(pooled, dim=1)))

    return Cnn, Recurrent
