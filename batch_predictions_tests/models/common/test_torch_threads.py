"""The limit to one torch thread ends with the block, also after an error."""

from __future__ import annotations

import pytest

from batch_predictions.models.common.torch_cpu import one_torch_thread


def test_torch_has_one_thread_in_the_block_and_the_previous_number_after_it() -> None:
    import torch

    previous = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(RuntimeError, match="in the block"), one_torch_thread() as threads:
            assert threads == 3 and torch.get_num_threads() == 1
            raise RuntimeError("in the block")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(previous)
