import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.results import Answer, Estimate, Measurement, Note, Profile, Skipped, Trap, about
from microscope_tui.terms import COLUMN_ROLES, Job, JobState, Metric, Modality, Progress, Request, SliceSpec, Stream

columns = st.dictionaries(st.sampled_from(COLUMN_ROLES), st.text(min_size=1).filter(lambda s: s.strip(",")))
options = {
    "source": st.text(min_size=1).filter(lambda s: "?" not in s),
    "split": st.text(min_size=1),
    "filter": st.text(),
}
specs = st.builds(
    SliceSpec,
    **options,
    count=st.none() | st.integers(1, 10**6),
    seed=st.integers(0, 2**31),
    columns=columns.map(lambda mapping: tuple(mapping.items())),
) | st.builds(
    SliceSpec, **options, count=st.integers(1, 10**6), prompt=st.text(), stream=st.booleans(), seed=st.just(0)
)


def through_json(value):
    return type(value).from_json(json.loads(json.dumps(value.to_json(), allow_nan=False)))


@given(specs)
def test_a_slice_is_its_text_form(spec):
    assert SliceSpec.parse(str(spec)) == spec
    assert through_json(spec) == spec


def test_what_has_its_default_is_left_out_of_the_text_form():
    assert str(SliceSpec("demo:scienceqa")) == "demo:scienceqa"
    assert str(SliceSpec("a/b", filter="image,subject:natural science", count=20)) == (
        "a/b?filter=image,subject:natural%20science&count=20"
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no source"),
        ("a?count=many", "many"),
        ("a?count=0", "empty"),
        ("a?cuont=3", "cuont"),
        ("a?count=-1", "-1"),
        ("a?image=", "image= in the slice names no column"),
        ("a?choices=,", "choices= in the slice names no column"),
        ("a?image=x&image=y", "image= stands twice"),
        ("a?question=q&prompt=p", "both a prompt and a column of questions"),
        ("a?stream=1", "needs to know where to end"),
        ("a?stream=1&count=3&seed=1", "leave out the seed"),
        ("a?stream=yes&count=3", "stream=yes"),
        ("a?count=5&count=3", "count= stands twice"),
        ("a?filter=image&filter=text-only", "filter= stands twice in the slice"),
    ],
)
def test_a_wrong_slice_is_refused_by_naming_the_part(text, part):
    with pytest.raises(MicroscopeError, match=part):
        SliceSpec.parse(text)


def test_columns_prompt_and_stream_are_options_of_the_text_form():
    spec = SliceSpec.parse("a/b?count=9&question=caption&choices=a,b,c&image=photo&stream=1")
    assert spec.columns == (("choices", "a,b,c"), ("image", "photo"), ("question", "caption"))
    assert spec == SliceSpec("a/b", count=9, stream=True, columns=tuple(reversed(spec.columns)))
    assert str(spec) == "a/b?count=9&stream=1&choices=a,b,c&image=photo&question=caption"
    assert SliceSpec.parse("./x?prompt=Describe the picture.") == SliceSpec("./x", prompt="Describe the picture.")
    assert str(SliceSpec("./x", prompt="Describe it.")) == "./x?prompt=Describe%20it."
    with pytest.raises(MicroscopeError, match="No column can be mapped to 'picture'"):
        SliceSpec("a", columns=(("picture", "x"),))


def test_a_slice_without_the_newer_fields_is_still_read():
    assert SliceSpec.from_json({"source": "a", "count": 3}) == SliceSpec("a", count=3)


def test_a_precision_that_is_none_is_refused_before_anything_is_opened():
    with pytest.raises(MicroscopeError, match="no precision 'flot16': use float32, bfloat16, float16 or auto"):
        Request("demo:llava-next", SliceSpec("demo:scienceqa"), dtype="flot16")


def test_an_empty_word_is_refused_like_any_other():
    with pytest.raises(MicroscopeError, match="'' is none of the metrics: use linearity, dimension, anisotropy"):
        Request("demo:llava-next", SliceSpec("demo:scienceqa"), metrics=("",))  # type: ignore[arg-type]


@given(specs, st.sampled_from(["auto", "cuda:1"]))
def test_requests_and_jobs_go_through_json(spec, device):
    request = Request("demo:llava-next", spec, metrics=(Metric.DIMENSION,), device=device)
    assert through_json(request) == request
    job = Job("7", request, progress=Progress("measuring", 3, 9, 120, 1.5, 4.0), error="no")
    assert through_json(job) == job
    told = replace(job, becoming=JobState.PAUSED, progress=Progress("loading weights", percent=30), fault=Fault.CACHE)
    assert through_json(told) == told


def test_a_job_as_older_versions_have_stored_it_is_still_read():
    job = Job("7", Request("demo:llava-next", SliceSpec("a")), progress=Progress("measuring", 3, 9))
    stored = json.loads(json.dumps(job.to_json()))
    del stored["becoming"], stored["fault"], stored["progress"]["percent"]
    assert Job.from_json(stored) == job


def profile(values, n=50):
    estimates = [Estimate(v, n=n, d=4, reason=None if v is not None else "too few rows") for v in values]
    return Profile.of(Metric.LINEARITY, "in-sample", Modality.TEXT, Stream.RESIDUAL, estimates, d=4, examples=5)


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=40))
def test_measurements_go_through_json(values):
    measurement = Measurement(
        "m",
        SliceSpec("s", count=3),
        (profile(values),),
        tokens={"text": 9},
        skipped=(Skipped("row 7", "corrupt"),),
        refused={"main": "because"},
        notes=("a note",),
        provenance={"key": "k"},
        complete=False,
        accuracy=1.0,
        answers=(Answer("row 1", 0, True, 0.5),),
        questions=3,
    )
    assert through_json(measurement) == measurement
    assert (measurement.to_json()["scored"], measurement.to_json()["questions"]) == (1, 3)


def test_what_notes_are_about_and_how_many_rows_repeat_go_through_json_and_older_results_are_read_without():
    notes = ("plain", Note("5 rows are there twice", Trap.DUPLICATES))
    estimates = [Estimate(0.5, n=50, d=4, notes=notes, repeated=0.1), Estimate(None, d=4, reason="too few rows")]
    told = Profile.of(Metric.DIMENSION, "mle", Modality.TEXT, Stream.RESIDUAL, estimates, d=4, examples=5)
    again = through_json(told)
    assert again == told
    assert [[about(note) for note in each] for each in again.notes] == [[None, Trap.DUPLICATES], [None]]
    assert again.repeated == (0.1, None)
    stored = json.loads(json.dumps(told.to_json()))
    assert stored["notes"] == [["plain", "5 rows are there twice"], ["too few rows"]]
    del stored["traps"], stored["repeated"]
    old = Profile.from_json(stored)
    assert old == replace(told, repeated=(None, None))
    assert {about(note) for each in old.notes for note in each} == {None}


def test_a_profile_carries_n_over_d_and_its_formula_and_says_why_a_value_is_missing():
    data = profile([0.5, None]).to_json()
    assert data["n_over_d"] == [12.5, 12.5]
    assert "min_A" in data["formula"]
    assert data["notes"] == ((), ("too few rows",))


def test_lists_of_different_length_are_no_profile():
    good = profile([0.5])
    with pytest.raises(ValueError, match="different lengths"):
        Profile(**{**vars(good), "layers": (0, 1)})


def test_a_profile_is_found_by_its_metrics_default_method():
    measurement = Measurement("m", SliceSpec("s"), (profile([1.0]),))
    found = measurement.profile(Metric.LINEARITY, Modality.TEXT, Stream.RESIDUAL)
    assert found is measurement.profiles[0]
    assert measurement.profile(Metric.LINEARITY, Modality.TEXT, Stream.RESIDUAL, "held-out") is None
