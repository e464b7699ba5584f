"""Numbers and sentences as they are written."""

import pytest

from microscope_tui.results import Estimate, Profile
from microscope_tui.tables import duration
from microscope_tui.terms import Job, JobState, Metric, Modality, Progress, Request, SliceSpec, Stream
from microscope_tui.tui.content.names import short_name
from microscope_tui.tui.content.readout import (
    choose,
    fit,
    pieces,
    progress,
    ratio,
    shorten,
    shorten_end,
)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (41.2, "0:41"), (725, "12:05"), (11220, "3:07:00"), (-1, "0:00")]
)
def test_duration(seconds: float, text: str):
    assert duration(seconds) == text


def test_ratio():
    assert (ratio(4812, 64), ratio(144360, 64), ratio(5, 0)) == ("75.2", "2,256", "0.0")


@pytest.mark.parametrize("width", [0, 1, 3, 4, 7, 10, 300])
def test_shortened_names_fit_and_keep_both_ends(width: int):
    name = "llava-hf/llava-v1.6-mistral-7b-hf"
    short = shorten(name, width)
    assert len(short) <= width or short == name
    if 7 <= width < len(name):
        assert short[:3] == name[:3]
        assert short[-3:] == name[-3:]


def test_sentences_are_cut_at_their_end():
    assert shorten_end("the worker has died", 11) == "the worker…"


@pytest.mark.parametrize(
    ("name", "short"),
    [("demo:llava-next", "llava-next"), ("llava-hf/x-7b", "x-7b"), ("/data/models/mine/", "mine"), ("/", "/")],
)
def test_short_name(name: str, short: str):
    assert short_name(name) == short


def test_what_matters_most_is_said_first_and_in_reading_order():
    said = [(0, "value"), (3, "ccc"), (1, "a"), (2, "bb")]
    assert fit(said, 100, " ") == "value ccc a bb"
    assert fit(said, 10, " ") == "value a bb"
    assert fit(said, 7, " ") == "value a"
    assert fit(said, 3, " ") == "va…"
    assert choose(said, 0) == [(0, "")]


def _profile(*estimates: Estimate) -> Profile:
    return Profile.of(Metric.LINEARITY, "in-sample", Modality.TEXT, Stream.MAIN, estimates, d=64, examples=200)


def test_the_value_comes_with_interval_n_d_and_traps():
    profile = _profile(Estimate(0.91, 0.9, 0.92, n=4812, d=64, notes=("sinks: 3 rows",)))
    assert fit(pieces(profile, 0), 200) == "0.9100  *  [0.9000, 0.9200]  n/d 75.2  n 4,812  d 64  sinks: 3 rows"


def test_a_gap_says_why():
    profile = _profile(Estimate(None, n=40, d=64, reason="n = 40 is not above d + 1 = 65"))
    assert fit(pieces(profile, 0), 200).startswith("undefined: n = 40 is not above d + 1 = 65")


def test_a_layer_without_a_block_says_so():
    assert fit(pieces(_profile(Estimate(0.5)), 1), 200) == "no block starts here"


def _job(state: JobState, now: Progress, error: str | None = None) -> Job:
    return Job("1", Request("demo:a", SliceSpec("demo:s")), state, now, error)


def test_progress_of_a_running_job():
    job = _job(JobState.RUNNING, Progress("measuring", 120, 600, 90_000, 12.34, 41.0, skipped=2))
    assert progress(job) == "measuring 120/600 ex · 12.3 ex/s · ETA 0:41 · 2 skipped"
    assert progress(job, 35) == "measuring 120/600 ex · ETA 0:41"
    assert progress(job, 5) == "meas…"


def test_progress_before_the_first_example():
    assert progress(_job(JobState.RUNNING, Progress("loading model"))) == "loading model"


def test_a_phase_that_counts_by_itself_is_not_followed_by_another_count():
    now = Progress("computing profiles", 700, 700, 90_000, 12.34, 0.0, skipped=2, percent=53)
    assert progress(_job(JobState.RUNNING, now)) == "computing profiles 53 % · 2 skipped"


def test_what_is_counted_but_is_no_example_is_named():
    now = Progress("linear maps of text tokens", 72, 80, unit="maps")
    assert progress(_job(JobState.RUNNING, now)) == "linear maps of text tokens 72/80 maps"


def test_progress_of_jobs_that_do_not_run():
    assert progress(_job(JobState.QUEUED, Progress("queued"))) == "queued"
    assert progress(_job(JobState.FAILED, Progress("measuring"), "no shard 2")) == "failed: no shard 2"
