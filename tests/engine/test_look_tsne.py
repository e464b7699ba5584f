"""The map by t-SNE: neighbours stay neighbours, each layer begins where the one before ended, and twice is the same."""

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness

from microscope_tui.engine import measure
from microscope_tui.engine.looks import cloud as cloud_module
from microscope_tui.engine.looks.cloud import plane_of
from microscope_tui.engine.looks.look import run
from microscope_tui.engine.looks.tsne import embedding, perplexity
from microscope_tui.errors import MicroscopeError
from microscope_tui.inspection import Cloud, Projection
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, Request, SliceSpec
from tests.engine.test_look_rows import look
from tests.engine.test_threads import torch_threads
from tests.sure import sure


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        yield opened


def test_neighbours_in_the_rows_are_neighbours_on_the_map():
    draw = torch.Generator().manual_seed(0)
    centres = 20 * torch.randn(4, 50, generator=draw)
    rows = torch.cat([centre + torch.randn(40, 50, generator=draw) for centre in centres])
    start = torch.randn(160, 2, generator=draw)
    places = embedding()(rows, start)
    assert places.shape == (160, 2)
    assert trustworthiness(rows.numpy(), places.numpy(), n_neighbors=10) > 0.95
    assert torch.equal(places, embedding()(rows, start))


def test_few_rows_have_a_smaller_perplexity():
    assert perplexity(500) == 30
    assert perplexity(4) < 4
    rows = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    assert embedding()(rows, rows[:, :2]).isfinite().all()


def test_the_map_of_a_slice(store, tiny_next, small_slice, monkeypatch):
    monkeypatch.setattr(cloud_module, "POINTS", 60)
    request = Request(tiny_next, SliceSpec(small_slice))
    measure.run(request, store, on_progress=lambda _: None)
    found = Cloud.from_json(look(store, request, JobKind.TSNE))
    axes = Cloud.from_json(look(store, request, JobKind.MAP))
    assert found.projection is Projection.TSNE
    assert axes.projection is Projection.PCA
    assert (found.modality, found.example) == (axes.modality, axes.example)
    assert len(found.points) == len(axes.points)
    assert found.share == ()
    assert "t-SNE of perplexity 19.7" in found.notes[-1]
    for before, after in pairwise(np.array(found.points)):
        # No turn or mirror of a layer fits the one before better: their product is symmetric, without a negative side.
        product = after.T @ (before - before.mean(0))
        assert product == pytest.approx(product.T, rel=1e-3, abs=1e-3 * np.abs(product).max())
        assert np.linalg.eigvalsh((product + product.T) / 2).min() >= -1e-3 * np.abs(product).max()


def test_the_layers_of_a_slow_map_are_kept_as_they_come_and_gone_on_with_but_never_in_place_of_all(
    store, tiny_next, small_slice, monkeypatch
):
    monkeypatch.setattr(cloud_module, "POINTS", 60)
    request = Request(tiny_next, SliceSpec(small_slice))
    seen: list[Cloud] = []

    def note() -> None:
        seen.append(Cloud.from_json(sure(store.recall_look(request, JobKind.TSNE, None))))

    def made() -> Cloud:
        run(
            request,
            store,
            kind=JobKind.TSNE,
            example=None,
            on_progress=lambda _: None,
            on_part=note,
            should_stop=lambda: False,
        )
        return Cloud.from_json(sure(store.recall_look(request, JobKind.TSNE, None)))

    whole = made()
    assert whole.complete
    assert [len(part.points) for part in seen] == list(range(1, len(whole.points)))
    assert not any(part.complete for part in seen)
    assert all(part.points == whole.points[: len(part.points)] for part in seen)
    seen.clear()
    assert made() == whole
    assert not seen
    part = replace(whole, points=whole.points[:2])
    store.remember_look(request, JobKind.TSNE, None, part.to_json(), {})
    assert made() == whole
    assert [len(each.points) for each in seen] == list(range(3, len(whole.points))), "gone on where it was stopped"
    seen.clear()
    store.remember_look(request, JobKind.TSNE, None, replace(part, walked=part.walked + 1).to_json(), {})
    assert made() == whole
    assert len(seen) == len(whole.points) - 1, "of other rows it is begun anew"


def test_a_map_that_a_measurement_makes_way_for_is_made_as_it_is_alone(
    store, tmp_path, tiny_next, small_slice, monkeypatch
):
    monkeypatch.setattr(cloud_module, "POINTS", 60)
    request = Request(tiny_next, SliceSpec(small_slice))
    threads: list[int] = []
    made: list[Cloud] = []

    def noted(rows: torch.Tensor) -> tuple[torch.Tensor, float]:
        threads.append(torch.get_num_threads())
        return plane_of(rows)

    def make_map(kept: Store) -> None:
        made.append(Cloud.from_json(look(kept, request, JobKind.TSNE)))

    def make_way() -> bool:
        if len(made) == 1:
            make_map(other)
        return False

    monkeypatch.setattr(cloud_module, "plane_of", noted)
    with torch_threads(2), Store(tmp_path / "other") as other:
        for kept in (store, other):
            measure.run(request, kept, on_progress=lambda _: None)
        make_map(store)
        measure.run(request, None, on_progress=lambda _: None, should_stop=make_way)
    alone, meanwhile = made
    assert set(threads) == {2}
    assert len(threads) == 2 * len(alone.points)
    assert meanwhile == alone


def test_without_the_library_one_sentence_says_what_to_install(store, tiny_next, small_slice, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(MicroscopeError, match=r"needs scikit-learn.*pip install scikit-learn"):
        look(store, Request(tiny_next, SliceSpec(small_slice)), JobKind.TSNE)
