"""The base of the CNN, LSTM and GRU: vocabulary, training, batched scoring and storage.

The torch module of each net is in the net's own file, as a `NetArchitecture`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
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
    build_model,
)
from batch_predictions.models.sentiment.models.net_training import NetParameters, train_net
from batch_predictions.models.sentiment.text.documents import (
    Documents,
    Vocabulary,
    batches_by_length,
    pad,
)
from batch_predictions.models.sentiment.text.labelled_reviews import Labels
from batch_predictions.models.sentiment.text.pretrained_vectors import (
    WordPieceTokenizer,
    read_vectors,
    read_wordpieces,
)

if TYPE_CHECKING:
    from torch import nn

NET_FILE = "net.json"
"""A file that only the folders of stored nets have."""
MAX_TOKENS = 256
"""Tokens of a text that are read; few reviews are longer."""
SHAPE_KEYS = ("both", "words", "width", "size", "classes", "dropout")
"""Keys of the fields of `NetShape` in `NET_FILE`."""


@dataclass(frozen=True)
class NetShape:
    """Dimensions of a net.

    Attributes:
        bidirectional: whether a recurrent net also reads the text backwards.
        vocabulary_size: rows of the embedding table, padding and unknown included.
        embedding_width: components of a word vector.
        hidden_size: filters of each width (CNN) or hidden units of each direction (LSTM, GRU).
        classes: number of classes.
        dropout: probability of dropout, of word vectors and before the last layer.
    """

    bidirectional: bool
    vocabulary_size: int
    embedding_width: int
    hidden_size: int
    classes: int
    dropout: float

    def to_json(self) -> dict[str, Any]:
        """The shape under the keys of `net.json`."""
        return dict(zip(SHAPE_KEYS, astuple(self), strict=True))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Reads what `to_json` gave; further keys are ignored."""
        return cls(*(values[key] for key in SHAPE_KEYS))


@dataclass(frozen=True)
class NetArchitecture:
    """A kind of neural network over the words of a text.

    Attributes:
        name: of the model, and in stored files.
        build_module: a torch module that maps token ids (texts, longest) and lengths (texts,) to
            logits (texts, classes), and whose word vectors are `embedding`. Padding must not
            change the logits. Names of its parameters become names of stored files.
        default_hidden_size: `hidden_size` without the option `size`.
    """

    name: str
    build_module: Callable[[NetShape], nn.Module]
    default_hidden_size: int = 64


def net_spec(architecture: NetArchitecture) -> SentimentModelSpec:
    """Returns the declaration of a net as a sentiment model."""
    make = partial(NetModel, architecture)
    return SentimentModelSpec(architecture.name, make, "net", NetParameters)


class NetModel(SentimentModel):
    """A net over the words of a text.

    Args:
        architecture: which net.
        bidirectional: whether a recurrent net also reads the text backwards.
    """

    kind: ClassVar[str] = "net"

    def __init__(self, architecture: NetArchitecture, bidirectional: bool = True) -> None:
        self.architecture = architecture
        self.bidirectional = bidirectional
        self.vocabulary: Vocabulary | WordPieceTokenizer = Vocabulary(())
        self.shape: NetShape | None = None
        self.module: nn.Module | None = None

    def fit(
        self,
        documents: Documents,
        labels: Labels,
        held_out: tuple[Documents, Labels],
        training: ModelTraining,
    ) -> Self:
        """Trains with one thread, so that the same input gives the same weights.

        Vocabulary: the tokens of the documents or, with pretrained vectors, also those of the
        file. For early stopping and weight averaging see `net_training`.
        """
        import torch

        parameters = training.parameters(NetParameters)
        torch.manual_seed(training.seed)
        vectors = self._build_vocabulary(documents, training, parameters)
        self.shape = NetShape(
            bidirectional=self.bidirectional,
            vocabulary_size=len(self.vocabulary),
            embedding_width=parameters.width if vectors is None else vectors.shape[1],
            hidden_size=_or_default(parameters.size, self.architecture.default_hidden_size),
            classes=training.classes,
            dropout=parameters.dropout,
        )
        self.module = self.architecture.build_module(self.shape)
        with torch.no_grad():
            embedding = self.module.get_parameter("embedding.weight")
            embedding.mul_(0.25)
            if vectors is not None:
                embedding.copy_(torch.from_numpy(vectors * parameters.vector_scale))
        held_out_documents, held_out_labels = held_out
        with one_torch_thread():
            train_net(
                self.module,
                self.vocabulary.encode(documents.token_ids, MAX_TOKENS),
                labels,
                score_held_out=lambda: self.log_scores(held_out_documents),
                held_out_labels=held_out_labels,
                parameters=parameters,
                name=self.architecture.name,
                training=training,
            )
        return self

    def _build_vocabulary(
        self, documents: Documents, training: ModelTraining, parameters: NetParameters
    ) -> Floats | None:
        """Sets the vocabulary; returns its pretrained vectors (len, width), if there are any."""
        path = training.vectors
        if path is None:
            self.vocabulary = Vocabulary.build(documents.tokens)
            return None
        if path.is_dir():
            width = _or_default(parameters.vector_width, 384)
            self.vocabulary, vectors = read_wordpieces(path, width)
        else:
            width = _or_default(parameters.vector_width, 192)
            words = Vocabulary.build(documents.tokens, min_df=1)
            self.vocabulary, vectors = read_vectors(path, words, training.seed, width)
        return vectors

    def log_scores(self, documents: Documents) -> Floats:
        """Computes logits by batches, (documents, classes)."""
        import torch

        assert self.module is not None and self.shape is not None
        ids = self.vocabulary.encode(documents.token_ids, MAX_TOKENS)
        self.module.eval()
        device = next(self.module.parameters()).device
        scores = np.zeros((len(ids), self.shape.classes), np.float32)
        with torch.inference_mode():
            for batch in batches_by_length(ids.lengths):
                padded, lengths = pad(ids, batch)
                batch_ids, sizes = torch.from_numpy(padded), torch.from_numpy(lengths)
                logits = self.module(batch_ids.to(device), sizes.to(device))
                scores[batch] = logits.float().cpu().numpy()
        return scores

    def save(self, folder: Path) -> None:
        """Writes shape and vocabulary as JSON, weights as .npy."""
        assert self.module is not None and self.shape is not None
        manifest = {
            "net": self.architecture.name,
            **self.shape.to_json(),
            "vocabulary": list(self.vocabulary.tokens),
        }
        if isinstance(self.vocabulary, WordPieceTokenizer):
            manifest["folded"] = self.vocabulary.strip_accents
        (folder / NET_FILE).write_text(json.dumps(manifest, ensure_ascii=False), "utf-8")
        save_weights(self.module, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote; the architecture is found by the name of its model."""
        manifest = json.loads((folder / NET_FILE).read_text("utf-8"))
        declared = build_model(manifest["net"])
        assert isinstance(declared, NetModel), f"{manifest['net']} is not declared by net_spec"
        shape = NetShape.from_json(manifest)
        model = cls(declared.architecture, shape.bidirectional)
        tokens, strip_accents = tuple(manifest["vocabulary"]), manifest.get("folded")
        model.vocabulary = (
            Vocabulary(tokens)
            if strip_accents is None
            else WordPieceTokenizer(tokens, strip_accents)
        )
        model.shape = shape
        model.module = model.architecture.build_module(shape)
        load_weights(model.module, folder)
        model.module.eval()
        return model

    def to_device(self, device: str) -> Self:
        """Moves the weights to a GPU, or to bfloat16 where the processor multiplies it natively."""
        import torch

        assert self.module is not None
        if device != "cpu":
            self.module.to(device)
        elif has_native_bf16():
            self.module.to(torch.bfloat16)
        return self


def _or_default(value: int | None, default: int) -> int:
    return default if value is None else value
