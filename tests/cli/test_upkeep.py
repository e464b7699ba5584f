"""The subcommands that look after the cache and its worker."""

import json
import os
from pathlib import Path

import pytest

import microscope_tui
from microscope_tui.cli import main
from microscope_tui.store import Store
from microscope_tui.terms import Job, JobState, Progress, Request, SliceSpec
from tests.sure import sure

PLACES = "1 is the next, 2 the one after it, …."


def test_what_the_cache_holds_can_be_listed_and_removed(capsys):
    assert main(["measure", "demo:omnifusion", "demo:scienceqa?count=4", "--metric", "anisotropy", "--csv"]) == 0
    capsys.readouterr()
    assert main(["cache", "ls", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    key = next(e["key"] for e in entries if e["key"].startswith("measurement/"))
    assert main(["cache", "rm", key]) == 0
    assert main(["cache", "rm", key]) == 2
    assert key in capsys.readouterr().err
    assert main(["measure", "demo:omnifusion", "demo:scienceqa?count=4", "--metric", "anisotropy", "--csv"]) == 0
    capsys.readouterr()
    assert main(["cache", "ls"]) == 0
    out = capsys.readouterr().out
    assert "demo:omnifusion on demo:scienceqa?count=4: anisotropy" in out
    assert "sums after all 4 examples of demo:omnifusion on demo:scienceqa" in out
    assert {line.partition("/")[0] for line in out.splitlines()[1:]} == {"blob", "measurement"}
    archive = os.environ["MICROSCOPE_CACHE"] + ".tar"
    assert main(["cache", "export", archive]) == 0
    assert "Wrote 1 results" in capsys.readouterr().err
    os.unlink(archive)
    assert main(["cache", "export", archive, "--all"]) == 0
    assert "Wrote 2 results" in capsys.readouterr().err
    assert main(["cache", "clear"]) == 0
    assert main(["cache", "import", archive]) == 0
    assert main(["cache", "verify"]) == 0
    assert main(["cache", "gc"]) == 0
    assert "Removed 0 leftovers" in capsys.readouterr().err
    assert main(["cache", "ls", "--json"]) == 0
    assert {e["key"].partition("/")[0] for e in json.loads(capsys.readouterr().out)} == {"blob", "measurement"}
    assert main(["cache", "import"]) == 2
    assert main(["cache", "clear"]) == 0
    capsys.readouterr()
    assert main(["cache", "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_worker_is_started_asked_and_stopped(capsys):
    assert main(["worker", "status"]) == 0
    assert "No worker runs" in capsys.readouterr().out
    assert main(["worker", "start"]) == 0
    try:
        capsys.readouterr()
        assert main(["worker", "status"]) == 0
        assert "0 job(s) running, 0 queued" in capsys.readouterr().out
        assert main(["jobs", "--cancel", "nothing"]) == 2
        assert main(["worker", "log"]) == 0
        assert "serves" in capsys.readouterr().out
    finally:
        assert main(["worker", "stop"]) == 0
    assert "has ended" in capsys.readouterr().out
    assert main(["jobs", "--cancel", "nothing"]) == 2
    assert "no job nothing" in capsys.readouterr().err


def test_jobs_are_paused_moved_and_cancelled_with_and_without_a_worker(tmp_path, capsys):
    """Without one nothing is begun: the jobs are looked at by nobody but us."""
    cache = tmp_path / "cache"
    with Store(cache) as store:
        for number, name in enumerate("abc"):
            spec = SliceSpec("demo:scienceqa", count=number + 1)
            request = Request("demo:llava-next", spec, without=("sinks",) if name == "c" else ())
            store.put_job(Job(name, request, JobState.PAUSED, created=number))

    def listed():
        assert main(["jobs", "--json", "--cache", str(cache)]) == 0
        return [(job["id"], job["state"]) for job in json.loads(capsys.readouterr().out)]

    def act(*arguments):
        code = main(["jobs", *arguments, "--cache", str(cache)])
        return code, capsys.readouterr().err.strip()

    assert act("--move", "c", "1") == (0, "Job c is paused.")
    assert act("--cancel", "b") == (0, "Job b is cancelled.")
    assert listed() == [("b", "cancelled"), ("c", "paused"), ("a", "paused")]
    for place in ("0", "-1", "next"):
        assert act("--move", "c", place) == (2, f"microscope-tui: {place!r} is no place in the queue: {PLACES}")
    assert main(["worker", "start", "--cache", str(cache)]) == 0
    try:
        capsys.readouterr()
        assert act("--move", "a", "1") == (0, "Job a is paused.")
        assert act("--pause", "a") == (0, "Job a is paused.")
        assert act("--cancel", "c") == (0, "Job c is cancelled.")
        assert listed()[-1] == ("a", "paused")
    finally:
        assert main(["worker", "stop", "--cache", str(cache)]) == 0
    capsys.readouterr()
    assert main(["jobs", "--cache", str(cache)]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[-2:] == ["variant", "error"]
    assert [row.endswith("without sinks") for row in rows] == [row.startswith("c ") for row in rows]


@pytest.mark.parametrize("columns", [80, 160])
def test_a_long_name_is_cut_in_the_list_of_jobs_in_a_terminal_and_whole_elsewhere(
    columns: int, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    long, spec = "/models/" + "x" * 192 + "-end", SliceSpec("demo:scienceqa", count=64)
    with Store(tmp_path) as store:
        for number, name in enumerate((long, "demo:llava-next")):
            store.put_job(Job(str(number), Request(name, spec), JobState.PAUSED, created=number))
    assert main(["jobs", "--cache", str(tmp_path)]) == 0
    whole = capfd.readouterr().out
    assert long in whole
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    assert main(["jobs", "--cache", str(tmp_path)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= max(columns, 110)
    assert "/models/xxx" in lines[1]
    assert "-end" in lines[1]
    assert "x…x" in lines[1]
    assert all("demo:scienceqa?count=64" in line for line in lines[1:])
    assert "demo:llava-next" in lines[2]


def test_the_list_of_jobs_says_what_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    spec = SliceSpec("demo:scienceqa", count=64)
    told = (Progress("measuring", 64, 64), Progress("logit lens", 9, 9, unit="layers"), Progress("running the model"))
    with Store(tmp_path) as store:
        for number, progress in enumerate(told):
            job = Job(str(number), Request("m/m", spec), JobState.DONE, created=number, progress=progress)
            store.put_job(job)
    assert main(["jobs", "--cache", str(tmp_path)]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    begin, end = header.index("done"), header.index("model")
    assert [row[begin:end].strip() for row in rows] == ["64/64", "9/9 layers", ""]


def test_read_only_changes_nothing_and_says_so(tmp_path, capsys, monkeypatch):
    few = ["demo:omnifusion", "demo:scienceqa?count=4", "--metric", "anisotropy", "--stream", "main", "--csv"]

    def refused(*arguments):
        assert main(["--read-only", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("microscope-tui: ")
        assert err.count("\n") == 1
        return err

    assert "read-only nothing is measured" in refused("measure", *few)
    assert not (tmp_path / "cache").exists()
    assert main(["measure", *few]) == 0
    measured = capsys.readouterr().out
    with Store(tmp_path / "cache") as store:
        store.put_job(Job("a", Request("demo:llava-next", SliceSpec("demo:scienceqa")), JobState.PAUSED))
        held = {entry.key for entry in store.entries()}
    archive = str(tmp_path / "results.tar")
    assert main(["--read-only", "cache", "export", archive]) == 0
    assert main(["--read-only", "measure", *few]) == 0
    assert capsys.readouterr().out == measured
    theirs = ["--cache", str(tmp_path / "theirs")]
    assert main([*theirs, "cache", "import", archive]) == 0
    capsys.readouterr()
    for more, apart in (
        ([], "made of other files, or of files that are not here"),
        (["--folds", "3", "--dtype", "bfloat16", "--metric", "dimension"], "in float32, 10 folds, without dimension"),
        (["--modality", "text", "audio"], "without audio"),
    ):
        said = refused(*theirs, "measure", *few, *more)
        shown = f"`microscope-tui --read-only --cache {tmp_path}/theirs` shows"
        assert f": of this model and slice it has one {apart}, which {shown}; leave" in said
    with monkeypatch.context() as patch:
        patch.setattr("microscope_tui.cli.commands.__version__", "9.9")
        made = f"made by version {microscope_tui.__version__}"
        assert f"it has one {made}, which" in refused(*theirs, "measure", *few)
    assert "one" not in refused(*theirs, "measure", *few, "--without", "sinks").partition("measured: ")[2]
    for action in (["clear"], ["gc"], ["verify"], ["rm", min(held)], ["import", archive]):
        assert "read-only" in refused("cache", *action)
    for command in (["jobs", "--cancel", "a"], ["worker", "start"], ["worker", "stop"]):
        assert "Read-only the worker and the jobs" in refused(*command)
    assert main(["--read-only", "jobs"]) == main(["--read-only", "worker", "status"]) == 0
    with Store(tmp_path / "cache", read_only=True) as store:
        assert {entry.key for entry in store.entries()} == held
        assert [job.state for job in store.jobs()] == [JobState.PAUSED]


def test_what_work_in_the_middle_leaves_is_named(capsys):
    with Store(Path(os.environ["MICROSCOPE_CACHE"])) as store:
        store.put_blob("rows-0123-8-16-4567-cdef", b"x")
        store.put_blob("state-0123-8-89ab-cdef", b"x")
    assert main(["cache"]) == 0
    out = capsys.readouterr().out
    assert "rows of the 8 examples behind the first 8: work that was stopped need not do them again" in out
    assert "sums after 8 examples: a larger slice, or work that was stopped, goes on from here" in out
    assert main(["cache", "clear"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cache", "verify", "--json"], "--json says how a list is printed: `microscope-tui cache verify` does not"),
        (["cache", "ls", "--all"], "--all says what is exported: `microscope-tui cache ls` does not take it."),
        (["jobs", "--pause", "x", "--json"], "--json says how the list is printed: `microscope-tui jobs --pause` does"),
        (["cache", "export", "."], "The archive . would be a folder: give it the name of a file."),
        (["cache", "export", ".."], "The archive .. would be a folder: give it the name of a file."),
        (["cache", "export", "nowhere/x.tar"], "The archive nowhere/x.tar cannot be written (No such file"),
        (["cache", "import", "nowhere.tar"], "The archive nowhere.tar cannot be read (No such file or dir"),
        (["--read-only", "cache", "gc"], "was opened read-only, to be looked at: leave out read-only."),
    ],
)
def test_what_has_no_effect_or_no_place_is_refused_in_a_sentence(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_what_is_damaged_is_told_by_the_exit_code(tmp_path, capsys):
    with Store(tmp_path / "cache") as store:
        store.put_blobs({"lost": b"1", "cut": b"123"})
        sure(store.blob_file("lost")).unlink()
        os.truncate(sure(store.blob_file("cut")), 2)
    assert main(["cache", "verify"]) == 2
    out, err = capsys.readouterr()
    said = dict(line.split(": ", 1) for line in out.splitlines())
    assert said["blob/lost"] == "its file is gone"
    assert "; set aside in " in said["blob/cut"]
    assert err == "2 damaged of 2 entries.\n"
    assert main(["cache", "verify"]) == 0


@pytest.mark.parametrize("act", ["--cancel", "--pause", "--resume", "--retry"])
def test_an_empty_name_is_no_job(act, tmp_path, capsys):
    Store(tmp_path / "cache").close()
    try:
        assert main(["jobs", act, ""]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "There is no job" in err
    finally:
        main(["worker", "stop"])


def test_the_log_of_a_job_that_is_not_there_is_refused(capsys):
    assert main(["worker", "log", "nosuch"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "says nothing of a job nosuch" in err
