"""`encoder`: a pretrained transformer from a local Hugging Face folder, fine-tuned or frozen.

The mean of its last hidden states over the word pieces, dropout, and a linear head. Needs the extra
`encoder` (transformers); the folder must exist on this machine, nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from batch_predictions.core.arrays import Floats
from batch_predictions.models.common.torch_cpu import (
    has_native_bf16,
    load_weights,
    one_torch_thread,
    save_weights,
)
from batch_predictions.models.sentiment.models.base import (
    ModelTraining,
    SentimentModel,
    SentimentModelSpec,
    coefficients_by_class,
)
from batch_predictions.models.sentiment.text.documents import (
    Documents,
    batches_by_length,
    pad,
    shuffled_batches,
)
from batch_predictions.models.sentiment.text.labelled_reviews import Labels
from batch_predictions.models.sentiment.text.token_ids import Ints, RaggedArray

if TYPE_CHECKING:
    from torch import Tensor, nn, optim

MAX_PIECES = 256
"""Word pieces of a text that are read."""
TRAINING_BATCH_SIZE = 32
"""Texts of one training step."""


class EncoderError(RuntimeError):
    """The encoder cannot be used; the message says what to install or to set."""


@dataclass(frozen=True)
class EncoderParameters:
    """Parameters of the model `encoder`.

    Attributes:
        encoder_epochs: epochs of fine-tuning.
        encoder_rate: highest learning rate of fine-tuning.
        encoder_words: whether the table of word vectors is fine-tuned too.
        frozen: fit only the head, on hidden states that are computed once.
        frozen_c: inverse strength of the L2 penalty of that head.
    """

    encoder_epochs: int = 2
    encoder_rate: float = 1.6e-4
    # A few thousand reviews contain little information about single words.
    encoder_words: bool = False
    frozen: bool = False
    # The hundreds of hidden states are correlated: they need a strong penalty.
    frozen_c: float = 0.003


class EncoderModel(SentimentModel):
    """A transformer with a linear head."""

    kind: ClassVar[str] = "encoder"

    def __init__(self) -> None:
        self.module: Any = None
        """A torch ModuleDict of `body` and `head`; stored files are named after its weights."""
        self.tokenizer: Any = None
        self.classes = 0

    def fit(
        self,
        documents: Documents,
        labels: Labels,
        held_out: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> Self:
        """Fine-tunes body and head; with `frozen`, fits the head only.

        Uses one thread, so that the same input gives the same weights. Products are in bfloat16
        where the processor has it; weights and their updates are in single precision.

        Raises:
            EncoderError: there is no folder, or transformers is not installed.
        """
        import torch

        if training.encoder is None:
            raise EncoderError("the encoder needs sentiment.encoder: a local Hugging Face folder")
        parameters = training.parameters(EncoderParameters)
        torch.manual_seed(training.seed)
        self.classes = training.classes
        self._load_transformer(training.encoder)
        with one_torch_thread():
            if parameters.frozen:
                self._fit_head(documents, labels, parameters, training)
            else:
                self._fine_tune(documents, labels, held_out, parameters, training)
        return self

    def _fit_head(
        self,
        documents: Documents,
        labels: Labels,
        parameters: EncoderParameters,
        training: ModelTraining,
    ) -> None:
        """Fits a logistic regression on mean hidden states, which are scaled to variance 1."""
        import torch
        from sklearn.linear_model import LogisticRegression

        started = time.perf_counter()
        head = self.module["head"][1]
        with torch.autocast("cpu", torch.bfloat16, enabled=has_native_bf16()):
            states = self._in_batches(documents, self._mean_states, head.in_features)
        mean, deviation = states.mean(axis=0), states.std(axis=0) + 1e-6
        model = LogisticRegression(C=parameters.frozen_c, max_iter=200)
        model.fit((states - mean) / deviation, labels)
        weights, bias = coefficients_by_class(model, self.classes)
        # The head takes unscaled states.
        weights = weights / deviation
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weights))
            head.bias.copy_(torch.from_numpy(bias - weights @ mean))
        training.progress(f"encoder: head fitted, {time.perf_counter() - started:.1f} s")

    def _fine_tune(
        self,
        documents: Documents,
        labels: Labels,
        held_out: tuple[Documents, Labels],
        parameters: EncoderParameters,
        training: ModelTraining,
    ) -> None:
        """Fine-tunes by AdamW with warm-up; keeps the epoch with the lowest held-out loss."""
        import torch
        from torch.nn.functional import cross_entropy

        if not parameters.encoder_words:
            self.module["body"].get_input_embeddings().requires_grad_(False)
        trained = [p for p in self.module.parameters() if p.requires_grad]
        ids, truth = self._encode(documents), torch.from_numpy(labels)
        steps = parameters.encoder_epochs * -(-len(ids) // TRAINING_BATCH_SIZE)
        optimiser, schedule = _build_optimiser(trained, parameters.encoder_rate, steps)
        random = np.random.default_rng(training.seed)
        best_loss, best_weights, started = np.inf, None, time.perf_counter()
        for epoch in range(1, parameters.encoder_epochs + 1):
            self.module.train()
            for batch in shuffled_batches(ids.lengths, TRAINING_BATCH_SIZE, random):
                with torch.autocast("cpu", torch.bfloat16, enabled=has_native_bf16()):
                    logits = self._logits(ids, batch)
                loss = cross_entropy(logits.float(), truth[batch])
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimiser.step()
                schedule.step()
            scores = torch.from_numpy(self.log_scores(held_out[0]))
            held_out_loss = float(cross_entropy(scores, torch.from_numpy(held_out[1])))
            training.progress(
                f"encoder: epoch {epoch}, held-out loss {held_out_loss:.4f}, "
                f"{time.perf_counter() - started:.1f} s"
            )
            if held_out_loss < best_loss:
                best_loss = held_out_loss
                best_weights = {k: v.clone() for k, v in self.module.state_dict().items()}
        if best_weights is not None:
            self.module.load_state_dict(best_weights)

    def log_scores(self, documents: Documents) -> Floats:
        """Computes logits by batches, (documents, classes)."""
        return self._in_batches(documents, self._logits, self.classes)

    def _in_batches(
        self, documents: Documents, compute: Callable[[RaggedArray, Ints], Tensor], columns: int
    ) -> Floats:
        """Applies the module to documents in batches of similar length, (documents, columns).

        Args:
            documents: the texts.
            compute: `_logits` or `_mean_states`.
            columns: columns of its result.
        """
        import torch

        ids = self._encode(documents)
        self.module.eval()
        results = np.zeros((len(ids), columns), np.float32)
        with torch.inference_mode():
            for batch in batches_by_length(ids.lengths):
                results[batch] = compute(ids, batch).float().numpy()
        return results

    def _logits(self, ids: RaggedArray, batch: Ints) -> Tensor:
        """Logits of the texts at these indices, (texts, classes)."""
        logits: Tensor = self.module["head"](self._mean_states(ids, batch))
        return logits

    def _mean_states(self, ids: RaggedArray, batch: Ints) -> Tensor:
        """Mean of the last hidden states over the word pieces, (texts, width)."""
        import torch

        padded, lengths = pad(ids, batch)
        mask = torch.from_numpy(np.arange(padded.shape[1]) < lengths[:, np.newaxis])
        states: Tensor = self.module["body"](
            input_ids=torch.from_numpy(padded), attention_mask=mask.long()
        ).last_hidden_state
        weights = mask.unsqueeze(2).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)

    def _encode(self, documents: Documents) -> RaggedArray:
        """Ids of the word pieces, by the encoder's tokenizer."""
        encoded = self.tokenizer(list(documents), truncation=True, max_length=MAX_PIECES)
        return RaggedArray.from_rows(encoded["input_ids"])

    def _load_transformer(self, folder: Path, config_only: bool = False) -> None:
        """Loads tokenizer and body, and adds a random head.

        Args:
            folder: Hugging Face folder.
            config_only: build the body without reading its weights, which the caller will set.
        """
        import torch

        os.environ["HF_HUB_OFFLINE"] = "1"
        try:
            from transformers import AutoConfig, AutoModel, AutoTokenizer
        except ImportError as error:
            raise EncoderError(
                "the encoder needs the extra: pip install 'batch-predictions[encoder]'"
            ) from error
        if not (folder / "config.json").is_file():
            raise EncoderError(
                f"sentiment.encoder: {folder} is no Hugging Face folder (it has no config.json)"
            )
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
        """Writes configuration and tokenizer as Hugging Face does, weights as .npy."""
        self.module["body"].config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / "encoder.json").write_text(json.dumps({"classes": self.classes}), "utf-8")
        save_weights(self.module, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        model = cls()
        model.classes = json.loads((folder / "encoder.json").read_text("utf-8"))["classes"]
        model._load_transformer(folder, config_only=True)
        load_weights(model.module, folder)
        model.module.eval()
        return model


def _build_optimiser(
    trained: list[nn.Parameter], rate: float, steps: int
) -> tuple[optim.Optimizer, optim.lr_scheduler.LRScheduler]:
    """AdamW; its rate rises linearly for a tenth of the steps and then falls linearly to 0."""
    import torch

    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda n: min((n + 1) / (0.1 * steps + 1), (steps - n) / (0.9 * steps + 1))
    )
    return optimiser, schedule


encoder = SentimentModelSpec("encoder", EncoderModel, "encoder", EncoderParameters)
