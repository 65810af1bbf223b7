"""CNN, LSTM and GRU: vocabulary, training with early stopping, fast scoring."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from batch_predictions.models.common.torch_threads import one_torch_thread
from batch_predictions.models.sentiment.data import Labels
from batch_predictions.models.sentiment.models.base import Floats, ModelTraining
from batch_predictions.models.sentiment.models.batching import by_length, padded, shuffled
from batch_predictions.models.sentiment.models.cpu_features import native_bf16
from batch_predictions.models.sentiment.text.documents import Documents, Vocabulary
from batch_predictions.models.sentiment.text.vectors import read_vectors
from batch_predictions.models.sentiment.text.wordpiece import WordPieceTokenizer, read_pieces

if TYPE_CHECKING:
    from torch import Tensor, nn

LONGEST = 256
"""Tokens read of a text; reviews are shorter but for one in thousands."""


class NetModel:
    """A net over words. `net` is cnn, lstm or gru; `both` whether it reads both ways."""

    kind: ClassVar[str] = "net"

    def __init__(self, net: str, both: bool = True) -> None:
        self.about: dict[str, Any] = {"net": net, "both": both}
        self.vocabulary: Vocabulary | WordPieceTokenizer = Vocabulary(())
        self.module: nn.Module | None = None
        self.bf16 = False

    def fit(
        self,
        documents: Documents,
        labels: Labels,
        held: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> Self:
        """Adam with early stopping on the held-out loss; one thread, so that it repeats.

        With option `mean_from` there are all epochs, and the weights are the mean of those at the
        ends of that epoch and of the later ones (Izmailov et al. 2018).
        """
        import torch

        from batch_predictions.models.sentiment.models.modules import module_of

        net = self.about["net"]
        torch.manual_seed(training.seed)
        known = self._read_words(documents, training)
        width = int(training.option("width", 64)) if known is None else known.shape[1]
        size = int(training.option("size", 100 if net == "cnn" else 64))
        self.about |= {"words": len(self.vocabulary), "width": width, "size": size}
        self.about |= {"classes": training.classes, "dropout": training.option("dropout", 0.5)}
        self.module = module_of(self.about)
        with torch.no_grad():
            table = self.module.get_parameter("embedding.weight")
            table.mul_(0.25)
            if known is not None:
                table.copy_(torch.from_numpy(known * training.option("vector_scale", 1.0)))
        with one_torch_thread():
            self._train(documents, labels, held, training)
        return self

    def _read_words(self, documents: Documents, training: ModelTraining) -> Floats | None:
        """Sets the vocabulary; the vectors of its words (len, width) where some are given."""
        path = training.vectors
        if path is not None and path.is_dir():
            width = int(training.option("vector_width", 384))
            self.vocabulary, known = read_pieces(path, width)
            return known
        words = Vocabulary.of(documents.tokens, 1 if path else 2)
        self.vocabulary = words
        if path is None:
            return None
        width = int(training.option("vector_width", 192))
        self.vocabulary, known = read_vectors(path, words, training.seed, width)
        return known

    def _train(
        self,
        documents: Documents,
        labels: Labels,
        held: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        assert self.module is not None
        ids = self.vocabulary.encode(documents.coded, LONGEST)
        truth = torch.from_numpy(labels)
        dense = [p for n, p in self.module.named_parameters() if not n.startswith("embedding")]
        rate = training.option("rate", 2e-3)
        # Vectors that know the language already are moved with care.
        words_rate = rate * training.option("words_rate", 0.15 if training.vectors else 2.0)
        optimisers = [
            torch.optim.Adam(dense, lr=rate),
            torch.optim.SparseAdam([self.module.get_parameter("embedding.weight")], lr=words_rate),
        ]
        quick = native_bf16() and bool(training.option("bf16", 1 if training.vectors else 0))
        random = np.random.default_rng(training.seed)
        batch = 64 if len(ids) > 2_000 else 16
        mean_from = training.option("mean_from", np.inf)
        kept: dict[str, Tensor] = {}
        best, patience = np.inf, 0
        began = time.perf_counter()
        for epoch in range(1, int(training.option("epochs", 8)) + 1):
            self.module.train()
            for places in shuffled(ids.lengths, batch, random):
                filled, lengths = padded(ids, places)
                with torch.autocast("cpu", torch.bfloat16, enabled=quick):
                    logits = self.module(torch.from_numpy(filled), torch.from_numpy(lengths))
                loss = cross_entropy(logits.float(), truth[places])
                for each in optimisers:
                    each.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(dense, 5.0)
                for each in optimisers:
                    each.step()
            here = {k: v.clone() for k, v in self.module.state_dict().items()}
            if epoch >= mean_from:
                count = epoch - mean_from + 1
                kept = {k: kept[k] + (v - kept[k]) / count if kept else v for k, v in here.items()}
                self.module.load_state_dict(kept)
            scores = torch.from_numpy(self.log_scores(held[0]))
            value = float(cross_entropy(scores, torch.from_numpy(held[1])))
            training.progress(
                f"{self.about['net']}: epoch {epoch}, held-out loss {value:.4f}, "
                f"{time.perf_counter() - began:.1f} s"
            )
            if mean_from < np.inf:
                # Training goes on from where it was: the mean is only what is kept of it.
                self.module.load_state_dict(here)
            elif value < best - 1e-4:
                best, patience, kept = value, 0, here
            else:
                patience += 1
                if patience == int(training.option("patience", 2)):
                    break
        if kept:
            self.module.load_state_dict(kept)

    def log_scores(self, documents: Documents) -> Floats:
        """Logits, (n, classes); batches of texts of a length, in windows."""
        import torch

        assert self.module is not None
        ids = self.vocabulary.encode(documents.coded, LONGEST)
        self.module.eval()
        out = np.zeros((len(ids), self.about["classes"]), np.float32)
        with torch.inference_mode():
            for places in by_length(ids.lengths):
                filled, lengths = padded(ids, places)
                logits = self.module(torch.from_numpy(filled), torch.from_numpy(lengths))
                out[places] = logits.float().numpy()
        return out

    def save(self, folder: Path) -> None:
        """The description and words as JSON, weights as .npy."""
        assert self.module is not None
        about = {**self.about, "vocabulary": list(self.vocabulary.words)}
        if isinstance(self.vocabulary, WordPieceTokenizer):
            about["folded"] = self.vocabulary.folded
        (folder / "net.json").write_text(json.dumps(about, ensure_ascii=False), "utf-8")
        for name, value in self.module.state_dict().items():
            np.save(folder / f"{name}.npy", value.numpy())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        import torch

        from batch_predictions.models.sentiment.models.modules import module_of

        about = json.loads((folder / "net.json").read_text("utf-8"))
        made = cls(about["net"], about["both"])
        words = tuple(about.pop("vocabulary"))
        folded = about.pop("folded", None)
        made.vocabulary = Vocabulary(words) if folded is None else WordPieceTokenizer(words, folded)
        made.about = about
        made.module = module_of(about)
        names = list(made.module.state_dict())
        made.module.load_state_dict(
            {name: torch.from_numpy(np.load(folder / f"{name}.npy")) for name in names}
        )
        made.module.eval()
        return made

    def to_bf16(self) -> Self:
        """Weights in bfloat16 where the processor multiplies them natively and it is faster."""
        import torch

        if native_bf16() and self.module is not None:
            self.module.to(torch.bfloat16)
            self.bf16 = True
        return self
