"""The optional part: a pretrained encoder from a local Hugging Face folder, fine-tuned or frozen.

Needs the extra `encoder` (transformers). Nothing is fetched: the folder must be on this machine.
Mean of the last states over the words, dropout, a linear head.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from batch_predictions.models.common.torch_threads import one_torch_thread
from batch_predictions.models.sentiment.data import Labels
from batch_predictions.models.sentiment.models.base import Floats, ModelTraining, class_counts
from batch_predictions.models.sentiment.models.batching import by_length, padded, shuffled
from batch_predictions.models.sentiment.models.cpu_features import native_bf16
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.ragged import Places, RaggedArray

if TYPE_CHECKING:
    from torch import Tensor

LONGEST, BATCH = 256, 32
"""Word pieces read of a text, and texts of one step of training."""


class EncoderError(RuntimeError):
    """The encoder cannot be used; the message says what to install or set."""


class EncoderModel:
    """A transformer with a linear head. With option `frozen` 1 the head alone is fitted, on states
    that are computed once: a tenth of the time of fine-tuning."""

    kind: ClassVar[str] = "encoder"

    def __init__(self) -> None:
        self.module: Any = None
        self.tokenizer: Any = None
        self.classes = 0

    def fit(
        self,
        documents: Documents,
        labels: Labels,
        held: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> Self:
        """AdamW with linear warm-up and decay; the best epoch by held-out loss is kept. Frozen, a
        logistic regression.

        Products are in bfloat16 where the processor has it natively (weights and their updates
        stay in single precision), and one thread, so that a fit repeats.
        """
        import torch

        if training.encoder is None:
            raise EncoderError("the encoder needs sentiment.encoder: a local Hugging Face folder")
        torch.manual_seed(training.seed)
        self.classes = training.classes
        self._open(training.encoder)
        with one_torch_thread():
            if training.option("frozen", 0):
                self._fit_head(documents, labels, training)
            else:
                self._train(documents, labels, held, training)
        return self

    def _fit_head(self, documents: Documents, labels: Labels, training: ModelTraining) -> None:
        """Logistic regression on mean states, each of variance 1, by L-BFGS."""
        import torch
        from sklearn.linear_model import LogisticRegression

        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=native_bf16()):
            pooled = self._by_batch(documents, self._pooled, self.module["head"][1].in_features)
        mean, spread = pooled.mean(axis=0), pooled.std(axis=0) + 1e-6
        # Hundreds of states that go together say little each: they are held firmly.
        model = LogisticRegression(C=training.option("frozen_c", 0.003), max_iter=200)
        model.fit((pooled - mean) / spread, labels)
        weights, bias = class_counts(model, self.classes)
        weights = weights / spread
        with torch.no_grad():
            head = self.module["head"][1]
            head.weight.copy_(torch.from_numpy(weights))
            head.bias.copy_(torch.from_numpy(bias - weights @ mean))
        training.progress(f"encoder: head fitted, {time.perf_counter() - began:.1f} s")

    def _train(
        self,
        documents: Documents,
        labels: Labels,
        held: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        if not training.option("encoder_words", 0):
            # A few thousand reviews teach little of single words; a fifth of the time is saved.
            self.module["body"].get_input_embeddings().requires_grad_(False)
        trained = [p for p in self.module.parameters() if p.requires_grad]
        rate = training.option("encoder_rate", 1.6e-4)
        optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01, fused=True)
        ids = self._encode(documents)
        truth = torch.from_numpy(labels)
        random = np.random.default_rng(training.seed)
        epochs = int(training.option("encoder_epochs", 2))
        steps = epochs * -(-len(ids) // BATCH)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda n: min((n + 1) / (0.1 * steps + 1), (steps - n) / (0.9 * steps + 1))
        )
        best, kept, began = np.inf, None, time.perf_counter()
        for epoch in range(1, epochs + 1):
            self.module.train()
            for places in shuffled(ids.lengths, BATCH, random):
                with torch.autocast("cpu", torch.bfloat16, enabled=native_bf16()):
                    logits = self._logits(ids, places)
                loss = cross_entropy(logits.float(), truth[places])
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimiser.step()
                schedule.step()
            scores = torch.from_numpy(self.log_scores(held[0]))
            value = float(cross_entropy(scores, torch.from_numpy(held[1])))
            took = time.perf_counter() - began
            training.progress(f"encoder: epoch {epoch}, held-out loss {value:.4f}, {took:.1f} s")
            if value < best:
                best = value
                kept = {k: v.clone() for k, v in self.module.state_dict().items()}
        if kept is not None:
            self.module.load_state_dict(kept)

    def log_scores(self, documents: Documents) -> Floats:
        """Logits, (n, classes)."""
        return self._by_batch(documents, self._logits, self.classes)

    def _by_batch(
        self, documents: Documents, work: Callable[[RaggedArray, Places], Tensor], columns: int
    ) -> Floats:
        """What the module makes of documents, (n, columns), in batches of texts of a length."""
        import torch

        ids = self._encode(documents)
        self.module.eval()
        out = np.zeros((len(ids), columns), np.float32)
        with torch.inference_mode():
            for places in by_length(ids.lengths):
                out[places] = work(ids, places).float().numpy()
        return out

    def _logits(self, ids: RaggedArray, places: Places) -> Tensor:
        logits: Tensor = self.module["head"](self._pooled(ids, places))
        return logits

    def _pooled(self, ids: RaggedArray, places: Places) -> Tensor:
        """Mean of the last states over the words, (texts, width)."""
        import torch

        filled, lengths = padded(ids, places)
        mask = torch.from_numpy(np.arange(filled.shape[1]) < lengths[:, np.newaxis])
        states: Tensor = self.module["body"](
            input_ids=torch.from_numpy(filled), attention_mask=mask.long()
        ).last_hidden_state
        weight = mask.unsqueeze(2).to(states.dtype)
        return (states * weight).sum(dim=1) / weight.sum(dim=1)

    def _encode(self, documents: Documents) -> RaggedArray:
        encoded = self.tokenizer(list(documents), truncation=True, max_length=LONGEST)
        return RaggedArray.of(encoded["input_ids"])

    def _open(self, folder: Path, config_only: bool = False) -> None:
        import torch

        os.environ["HF_HUB_OFFLINE"] = "1"
        try:
            from transformers import AutoConfig, AutoModel, AutoTokenizer
        except ImportError as error:
            raise EncoderError(
                "the encoder needs the extra: pip install 'batch-predictions[encoder]'"
            ) from error
        if not (folder / "config.json").is_file():
            raise EncoderError(f"sentiment.encoder {folder} is no Hugging Face folder")
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if config_only:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            body = AutoModel.from_config(config)
        else:
            body = AutoModel.from_pretrained(folder, local_files_only=True)
        head = torch.nn.Sequential(
            torch.nn.Dropout(0.1), torch.nn.Linear(body.config.hidden_size, self.classes)
        )
        self.module = torch.nn.ModuleDict({"body": body, "head": head})

    def save(self, folder: Path) -> None:
        """Configuration and tokenizer as Hugging Face writes them, weights as .npy."""
        self.module["body"].config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / "encoder.json").write_text(json.dumps({"classes": self.classes}), "utf-8")
        for name, value in self.module.state_dict().items():
            np.save(folder / f"{name}.npy", value.numpy())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        import torch

        made = cls()
        made.classes = json.loads((folder / "encoder.json").read_text("utf-8"))["classes"]
        made._open(folder, config_only=True)
        names = list(made.module.state_dict())
        made.module.load_state_dict(
            {name: torch.from_numpy(np.load(folder / f"{name}.npy")) for name in names}
        )
        made.module.eval()
        return made
