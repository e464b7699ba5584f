"""What each pane shows, for everything that can be known."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from microscope_tui.errors import Fault
from microscope_tui.results import Measurement
from microscope_tui.terms import Job, JobKind, JobState, Metric, Modality, Progress, Request, SliceSpec, Stream
from microscope_tui.tui.content.measured import methods_measured
from microscope_tui.tui.content.names import labels_of, told_apart
from microscope_tui.tui.content.status import told_from, worker_state
from microscope_tui.tui.content.view import PaneView, pane_views
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.session import Session
from tests.tui.fake import MODELS, SLICE, Shape, made_up

SESSION = Session(MODELS[:1], SLICE)
REQUEST = Request(MODELS[0], SLICE)
JOB = Job("1", REQUEST, created=10.0)
COMPARED = ("llava-next on count=64", "omnifusion on count=64", "llava-next on filter=image count=64")


def _desk(measurement: Measurement | None = None, job: Job | None = None, error: str | None = None) -> Desk:
    desk = Desk()
    desk.forget(REQUEST)
    if job:
        desk.job(job)
    if measurement:
        desk.measured(REQUEST, measurement)
    if error:
        desk.failed(REQUEST, error)
    return desk


def _views(desk: Desk, session: Session = SESSION) -> tuple[PaneView, ...]:
    return pane_views(session, desk, [Request(model, SLICE) for model in session.models])


def _status(desk: Desk) -> tuple[str, bool]:
    series = _views(desk)[0].series[0]
    assert series.profile is None
    return series.status, series.severe


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (None, "looking into the store …"),
        (JOB, "queued: the worker takes it up now"),
        (replace(JOB, state=JobState.RUNNING, progress=Progress("loading model")), "loading model"),
        (replace(JOB, state=JobState.RUNNING, progress=Progress("measuring", 3, 60)), "measuring 3/60 ex"),
        (replace(JOB, state=JobState.CANCELLED), "cancelled · r measures again"),
        (replace(JOB, state=JobState.PAUSED), "paused · r goes on"),
        (replace(JOB, state=JobState.PAUSED, progress=Progress("paused", 8, 64)), "paused at 8 of 64 ex · r goes on"),
        (replace(JOB, state=JobState.DONE), "done: reading the result …"),
    ],
)
def test_a_pane_without_a_profile_says_what_happens(job: Job | None, said: str):
    assert said in _status(_desk(job=job))[0]


def test_a_queued_job_says_how_many_are_before_it():
    desk = _desk(job=JOB)
    desk.job(Job("0", Request(MODELS[0], SLICE, folds=3), JobState.RUNNING, created=1.0))
    assert _status(desk) == ("queued behind 1 job · j shows the jobs", False)


def test_a_job_that_waits_for_one_of_something_else_says_how_that_is_put_off():
    desk = _desk(job=JOB)
    desk.job(Job("0", Request(MODELS[0], SliceSpec("demo:other", count=9)), JobState.RUNNING, created=1.0))
    said, severe = _status(desk)
    assert said == "queued behind 1 job (llava-next on other count=9 runs) · j, then p pause · x cancel"
    assert not severe


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        (Fault.SLICE, "pick_slice"),
        (Fault.MODEL, "pick_model"),
        (Fault.CACHE, "cache"),
        (Fault.WORKER, "jobs"),
        (None, ""),
    ],
)
@pytest.mark.parametrize("sentence", ["It went wrong.", "The worker, the data set and the cache folder: --cache."])
def test_the_deed_that_mends_is_the_one_for_what_is_at_fault_whatever_the_sentence_says(
    sentence: str, fault: Fault | None, remedy: str
):
    desk = _desk()
    desk.failed(REQUEST, sentence, fault)
    failed = replace(JOB, state=JobState.FAILED, error=sentence, fault=fault)
    for of in (desk, _desk(job=failed)):
        series = _views(of)[0].series[0]
        assert series.severe
        assert series.remedy == remedy


def test_a_dead_worker_and_a_full_disk_have_their_deeds():
    desk = _desk(job=JOB)
    desk.worker_gone("It is gone.")
    assert _views(desk)[0].series[0].remedy == "jobs"
    waits = replace(JOB, error="No room.", fault=Fault.CACHE)
    assert _views(_desk(job=waits))[0].series[0].remedy == "cache"
    desk.worker_back()
    assert desk.of(REQUEST).fault is None


def test_a_stream_that_is_refused_is_the_models_fault():
    measurement = made_up(MODELS[0], refused={"main": "the blocks do not add up"})
    views = _views(_desk(measurement))
    refused = [s for view in views for s in view.series if view.stream is Stream.MAIN]
    assert refused
    assert all(s.severe and s.remedy == "pick_model" for s in refused)


def test_what_the_user_has_cancelled_needs_no_remedy():
    series = _views(_desk(job=replace(JOB, state=JobState.CANCELLED)))[0].series[0]
    assert series.severe
    assert series.remedy == ""


def test_an_error_is_shown_where_the_curve_would_be():
    assert _status(_desk(error="There is no folder /x: check its name.")) == (
        "There is no folder /x: check its name.",
        True,
    )


def test_a_refused_stream_says_why_and_only_there():
    views = _views(_desk(made_up(refused={"main": "block 3 differs from the model's own"})))
    assert views[0].series[0].status == "main refused: block 3 differs from the model's own"
    assert views[1].drawn


def test_a_modality_without_tokens_says_so():
    bare = replace(made_up(), profiles=(), tokens={"text": 100})
    text, _, image, _ = _views(_desk(bare))
    assert "no image tokens" in image.series[0].status
    assert "was not measured" in text.series[0].status


def test_what_no_measurement_can_have_is_not_promised_by_another_variant():
    measured = made_up()
    of_residual = next(p for p in measured.profiles if (p.metric, p.stream) == (Metric.LINEARITY, Stream.RESIDUAL))
    kept = tuple(p for p in measured.profiles if p.method != "update")
    measured = replace(measured, profiles=(*kept, replace(of_residual, method="update")))
    session = replace(SESSION, methods=((Metric.LINEARITY, "update"),))
    main, residual = _views(_desk(measured), session)[:2]
    assert main.series[0].status == (
        "The linearity of the update is of the residual stream: to the main stream nothing is added."
    )
    assert residual.series[0].profile


def test_a_profile_without_any_value_gives_its_reason():
    shape = Shape(layers=4, gap=(0, 1, 2, 3, 4), n=40)
    view = _views(_desk(made_up(shape=shape)))[0]
    assert not view.drawn
    assert view.series[0].status == "undefined: n = 40 rows are too few for d = 64"


def test_partial_results_are_called_partial():
    assert _views(_desk(made_up(complete=False, examples=24)))[0].partial == "partial, 24 ex"
    assert _views(_desk(made_up()))[0].partial == ""


def test_all_panes_share_the_x_axis_of_the_deepest_model():
    session = Session(MODELS, SLICE)
    desk = _desk(made_up(shape=Shape(layers=12)))
    other = Request(MODELS[1], SLICE)
    desk.forget(other)
    desk.measured(other, made_up(MODELS[1], shape=Shape(layers=20)))
    assert {view.axes.last for view in _views(desk, session)} == {20}


def test_variants_come_in_the_order_of_the_house():
    assert methods_measured(SESSION, [None, made_up()]) == ("in-sample", "held-out", "update")
    assert methods_measured(replace(SESSION, metric=Metric.DIMENSION), [made_up()]) == ("mle",)


def test_labels_are_short_unless_that_makes_them_the_same():
    def labels(*models: str, others: tuple[SliceSpec, ...] = ()) -> tuple[str, ...]:
        return labels_of(Session(models, SLICE, others=others).curves)

    few = replace(SLICE, count=50, filter="image")
    assert labels("demo:a", "org/b") == ("a", "b")
    assert labels("one/same", "two/same") == ("one/same", "two/same")
    assert labels("demo:a", others=(few,)) == ("whole scienceqa", "filter=image count=50")
    assert labels("demo:a", "demo:b", others=(few,)) == (
        "a on whole scienceqa",
        "b on whole scienceqa",
        "a on filter=image count=50",
    )


@pytest.mark.parametrize(
    ("labels", "width", "cut"),
    [
        (COMPARED, 35, COMPARED),
        (COMPARED, 25, (*COMPARED[:2], "llava-next…filter=image…")),
        (COMPARED, 17, ("llava-next…", "omnifusion…", "…filter=image…")),
        (COMPARED, 12, ("llava-next…", "omnifusion…", "filter=image")),
        (COMPARED, 8, ("lla…next", "omn…sion", "fil…mage")),
        (COMPARED, 5, ("ll…xt", "om…on", "fi…ge")),
        (("count=64", "filter=image count=64"), 14, ("count=64", "filter=image…")),
        (("llava-v1.6-vicuna-7b-hf", "llava-v1.6-mistral-7b-hf"), 12, ("…vicuna…", "…mistral…")),
        (("org/aaaaaaXbbbbbbbb", "org/aaaaaaYbbbbbbbb"), 8, ("…Xbbbbb…", "…Ybbbbb…")),
        (
            ("run20240101seed1cosine", "run20240101seed2cosine", "run20250101seed1cosine"),
            8,
            ("…1cosine", "…2cosine", "…50101s…"),
        ),
        (("aaaaaaaaaaaa", "aaaaaaaaaaaaa"), 8, ("…a", "…aa")),
        (("omnifusion-base",), 9, ("omni…base",)),
        (("same", "same"), 9, ("same", "same")),
        (("模型-一二三四五六", "模型-七八"), 9, ("一二…五六", "模型-七八")),
    ],
)
def test_of_labels_that_are_cut_what_tells_them_apart_is_kept(
    labels: tuple[str, ...], width: int, cut: tuple[str, ...]
):
    assert told_apart(labels, width) == cut
    assert len(set(cut)) == len(set(labels))
    assert all(cell_len(text) <= width for text in cut)


def test_the_worker_says_what_it_does():
    running = replace(JOB, state=JobState.RUNNING, progress=Progress("measuring", 12, 60, rate=3.0, eta=16.0))
    assert worker_state(_desk(made_up()), [REQUEST], 60) == ("worker idle", "idle")
    assert worker_state(_desk(job=JOB), [REQUEST], 60) == ("1 queued", "waiting")
    assert worker_state(_desk(job=running), [REQUEST], 60) == ("measuring 12/60 ex · 3 ex/s · ETA 0:16", "busy")
    assert worker_state(_desk(error="no shard"), [REQUEST], 60) == ("failed: no shard", "failed")


def test_a_job_for_something_else_is_named():
    desk = _desk(made_up())
    other = Request("demo:other", SLICE)
    desk.job(Job("7", other, JobState.RUNNING, Progress("measuring", 1, 9), created=1.0))
    assert worker_state(desk, [REQUEST], 60) == ("other: measuring 1/9 ex", "busy")


def test_of_a_job_for_something_else_the_name_gives_way_before_what_tells_it_apart():
    progress = Progress("measuring", 448, 700)
    one, other = Request("demo:llava-next", SLICE), Request("demo:omnifusion", SLICE)
    desk = Desk()
    desk.job(Job("7", replace(one, without=("sinks",)), JobState.RUNNING, progress, created=1.0))
    assert worker_state(desk, [one, other], 36) == ("without sinks: measuring 448/700 ex", "busy")
    assert worker_state(desk, [one, other], 60) == ("llava-next without sinks: measuring 448/700 ex", "busy")
    assert worker_state(desk, [one, other], 45)[0].startswith("llav…next without sinks: measuring")
    assert worker_state(desk, [one], 36) == ("without sinks: measuring 448/700 ex", "busy")
    job = Job("8", replace(one, model="demo:" + "x" * 50), kind=JobKind.WORST)
    assert told_from(job, [one], 15) == "worst tokens"
    assert told_from(job, [one], 24) == "worst tokens of xxx…xxxx"


def test_titles_name_modality_and_stream():
    assert [view.title for view in _views(_desk(made_up()))] == [
        "text · main",
        "text · residual",
        "image · main",
        "image · residual",
    ]
    assert _views(_desk(made_up()))[0].meaning == "counterfactual"
    assert SESSION.focus == (Modality.TEXT, Stream.MAIN)


def test_until_other_rows_are_measured_a_complete_result_of_the_same_stands_in_and_says_which_it_is():
    desk = _desk(made_up())
    partly = replace(REQUEST, without=("duplicates",))
    wanted = replace(REQUEST, without=("sinks",), before=True)
    for request in (partly, wanted):
        desk.forget(request)
    desk.measured(partly, made_up(complete=False, examples=3))
    views = pane_views(SESSION, desk, [wanted])
    assert views[0].stand_in == "still all rows, the decoder alone"
    assert views[0].drawn
    desk.measured(wanted, made_up(complete=False, examples=5))
    views = pane_views(SESSION, desk, [wanted])
    assert views[0].stand_in == ""
    assert views[0].warning == "partial, 5 ex"


def test_what_stands_in_is_the_nearest_variant_not_the_latest():
    desk = _desk(made_up())
    for stored in (replace(REQUEST, without=("sinks",)), replace(REQUEST, one_tile=True)):
        desk.forget(stored)
        desk.measured(stored, made_up())
    for wanted, still in (
        (replace(REQUEST, before=True), "the decoder alone"),
        (replace(REQUEST, without=("duplicates", "sinks")), "without sinks"),
        (replace(REQUEST, one_tile=True, without=("newline",)), "all rows"),
        (replace(REQUEST, one_tile=True, reference=True), "without the reference's values"),
    ):
        (view, *_) = pane_views(SESSION, desk, [wanted])
        assert view.stand_in == f"still {still}"


def test_what_stands_in_is_of_the_same_variant_for_all_curves():
    session = Session(MODELS, SLICE)
    first, second = (Request(model, SLICE) for model in MODELS)
    desk = Desk()
    for stored in (first, replace(first, one_tile=True), replace(second, one_tile=True, without=("sinks",)), second):
        desk.forget(stored)
        desk.measured(stored, made_up(stored.model))
    wanted = [replace(request, one_tile=True, before=True) for request in (first, second)]
    (view, *_) = pane_views(session, desk, wanted)
    assert view.stand_in == "still every tile, the decoder alone"
    desk.forget(replace(second, one_tile=True))
    desk.measured(replace(second, one_tile=True), made_up(second.model))
    (view, *_) = pane_views(session, desk, wanted)
    assert view.stand_in == "still the decoder alone"


def test_another_model_or_slice_never_stands_in():
    desk = _desk(made_up())
    for request in (Request(MODELS[1], SLICE), replace(REQUEST, slice=replace(SLICE, count=5))):
        desk.forget(request)
        (view, *_) = pane_views(SESSION, desk, [request])
        assert not view.drawn
        assert view.series[0].status == "looking into the store …"
