"""The cache that grows in place holds what transformers' own holds."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, DynamicCache, MistralConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ragkit.kv_cache import ROOM, GrowingLayer, new_cache
from tests import tiny

# Tokens that come (more than 0) or are cropped.
_STEPS = st.lists(st.one_of(st.integers(1, 40), st.integers(-30, -1), st.just(ROOM + 1)), max_size=30)


def _rows(tokens: int, first: int) -> torch.Tensor:
    rows = torch.arange(first, first + tokens, dtype=torch.float32).view(1, 1, tokens, 1)
    return rows.expand(1, 3, tokens, 2) * torch.tensor([[[[1.0]], [[2.0]], [[3.0]]]])


@given(_STEPS)
def test_it_holds_what_transformers_own_holds(steps):
    ours, theirs = GrowingLayer(), DynamicLayer()
    for number, step in enumerate(steps):
        if step < 0:
            step = -min(-step, theirs.get_seq_length())
            ours.crop(step)
            theirs.crop(step)
        else:
            rows = _rows(step, 1000 * number)
            got = ours.update(rows, -rows)
            expected = theirs.update(rows, -rows)
            assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(7) == theirs.get_mask_sizes(7)


def test_a_token_moves_what_is_there_once_in_so_many():
    layer, places = GrowingLayer(), set()
    layer.update(_rows(100, 0), _rows(100, 0))
    for number in range(2 * ROOM):
        keys, _ = layer.update(_rows(1, number), _rows(1, number))
        places.add(keys.data_ptr())
    assert len(places) == 2 and keys.shape[-2] == 100 + 2 * ROOM


def test_a_reset_layer_begins_anew_in_another_dtype():
    layer = GrowingLayer()
    layer.update(_rows(5, 0), _rows(5, 0))
    layer.reset()
    assert layer.get_seq_length() == 0
    keys, _ = layer.update(_rows(2, 0).bfloat16(), _rows(2, 0).bfloat16())
    assert keys.dtype == torch.bfloat16 and keys.shape[-2] == 2


def test_layers_that_forget_stay_as_they_are(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny.llama(tmp_path / "llama"))
    assert {type(layer) for layer in new_cache(model).layers} == {GrowingLayer}
    model.config = MistralConfig(sliding_window=16, num_hidden_layers=2)
    assert {type(layer) for layer in new_cache(model).layers} == {DynamicSlidingWindowLayer}
    assert isinstance(new_cache(model), DynamicCache)
