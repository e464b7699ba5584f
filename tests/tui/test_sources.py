"""What every source promises the screens: the worker, a cache that is only looked at, and the one of the other tests.

One worker with the real engine has measured a few examples of the demo and looked at them. Each source is asked for
the same; what it answers is compared with what lies in the store.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.inspection import Cloud, Preview, TokenTable, WorstTokens
from microscope_tui.results import Measurement
from microscope_tui.settings import Settings
from microscope_tui.store import Store
from microscope_tui.store.rows import Asked
from microscope_tui.terms import Job, JobKind, JobState, Metric, Modality, Request, SliceSpec, Stream
from microscope_tui.tui.data.apart import ROWS, apart
from microscope_tui.tui.data.archive import ArchiveSource
from microscope_tui.tui.data.live import WorkerSource
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.data.values import Value, value_of
from microscope_tui.worker.client import stop
from tests.sure import sure
from tests.tui.fake import FakeSource
from tests.tui.listening import SECONDS, Told, one_sentence
from tests.worker.conftest import until

pytestmark = pytest.mark.timeout(600)


MODEL = "demo:omnifusion"
PLAIN = Request(
    MODEL,
    SliceSpec("demo:scienceqa", count=4),
    metrics=(Metric.LINEARITY, Metric.ANISOTROPY),
    streams=(Stream.RESIDUAL, Stream.UPDATE),
    dtype="float32",
    device="cpu",
    folds=2,
)
FEW = replace(PLAIN, metrics=(Metric.ANISOTROPY,), streams=(Stream.RESIDUAL,))
BFLOAT = replace(FEW, dtype="bfloat16")
WITHOUT = replace(FEW, without=("special",))
NO_MODEL = ("demo:none", "/no/such/model", "no model at all")
NO_SLICE = ("demo:nothing", "/no/such/slice", "no slice at all")
LOOKS = (
    Asked(PLAIN, JobKind.TOKENS, 1),
    Asked(PLAIN, JobKind.WORST),
    Asked(replace(PLAIN, streams=(Stream.RESIDUAL,)), JobKind.MAP),
    Asked(PLAIN, JobKind.PREVIEW),
)


@dataclass(frozen=True)
class Made:
    """What a worker has made of the demo, by what it was asked for; the last of the results has a skipped example."""

    cache: Path
    exported: Path
    results: Mapping[Request, Measurement]
    looks: Mapping[Asked, Value]
    jobs: tuple[Job, ...]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    root = Path(tempfile.mkdtemp(prefix="microscope-test-"))
    torn = torn_slice(tmp_path_factory.mktemp("torn"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("MICROSCOPE_CONFIG", str(root / "none.toml"))
        try:
            yield make(root, replace(FEW, slice=torn))
        finally:
            stop(root / "cache", SECONDS)
            shutil.rmtree(root)


def torn_slice(folder: Path) -> SliceSpec:
    """Examples of which the picture of one is no picture."""
    (folder / "torn.png").write_bytes(b"no picture")
    rows = [f'{{"question": "Is {n} odd?", "choices": ["yes", "no"], "answer": {1 - n % 2}}}' for n in range(3)]
    rows.append('{"question": "What is this?", "image": "torn.png", "choices": ["a dog", "a cat"], "answer": 0}')
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    return SliceSpec(str(folder / "rows.jsonl"))


def make(root: Path, torn: Request) -> Made:
    cache, exported, source = root / "cache", root / "exported", WorkerSource(Settings(cache=root / "cache"))
    asked = (Asked(PLAIN, JobKind.MEASURE), *LOOKS, *(Asked(r, JobKind.MEASURE) for r in (BFLOAT, WITHOUT, torn)))
    for each in asked:
        job = source.submit(each.request, each.kind, each.example)
        ended = next(n.job for n in source.follow() if n.job and n.job.id == job.id and n.job.state.ended)
        assert (ended.state, ended.error) == (JobState.DONE, None)
    source.close()
    with Store(cache, read_only=True) as store:
        found = [store.measurement(e.key.partition("/")[2]) for e in store.entries() if e.kind == "measurement"]
        results = {r: sure(next(m for m in found if m and is_of(m, r))) for r in (PLAIN, BFLOAT, WITHOUT, torn)}
        looks: dict[Asked, Value] = {}
        for key, of in store.looks().items():
            value = value_of(of.kind, sure(store.look(key)))
            assert value is not None
            looks[of] = value
        store.export_to(root / "results.tar")
        jobs = tuple(store.jobs())
    with Store(exported) as theirs:
        theirs.import_from(root / "results.tar")
    return Made(cache, exported, results, looks, jobs)


def is_of(measurement: Measurement, request: Request) -> bool:
    made = measurement.provenance
    asked = [request.slice, request.dtype, list(request.without)]
    return [measurement.slice, made["dtype"], made["without"]] == asked


SOURCES = ("stand-in", "worker", "read-only", "exported")


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, made: Made) -> Iterator[Source]:
    of: Mapping[str, Callable[[], Source]] = {
        "stand-in": lambda: stand_in(made),
        "worker": lambda: WorkerSource(Settings(cache=made.cache)),
        "read-only": lambda: ArchiveSource(Settings(cache=made.cache, read_only=True)),
        "exported": lambda: ArchiveSource(Settings(cache=made.exported, read_only=True)),
    }
    source = of[request.param]()
    yield source
    source.close()


def stand_in(made: Made) -> FakeSource:
    source = FakeSource()
    source.variants |= made.results
    source.looks |= {(MODEL, of.kind, of.example): value for of, value in made.looks.items()}
    source.worked |= {job.id: job for job in made.jobs}
    source.refuse |= {name: f"There is no {name}: name another." for name in (*NO_MODEL, *NO_SLICE)}
    return source


def looked_up(source: Source, request: Request) -> Measurement | None:
    """As the screen looks up what it needs."""
    source.check(request)
    return source.recall(request)


# What was measured


def test_what_was_measured_is_recalled_as_it_is(source: Source, made: Made):
    for request, measurement in made.results.items():
        assert looked_up(source, request) == measurement
        assert apart(request, measurement) == {}


def test_two_precisions_are_two_results(source: Source, made: Made):
    found = [sure(source.recall(request)) for request in (PLAIN, BFLOAT)]
    assert [each.provenance["dtype"] for each in found] == ["float32", "bfloat16"]


@pytest.mark.parametrize(
    "request_",
    [
        replace(PLAIN, model="demo:llava-next"),
        replace(PLAIN, slice=SliceSpec("demo:scienceqa", count=5)),
        replace(PLAIN, slice=SliceSpec("demo:scienceqa", count=4, seed=1)),
        replace(PLAIN, without=("duplicates",)),
        replace(WITHOUT, without=("duplicates", "special")),
        replace(PLAIN, matched=50),
    ],
)
def test_other_models_examples_and_rows_are_no_answer(source: Source, request_: Request):
    assert looked_up(source, request_) is None


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(PLAIN, folds=3), {"folds": 2}),
        (replace(PLAIN, sample_tokens=100), {"sample_tokens": 4096}),
        (replace(PLAIN, before=True), {"before": False}),
        (replace(PLAIN, reference=True), {"reference": False}),
        (replace(PLAIN, dtype="float16"), {"dtype": "float32"}),
        (replace(WITHOUT, folds=3), {"folds": 2}),
    ],
)
def test_what_was_made_otherwise_stands_in_where_nothing_can_be_measured_and_says_so(
    source: Source, other: Request, said: dict[str, object]
):
    found = looked_up(source, other)
    if source.read_only:
        assert apart(other, sure(found)) == said
        assert not said.keys() & set(ROWS)
        assert sure(found).provenance["without"] == list(other.without)
    else:
        assert found is None


@pytest.mark.parametrize(
    "less",
    [
        {"metrics": (Metric.LINEARITY,)},
        {"streams": (Stream.RESIDUAL,)},
        {"modalities": (Modality.TEXT,)},
        {"metrics": (Metric.ANISOTROPY,), "streams": (Stream.UPDATE,), "modalities": (Modality.IMAGE,)},
    ],
    ids=lambda less: "+".join(less),
)
def test_who_asks_for_less_gets_that_of_it(source: Source, made: Made, less: dict[str, object]):
    narrow = replace(PLAIN, **less)  # type: ignore[arg-type]  # passed on as they are
    found, whole = sure(looked_up(source, narrow)), made.results[PLAIN]
    wanted = [
        p
        for p in whole.profiles
        if p.metric in narrow.metrics and p.stream in narrow.streams and p.modality in narrow.modalities
    ]
    assert list(found.profiles) == wanted != []
    assert {*found.sinks} == {*narrow.modalities}
    assert (found.answers, found.tokens, found.complete) == (whole.answers, whole.tokens, True)
    left_out = {*PLAIN.modalities} - {*narrow.modalities}
    assert [note.split()[1] for note in found.notes] == [*left_out]


def test_who_asks_for_more_gets_no_less_than_that(source: Source):
    """But of a cache that is only looked at what there is of it."""
    for more in (replace(PLAIN, streams=tuple(Stream)), replace(FEW, metrics=tuple(Metric), dtype="bfloat16")):
        found = looked_up(source, more)
        assert (found is not None) == source.read_only


def test_a_result_has_all_that_is_told_of_it(source: Source, made: Made):
    found = sure(source.recall(PLAIN))
    preview = source.look(PLAIN, JobKind.PREVIEW, None)
    assert isinstance(preview, Preview)
    assert {answer.example for answer in found.answers} == {*preview.keys}
    assert found.accuracy == sum(answer.right for answer in found.answers) / found.scored
    assert {*found.sinks} == {"text", "image"}
    assert found.examples == 4
    torn = next(request for request in made.results if request.slice != PLAIN.slice)
    other = sure(source.recall(torn))
    assert [(skipped.example, bool(skipped.reason)) for skipped in other.skipped] == [("row 3", True)]
    assert other.examples == 3


# What was looked at


def test_looks_are_found_as_they_were_made(source: Source, made: Made):
    kinds = {JobKind.TOKENS: TokenTable, JobKind.WORST: WorstTokens, JobKind.MAP: Cloud, JobKind.PREVIEW: Preview}
    for of in LOOKS:
        found = source.look(of.request, of.kind, of.example)
        assert found == made.looks[of]
        assert isinstance(found, kinds[of.kind])


@pytest.mark.parametrize(
    "other",
    [
        Asked(PLAIN, JobKind.TOKENS, 2),
        Asked(PLAIN, JobKind.TSNE),
        Asked(PLAIN, JobKind.PREVIEW, 200),
        *(Asked(replace(of.request, model="demo:llava-next"), of.kind, of.example) for of in LOOKS[:3]),
        *(Asked(replace(of.request, slice=SliceSpec("demo:scienceqa", count=5)), of.kind, of.example) for of in LOOKS),
        *(Asked(replace(of.request, without=("sinks",)), of.kind, of.example) for of in LOOKS[:3]),
    ],
)
def test_other_looks_are_not_found(source: Source, other: Asked):
    assert source.look(other.request, other.kind, other.example) is None


def test_each_stream_has_a_map_of_its_own(source: Source):
    """But for the source of the other tests, where one map stands for all."""
    other = source.look(replace(PLAIN, streams=(Stream.UPDATE,)), JobKind.MAP, None)
    assert (other is None) != isinstance(source, FakeSource)


def test_an_example_has_one_name_and_one_number_wherever_it_is_spoken_of(source: Source):
    preview, table, worst, cloud = (
        source.look(of.request, of.kind, of.example) for of in (LOOKS[3], LOOKS[0], LOOKS[1], LOOKS[2])
    )
    assert isinstance(preview, Preview)
    assert isinstance(table, TokenTable)
    assert isinstance(worst, WorstTokens)
    assert isinstance(cloud, Cloud)
    assert preview.keys[table.card.index] == table.card.key
    assert {(token.example, preview.keys[token.index]) for layer in worst.layers for token in layer} <= {
        (key, key) for key in preview.keys
    }
    assert {*cloud.example} <= {*preview.keys}


# What cannot be


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        *((name, replace(PLAIN, model=name)) for name in NO_MODEL),
        *((name, replace(PLAIN, slice=SliceSpec(name))) for name in NO_SLICE),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(source: Source, name: str, request_: Request):
    with one_sentence(name):
        assert looked_up(source, request_) is None
        source.submit(request_)
    assert all(job.request != request_ for job in source.jobs())


def test_what_there_is_is_offered(source: Source):
    assert MODEL in {entry.name for entry in source.models()}
    assert "demo:scienceqa" in {SliceSpec.parse(entry.name).source for entry in source.slices()}
    for slices, entries in ((False, source.models()), (True, source.slices())):
        with pytest.raises(MicroscopeError, match=r"^.+$"):  # the network is off
            source.on_hub(replace(entries[0], name="nobody/has-this"), slices=slices)


def test_no_partial_result_is_no_error(source: Source):
    assert source.partial("none") is None


def test_the_cache_and_the_log_can_be_read(source: Source):
    stock = source.stock()
    assert all(held.size > 0 and held.key and held.kind and held.what for held in stock.held)
    assert stock.size >= sum(held.size for held in stock.held)
    assert source.verify() == []
    assert source.log_tail() != ""


# Jobs


def test_the_jobs_of_the_store_are_listed(source: Source, made: Made):
    """Not where only results were exported."""
    listed = {job.id: job for job in source.jobs()}
    assert listed in ({job.id: job for job in made.jobs}, {})
    assert len(listed) > 0 or source.read_only


def test_a_job_that_is_not_there_is_said_in_one_sentence(source: Source):
    steps: tuple[Callable[[str], object], ...] = (
        *(source.cancel, source.leave, source.pause, source.resume, source.retry),
        lambda job_id: source.reorder(job_id, 0),
    )
    for step in steps:
        with one_sentence("ead-only" if source.read_only else "nowhere"):
            step("nowhere")


def test_where_nothing_is_measured_that_is_said_of_whatever_is_asked(source: Source):
    if source.read_only:
        steps: tuple[Callable[[], object], ...] = (
            *(partial(source.submit, of.request, of.kind, of.example) for of in LOOKS),
            lambda: source.submit(PLAIN),
            lambda: source.remove(source.stock().held[0].key),
            source.tidy,
        )
        for step in steps:
            with one_sentence("ead-only"):
                step()
    else:
        source.remove("nothing/of-this-name")
        assert re.fullmatch(r"\S.*", source.tidy())


def test_who_closes_ends_what_follows_and_the_results_stay(source: Source, made: Made):
    told = Told(source)
    if not source.read_only:
        until(lambda: len(told.news) >= len(made.jobs), "every job as it stands", SECONDS)
        assert {n.job.id: n.job for n in told.news if n.job} == {job.id: job for job in made.jobs}
    source.close()
    source.close()
    until(lambda: told.ended, "the end of the news", SECONDS)
    assert told.error is None
    assert list(source.follow()) == []
    assert source.recall(PLAIN) == made.results[PLAIN]


@pytest.mark.parametrize("kind", ["stand-in", "worker", "read-only"])
def test_without_a_worker_there_are_no_news(kind: str, tmp_path: Path):
    settings = Settings(cache=tmp_path / "cache", read_only=kind == "read-only")
    source: Source = ArchiveSource(settings) if settings.read_only else WorkerSource(settings)
    if kind == "stand-in":
        source = stand_in = FakeSource()
        stand_in.alive = False
    assert (source.lives(), list(source.jobs()), source.outdated()) == (False, [], None)
    if not source.read_only:
        with one_sentence("No worker runs"):
            list(source.follow())
    source.close()
    assert list(source.follow()) == []
    assert not list(tmp_path.rglob("worker.*"))
