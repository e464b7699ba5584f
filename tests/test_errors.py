"""What an error is about is known by its type, and never told from its sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest

from microscope_tui.catalogue.locate import locate_model, locate_slice
from microscope_tui.engine import measure
from microscope_tui.errors import Fault, MicroscopeError, blaming
from microscope_tui.slices import open_slice
from microscope_tui.store import DiskFull, Store
from microscope_tui.store.folder import prepare
from microscope_tui.terms import Request, SliceSpec
from microscope_tui.worker.client import Client


def test_an_error_is_about_what_was_being_done_unless_it_knows_better():
    with pytest.raises(MicroscopeError) as told, blaming(Fault.MODEL):
        raise MicroscopeError("The data set is gone.")
    assert (told.value.fault, str(told.value)) == (Fault.MODEL, "The data set is gone.")
    with pytest.raises(MicroscopeError) as told, blaming(Fault.MODEL):
        raise MicroscopeError("The model is gone.", fault=Fault.SLICE)
    assert told.value.fault is Fault.SLICE
    with pytest.raises(DiskFull) as full, blaming(Fault.MODEL), blaming(Fault.SLICE):
        raise DiskFull("The slice finds no room.")
    assert full.value.fault is Fault.CACHE
    assert MicroscopeError("It is gone.").fault is None


def _run(model: str, data: str) -> None:
    measure.run(Request(model, SliceSpec(data, count=2)), None, on_progress=lambda _: None)


def _ask_a_worker_that_is_not_there(folder: Path) -> None:
    Client.connect(folder, start=False).jobs()


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (lambda folder: locate_model(str(folder / "none")), Fault.MODEL),
        (lambda folder: locate_slice(str(folder / "none")), Fault.SLICE),
        (lambda folder: open_slice(SliceSpec(str(folder))), Fault.SLICE),
        (lambda folder: _run(str(folder / "none"), "demo:scienceqa"), Fault.MODEL),
        (lambda folder: _run("demo:llava-next", str(folder / "none")), Fault.SLICE),
        (lambda folder: prepare(folder / "file"), Fault.CACHE),
        (lambda folder: Store(folder / "file"), Fault.CACHE),
        (_ask_a_worker_that_is_not_there, Fault.WORKER),
    ],
)
def test_what_fails_says_what_is_at_fault(tmp_path: Path, act: Callable[[Path], object], fault: Fault):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MicroscopeError) as told:
        act(tmp_path)
    assert told.value.fault is fault
