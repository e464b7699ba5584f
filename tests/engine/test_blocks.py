"""The rows of single batches on the disk: read only where they are what they must be, and measured again where not."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from microscope_tui.engine import block, draw
from microscope_tui.engine.tensors import head_of, parts_of, tensors_of
from microscope_tui.store import Store
from tests.engine.keeping import kept, kill_at, measured, named, request, same
from tests.sure import sure

pytestmark = pytest.mark.usefixtures("sums_once")


def test_a_batch_that_is_damaged_on_the_disk_is_measured_again_and_no_other(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        kill_at(32, request(), store)
        assert kept(store) == ["rows 16 24", "rows 24 32", "rows 8 16", "state 8"]
        name = named(store, "-8-16-")
        sure(store.blob_file(name)).write_bytes(b"nothing")
        captured.clear()
        same(measured(request(), store), undisturbed)
        assert [each.key for each in store.damaged()] == [f"blob/{name}"]
    assert len(captured) == 8 + 8


def test_batches_behind_sums_that_are_gone_are_used(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        kill_at(32, request(), store)
        store.remove_blobs([named(store, "state-")])
        captured.clear()
        same(measured(request(), store), undisturbed)
    assert len(captured) == 8 + 8


def test_a_batch_of_a_gpu_that_is_gone_is_measured_again(tmp_path, captured, undisturbed, monkeypatch):
    head = block._head
    with monkeypatch.context() as patch:
        of_it = {"devices": {"ids": "cuda:7"}, "kinds": {"cuda:7": "an older GPU"}}
        patch.setattr(block, "_head", lambda *each: head(*each) | of_it)
        with Store(tmp_path) as store:
            kill_at(24, request(), store)
    with Store(tmp_path) as store:
        same(measured(request(), store), undisturbed)
    assert len(captured) == 24 + 32, "only the sums of the first batch could be used"


def test_rows_that_do_not_fit_into_memory_are_measured_again(tmp_path, captured, undisturbed, monkeypatch):
    def full(self):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        captured.clear()
        monkeypatch.setattr(block.Piece, "captured", full)
        same(measured(request(), store), undisturbed)
        assert len(captured) == 32


def without_ids(head, tensors):
    del tensors["0.ids"]


def of_less(head, tensors):
    head["pieces"][0]["places"].pop()


def of_others(head, tensors):
    head["pieces"][0]["places"] = list(range(8))


def without_answers(head, tensors):
    del head["tally"]["answers"]


def with_more(head, tensors):
    head["tally"]["answers"][0]["sure"] = True


@pytest.mark.parametrize("change", [without_ids, of_less, of_others, without_answers, with_more])
def test_a_batch_that_is_not_as_it_must_be_is_measured_again(tmp_path, captured, undisturbed, change):
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        name = named(store, "-16-24-")
        file = sure(store.blob_file(name))
        with safe_open(file, framework="pt") as opened:
            head, tensors = head_of(opened), tensors_of(opened)
        change(head, tensors)
        store.put_blob(name, parts_of(tensors, head))
        captured.clear()
        same(measured(request(), store), undisturbed)
        assert len(captured) == 16 + 8


def test_what_is_of_another_format_is_not_read(tmp_path, captured, undisturbed, monkeypatch):
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        captured.clear()
        monkeypatch.setattr(draw, "FORMAT", draw.FORMAT + 1)
        same(measured(request(), store), undisturbed)
        assert len(captured) == 40


def test_sums_without_what_is_known_of_them_are_not_read(tmp_path, captured, undisturbed):
    """As earlier versions wrote them, with all that in the header of the file."""
    with Store(tmp_path) as store:
        kill_at(16, request(), store)
        name = named(store, "state-")
        with safe_open(sure(store.blob_file(name)), framework="pt") as opened:
            head, tensors = head_of(opened), tensors_of(opened)
        store.put_blob(name, save(tensors, {"state": json.dumps(head)}))
        captured.clear()
        same(measured(request(), store), undisturbed)
    assert len(captured) == 40 - 8


PLANTED = (
    *("state-{}-x-y-z", "state-{}-²-y-z", "state-{}-16-y-z", "state-{}-16-y", "rows-{}-x-y-z-z", "rows-{}-4-8-z-z"),
    *("rows-{}-8-4-z-z", "rows-{}-8-16-z-z", "rows-{}-8-16-z", "rows-{}"),
)


def test_names_that_somebody_planted_are_passed_over(tmp_path, captured, undisturbed):
    with Store(tmp_path) as store:
        kill_at(24, request(), store)
        base = named(store, "state-").split("-")[1]
        for name in PLANTED:
            store.put_blob(name.format(base), b"1")
        captured.clear()
        same(measured(request(), store), undisturbed)
        assert len(captured) == 16


def test_rows_go_to_the_gpu_of_this_walk_and_to_no_other_kind(monkeypatch):
    kinds = ["A100", "A100", "H200"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(kinds))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: kinds[torch.device(device).index])
    here, other = torch.device("cuda:0"), torch.device("cuda:2")
    assert block._placed({"cuda:1": "A100"}, here) == {"cuda:1": here}
    assert block._placed({"cuda:1": "A100"}, other) is None
    assert block._placed({}, here) == {}
    split = {"cuda:0": "A100", "cuda:1": "A100"}
    assert block._placed(split, here) == {"cuda:0": here, "cuda:1": torch.device("cuda:1")}
    assert block._placed({**split, "cuda:7": "A100"}, here) is None
