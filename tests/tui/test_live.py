"""The real source over a real store."""

from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import Settings
from microscope_tui.stamps import stamps_of
from microscope_tui.store import Store
from microscope_tui.terms import Job, JobKind, Request, SliceSpec
from microscope_tui.tui.data.live import WorkerSource
from microscope_tui.tui.data.values import Value
from tests.tui import looked
from tests.tui.fake import made_up


@pytest.fixture
def source(tmp_path: Path):
    source = WorkerSource(Settings(cache=tmp_path / "cache"))
    yield source
    source.close()


def test_a_stored_measurement_is_recalled_as_long_as_its_files_are_the_same(source: WorkerSource, tmp_path: Path):
    weights = tmp_path / "weights"
    weights.write_text("one")
    measured = made_up()
    request = Request(measured.model, measured.slice)
    assert source.recall(request) is None
    with Store(tmp_path / "cache") as store:
        store.put_measurement("key", measured)
        store.remember(request, "key", stamps_of([weights]))
    assert source.recall(request) == measured
    weights.write_text("another")
    assert source.recall(request) is None


def test_jobs_and_partial_results_are_read_without_a_worker(source: WorkerSource, tmp_path: Path):
    measured = made_up(complete=False)
    job = Job("1", Request(measured.model, measured.slice))
    with Store(tmp_path / "cache") as store:
        store.put_job(job)
        store.put_partial("1", measured)
    assert source.jobs() == [job]
    assert source.partial("1") == measured
    assert source.partial("2") is None


@pytest.mark.parametrize(
    ("kind", "example", "value"),
    [
        (JobKind.PREVIEW, None, looked.preview()),
        (JobKind.TOKENS, 3, looked.table()),
        (JobKind.WORST, None, looked.worst()),
        (JobKind.MAP, None, looked.cloud()),
    ],
)
def test_looks_are_read_as_they_were_stored(
    source: WorkerSource, tmp_path: Path, kind: JobKind, example: int | None, value: Value
):
    request = Request(looked.table().model, looked.table().slice)
    assert source.look(request, kind, example) is None
    with Store(tmp_path / "cache") as store:
        store.remember_look(request, kind, example, value.to_json(), {})
    assert source.look(request, kind, example) == value
    assert source.look(request, kind, 4) is None


def test_a_look_that_another_version_wrote_is_as_good_as_none(source: WorkerSource, tmp_path: Path):
    request = Request(looked.table().model, looked.table().slice)
    with Store(tmp_path / "cache") as store:
        store.remember_look(request, JobKind.TOKENS, 0, {**looked.table().to_json(), "lens": [[["a", 0.5]]]}, {})
        store.remember_look(request, JobKind.PREVIEW, None, {"examples": []}, {})
    assert source.look(request, JobKind.TOKENS, 0) is None
    assert source.look(request, JobKind.PREVIEW, None) is None


def test_a_model_that_cannot_be_is_refused_at_once(source: WorkerSource):
    with pytest.raises(MicroscopeError, match="/no/such/folder"):
        source.check(Request("/no/such/folder", SliceSpec("demo:scienceqa")))
    with pytest.raises(MicroscopeError, match="demo:"):
        source.check(Request("demo:llava-next", SliceSpec("demo:none")))


def test_following_starts_no_worker(source: WorkerSource, tmp_path: Path):
    with pytest.raises(MicroscopeError):
        next(source.follow())
    assert source.log_tail() == "The worker has written nothing yet."


def test_the_demo_is_offered(source: WorkerSource):
    assert "demo:llava-next" in [entry.name for entry in source.models()]
    assert "demo:scienceqa" in [entry.name for entry in source.slices()]
