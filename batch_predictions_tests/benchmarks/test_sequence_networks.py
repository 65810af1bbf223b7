"""The three networks of the comparison read histories that are longer than their windows."""

from __future__ import annotations

import numpy as np
import pytest

from batch_predictions.cli.commands.benchmark_command import load_benchmark


@pytest.mark.parametrize("name", ["gated unit", "transformer", "linear recurrent units"])
def test_a_network_is_trained_and_evaluated(name: str) -> None:
    from batch_predictions.models.recommender.kernels import sequence_network

    benchmark = load_benchmark("sequence_networks")
    users, items, taken = 20, 150, benchmark.PARAMS.length + 10
    random = np.random.default_rng(0)
    sequences = [random.permutation(items)[:taken] for _ in range(users)]
    data = sequence_network.SequenceData(
        np.concatenate(sequences), np.arange(users + 1) * taken, np.ones(users, dtype=bool)
    )
    network = benchmark.build(name, items, dropout=0.0)
    benchmark.train(network, data, 1, 0)
    score = sequence_network._evaluate(network, data, benchmark.PARAMS.length)
    assert 0 <= score <= 1 and next(network.parameters()).isfinite().all()
