"""One thread of torch within, and as many as before after, whatever happens."""

from __future__ import annotations

import pytest

from batch_predictions.models.common.torch_threads import one_torch_thread


def test_one_thread_within_and_as_many_as_before_after() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(RuntimeError, match="meanwhile"), one_torch_thread() as outside:
            assert outside == 3 and torch.get_num_threads() == 1
            raise RuntimeError("meanwhile")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
