"""The sample is the same tokens whatever the order, the batches or the shards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from microscope_tui.errors import MicroscopeError
from microscope_tui.geometry.sample import Sample, token_hash


def tokens(examples=9, length=7, layers=3, width=2):
    """Rows that name their token: (example, position) at layer 0, and so on."""
    example = torch.arange(examples).repeat_interleave(length) * 1_000_003
    position = torch.arange(length).repeat(examples)
    base = torch.stack([example, position], 1).double()
    return example, position, torch.stack([base + 0.1 * layer for layer in range(layers)])


def assert_same(a: Sample, b: Sample):
    assert a.groups.tolist() == b.groups.tolist()
    assert a.positions.tolist() == b.positions.tolist()
    for layer in range(a.layers):
        assert torch.equal(a.rows(layer), b.rows(layer))


@settings(max_examples=60, deadline=None)
@given(
    budget=st.integers(1, 80),
    batch=st.integers(1, 30),
    shards=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_the_sample_does_not_depend_on_how_tokens_came(budget, batch, shards, order):
    example, position, rows = tokens()
    whole = Sample(budget).update(example, position, rows)
    smallest = torch.argsort(token_hash(example, position))[:budget]
    assert len(whole) == min(budget, 63)
    assert torch.equal(whole.rows(1), rows[1, smallest])
    assert torch.equal(whole.groups, example[smallest])
    shuffled = list(range(63))
    order.shuffle(shuffled)
    parts = [Sample(budget) for _ in range(shards)]
    for i in range(0, 63, batch):
        pick = torch.tensor(shuffled[i : i + batch])
        parts[i % shards].update(example[pick], position[pick], [r[pick] for r in rows])
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert_same(merged, whole)


def test_a_token_seen_twice_counts_once():
    example, position, rows = tokens()
    twice = Sample(40).update(example, position, rows).update(example, position, rows)
    assert_same(twice, Sample(40).update(example, position, rows))
    doubled = Sample(200).update(example.repeat(2), position.repeat(2), torch.cat([rows, rows], 1))
    assert_same(doubled, Sample(200).update(example, position, rows))


def test_the_hash_spreads_tokens_evenly():
    example, position = torch.arange(2000).repeat_interleave(50), torch.arange(50).repeat(2000)
    keys = token_hash(example, position)
    assert len(keys.unique()) == 100_000
    share = (keys < 0).double().mean()
    assert float(share) == pytest.approx(0.5, abs=0.01)
    kept = torch.argsort(keys)[:20_000]
    assert float(position[kept].double().mean()) == pytest.approx(24.5, abs=0.4)
    assert float((example[kept] % 2).double().mean()) == pytest.approx(0.5, abs=0.015)


def test_the_sample_goes_through_safetensors():
    example, position, rows = tokens()
    sample = Sample(20).update(example, position, rows.to(torch.bfloat16))
    again = Sample.from_state_dict(load(save(sample.state_dict())))
    assert_same(again, sample)
    assert again.rows(0).dtype == torch.bfloat16
    assert len(Sample.from_state_dict(load(save(Sample(5).state_dict())))) == 0


def test_what_does_not_fit_is_refused():
    example, position, rows = tokens()
    with pytest.raises(MicroscopeError, match="keep 1 or more"):
        Sample(0)
    with pytest.raises(MicroscopeError, match="no tokens yet"):
        Sample(3).rows(0)
    with pytest.raises(MicroscopeError, match="needs its example"):
        Sample(3).update(example[:2], position, rows)
    sample = Sample(100).update(example, position, rows)
    with pytest.raises(MicroscopeError, match="do not fit a sample of 3 layers of width 2"):
        sample.update(example + 7, position, rows[:2])
    with pytest.raises(MicroscopeError, match="rows is missing"):
        Sample.from_state_dict({k: v for k, v in sample.state_dict().items() if k != "rows"})
