"""How large models are computed on this processor: half precision and plain attention, where they are faster."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from srm_utils.models import arithmetic
from srm_utils.models.arithmetic import LARGE, PLAIN_PAIRS, mixed_precision, plain_attention


class Network:
    """Remembers which attention it was asked to compute with."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(_attn_implementation="sdpa")

    def set_attn_implementation(self, name: str) -> None:
        self.config._attn_implementation = name


@pytest.mark.parametrize(
    ("device", "parameters", "rows", "width", "within"),
    [
        ("cpu", LARGE, 8, 64, "eager"),
        ("cpu", LARGE - 1, 8, 64, "sdpa"),
        ("cuda:0", LARGE, 8, 64, "sdpa"),
        ("cpu", LARGE, PLAIN_PAIRS, 1, "eager"),
        ("cpu", LARGE, PLAIN_PAIRS, 2, "sdpa"),
    ],
)
def test_attention_is_plain_where_it_pays_and_as_before_at_the_end(device, parameters, rows, width, within):
    network = Network()
    with pytest.raises(KeyboardInterrupt), plain_attention(network, device, parameters, rows, width):
        assert network.config._attn_implementation == within
        raise KeyboardInterrupt
    assert network.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("fast", "dtype"), [(torch.bfloat16, torch.bfloat16), (torch.float32, torch.float32)])
def test_products_of_large_models_follow_the_processor(monkeypatch, fast, dtype):
    monkeypatch.setattr(arithmetic, "fast_dtype", lambda device: fast)
    matrix = torch.ones(4, 4)
    with mixed_precision("cpu", LARGE):
        assert (matrix @ matrix).dtype == dtype
    with mixed_precision("cpu", LARGE - 1):
        assert (matrix @ matrix).dtype == torch.float32, "small models compute alike on every processor"
    assert (matrix @ matrix).dtype == torch.float32
