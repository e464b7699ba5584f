"""The command line as a user meets it: real processes for exit codes, `main` for the many ways to be wrong."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from functools import partial

import pytest

from microscope_tui import __version__
from microscope_tui.catalogue.locate import locate_model, locate_slice
from microscope_tui.cli import main
from microscope_tui.cli.interrupt import interrupt
from microscope_tui.cli.parser import build_parser
from microscope_tui.cli.talk import describe
from microscope_tui.methods import METHODS
from microscope_tui.store import Store
from microscope_tui.store.names import parsed
from microscope_tui.terms import Metric, Progress
from tests.sure import sure

COMMAND = [sys.executable, "-m", "microscope_tui"]


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=240, **options)


def test_measure_prints_one_json_object_and_reads_it_the_second_time():
    first = run("measure", "demo:llava-next", "demo:scienceqa?count=12", "--metric", "all", "--json")
    assert first.returncode == 0, first.stderr
    data = json.loads(first.stdout)
    assert data["model"] == "demo:llava-next"
    assert data["slice"] == "demo:scienceqa?count=12"
    seen = {(p["metric"], p["modality"], p["stream"]) for p in data["profiles"]}
    metrics, streams = ("linearity", "dimension", "anisotropy"), ("residual", "update", "main")
    assert seen == {(m, mod, s) for m in metrics for mod in ("text", "image") for s in streams}
    for p in data["profiles"]:
        assert len({len(p[name]) for name in ("layers", "value", "low", "high", "n", "n_over_d", "notes")}) == 1
        assert p["layers"][0] == 0
        assert p["d"] == 96
        assert p["formula"]
    assert max(max(p["layers"]) for p in data["profiles"]) == 8
    assert 0 <= data["accuracy"] <= 1
    assert data["provenance"]["key"]
    assert data["provenance"]["dtype"] == "float32"
    assert "measuring" in first.stderr
    second = run("measure", "demo:llava-next", "demo:scienceqa?count=12", "--metric", "all", "--json")
    assert json.loads(second.stdout) == data
    assert second.stderr == ""


def test_csv_has_one_row_per_layer():
    done = run(
        "measure", "demo:omnifusion", "demo:scienceqa?count=8", "--metric", "anisotropy", "--stream", "main", "--csv"
    )
    assert done.returncode == 0, done.stderr
    every = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {r["method"] for r in every} == {*METHODS[Metric.ANISOTROPY]} - {"llm-microscope"}
    rows = [r for r in every if r["method"] == "top-eigenvalue"]
    assert [int(r["layer"]) for r in rows] == [*range(9)] * 2
    assert {r["modality"] for r in rows} == {"text", "image"}
    assert all(0 < float(r["value"]) <= 1 for r in rows)


def test_an_interrupt_ends_with_130_and_one_line_and_keeps_what_was_measured(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "measure", "demo:llava-next", "demo:scienceqa", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # ignored in the background of a script
    )  # fmt: skip
    said = ""
    while "measuring" not in said:
        line = sure(process.stderr).readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert out == ""
    last = err.splitlines()[-1]
    (done,) = sure(
        re.fullmatch(r"Stopped after (\d+) of 700 examples\. The same command goes on from there\.", last)
    ).groups()
    with Store(tmp_path / "cache", read_only=True) as store:
        kept = [name.end for entry in store.entries() if (name := parsed(entry.key.removeprefix("blob/")))]
    assert max(kept) == int(done) > 0


def test_a_closed_pipe_is_no_error():
    line = f"{sys.executable} -m microscope_tui slices | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=240)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


@pytest.mark.parametrize(("arguments", "code"), [(["cache"], 0), (["jobs", "--cancel", "nothing"], 2)])
def test_talk_that_nobody_reads_takes_neither_the_data_nor_the_exit_code_along(arguments, code, tmp_path):
    Store(tmp_path / "cache").close()
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "microscope_tui", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, text=True, timeout=240)
    os.close(writer)
    assert done.returncode == code
    assert done.stdout.startswith("key") == (arguments == ["cache"])


def broken_model(folder, *, without=None, cut=None):
    shutil.copytree(sure(locate_model("demo:llava-next")), folder)
    if without:
        (folder / without).unlink()
    if cut:
        os.truncate(folder / cut, (folder / cut).stat().st_size // 2)
    return folder


def sharded_model(folder):
    """A checkpoint in two shards whose second one is missing, as a broken download leaves it."""
    from safetensors.torch import load_file, save_file

    broken_model(folder)
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    shards = {f"model-0000{i}-of-00002.safetensors": names[i - 1 :: 2] for i in (1, 2)}
    for shard, kept in shards.items():
        save_file({name: tensors[name] for name in kept}, folder / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: shard for shard, kept in shards.items() for name in kept}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    (folder / "model-00002-of-00002.safetensors").unlink()
    return folder


def rows_without(folder, column=None, keep=None):
    import pyarrow.parquet as pq

    table = pq.read_table(next(sure(locate_slice("demo:scienceqa")).glob("*.parquet"))).slice(0, 20)
    folder.mkdir()
    pq.write_table(
        table.drop_columns([column]) if column else table.slice(0, keep), folder / "test-00000-of-00001.parquet"
    )
    return folder


def read_only_folder(folder):
    folder.mkdir()
    folder.chmod(0o500)
    return folder


WRONG = {
    "an unknown demo model": (lambda t: ["demo:gpt", "demo:scienceqa"], ["demo:gpt", "demo:llava-next"]),
    "a missing folder": (lambda t: [f"{t}/nowhere", "demo:scienceqa"], ["nowhere", "folder"]),
    "a hub id that is not here": (lambda t: ["owner/absent", "demo:scienceqa"], ["owner/absent"]),
    "no name at all": (lambda t: ["hello", "demo:scienceqa"], ["hello", "hub id"]),
    "a missing shard": (
        lambda t: [str(sharded_model(t / "m")), "demo:scienceqa"],
        ["model-00002-of-00002.safetensors", "incomplete"],
    ),
    "cut weights": (
        lambda t: [str(broken_model(t / "m", cut="model.safetensors")), "demo:scienceqa"],
        ["model.safetensors", "damaged"],
    ),
    "no config": (lambda t: [str(broken_model(t / "m", without="config.json")), "demo:scienceqa"], ["config.json"]),
    "no image column": (
        lambda t: ["demo:llava-next", str(rows_without(t / "d", column="image"))],
        ["image", "column"],
    ),
    "an empty slice": (lambda t: ["demo:llava-next", "demo:scienceqa?filter=subject:alchemy"], ["alchemy"]),
    "an empty file": (lambda t: ["demo:llava-next", str(rows_without(t / "d", keep=0))], ["is empty"]),
    "an unknown slice": (lambda t: ["demo:llava-next", "demo:nothing"], ["demo:nothing", "demo:scienceqa"]),
    "an unknown split": (lambda t: ["demo:llava-next", "demo:scienceqa?split=train"], ["train", "test"]),
    "a wrong option": (lambda t: ["demo:llava-next", "demo:scienceqa?size=3"], ["size", "count"]),
    "a read-only cache": (
        lambda t: ["demo:llava-next", "demo:scienceqa", "--cache", str(read_only_folder(t / "ro"))],
        ["ro"],
    ),
    "a file for a cache": (
        lambda t: [
            "demo:llava-next",
            "demo:scienceqa",
            "--cache",
            str(sure(locate_model("demo:llava-next")) / "config.json"),
        ],
        ["config.json", "folder"],
    ),
    "a wrong setting": (lambda t: ["demo:llava-next", "demo:scienceqa", "--folds", "0"], ["folds"]),
    "a device that is not here": (
        lambda t: ["demo:llava-next", "demo:scienceqa", "--device", "cuda:77"],
        ["cuda:77"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_one_sentence_on_stderr_and_exit_code_2(case, tmp_path, capsys):
    arguments, parts = WRONG[case]
    code = main(["measure", *arguments(tmp_path), "--json"])
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    sentence = [line for line in err.splitlines() if line.startswith("microscope-tui: ")]
    assert len(sentence) == 1
    assert "internal error" not in err
    assert "Traceback" not in err
    assert all(part in sentence[0] for part in parts), sentence[0]


def test_the_explorer_needs_a_terminal():
    done = run(stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "terminal" in done.stderr


def test_a_refusal_is_broken_between_words_in_a_terminal_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    asked = ["cache", "ls", "one", "two"]
    assert main(asked) == 2
    whole = capfd.readouterr().err
    assert whole.count("\n") == 1
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((40, 24)))
    assert main(asked) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40
    assert " ".join(lines) == whole.strip()


@pytest.mark.parametrize("kind", ["dumb", "unknown", "DUMB"])
def test_the_explorer_refuses_a_terminal_that_cannot_draw(kind: str, capsys, monkeypatch):
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert f"TERM={kind}" in said
    assert said.count("\n") == 1


def test_lists_are_text_or_json(capsys):
    assert main(["models"]) == 0
    assert "demo:omnifusion" in capsys.readouterr().out
    assert main(["slices", "--json"]) == 0
    assert "demo:scienceqa" in {entry["name"] for entry in json.loads(capsys.readouterr().out)}
    assert main(["jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["cache", "path"]) == 0
    assert capsys.readouterr().out.strip() == os.environ["MICROSCOPE_CACHE"]


def test_options_count_before_and_behind_the_subcommand():
    parser = build_parser()
    before = parser.parse_args(["--dtype", "bfloat16", "--cache", "x", "measure", "m", "s"])
    behind = parser.parse_args(["measure", "m", "s", "--dtype", "bfloat16", "--cache", "x"])
    assert (before.dtype, before.cache) == (behind.dtype, behind.cache) == ("bfloat16", "x")


def test_what_stands_before_a_subcommand_counts_or_is_refused(capsys):
    few = ["measure", "demo:omnifusion", "demo:scienceqa?count=6", "--stream", "main", "--csv"]
    assert main(["--metric", "anisotropy", *few]) == 0
    assert {row["metric"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))} == {"anisotropy"}
    for flag in ("model", "compare", "slice"):
        for command in (["demo"], few, ["jobs"]):
            if (flag, command) == ("slice", ["demo"]):
                continue  # the shipped pair can be shown on any
            assert main([f"--{flag}", "demo:omnifusion", *command]) == 2
            assert f"--{flag} says what the explorer opens on" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["demo", "--slice", "demo:scienceqa?count=9"], ["demo"]])
def test_the_demo_is_shown_on_any_slice(arguments, monkeypatch):
    opened: list[Namespace] = []
    monkeypatch.setattr("microscope_tui.cli.commands.explore", opened.append)
    assert main(arguments) == 0
    (options,) = opened
    assert (options.shown_model, options.shown_compare) == ("demo:llava-next", "demo:omnifusion")
    assert options.shown_slice == (arguments[2] if len(arguments) > 1 else "demo:scienceqa")


@pytest.mark.parametrize("command", ["demo", "plan", "jobs"])
def test_what_a_subcommand_does_not_know_is_answered_with_its_own_usage(command, capsys):
    named = ["m", "s"] if command == "plan" else []
    with pytest.raises(SystemExit) as ended:
        main([command, *named, "--compare", "x"])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"usage: microscope-tui {command} ")
    assert said.splitlines()[-1] == f"microscope-tui {command}: error: unrecognized arguments: --compare x"
    assert "[--compare" not in said


@pytest.mark.parametrize("command", [["jobs"], ["cache", "path"], ["worker", "status"], ["models"], ["slices"]])
@pytest.mark.parametrize(
    "flags",
    [["--metric", "dimension"], ["--max-batch", "2"], ["--no-before"], ["--without", "sinks"], ["--device", "cpu"]],
)
def test_what_is_measured_is_refused_where_nothing_is(command, flags, capsys):
    assert main([*flags, *command]) == 2
    out, err = capsys.readouterr()
    flag = flags[0].replace("--no-", "--")
    assert (out, err) == (
        "",
        f"microscope-tui: {flag} says what is measured, or how, and nothing is measured here: leave it out.\n",
    )
    assert main(["--cache", os.environ["MICROSCOPE_CACHE"], *command]) == 0, "the cache is always one's own choice"


def test_output_that_cannot_be_written_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "slices"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=240)
    said = "microscope-tui: The output cannot be written (No space left on device): send it elsewhere.\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_words_given_twice_count_once_and_a_table_is_for_people(capsys):
    few = ["measure", "demo:omnifusion", "demo:scienceqa?count=6", "--metric", "anisotropy", "anisotropy"]
    assert main([*few, "--stream", "main", "main"]) == 0
    out = capsys.readouterr().out
    assert out.count("anisotropy (top-eigenvalue)") == 2
    assert "95 % interval" in out
    assert "accuracy" in out


def test_debug_shows_the_traceback_and_keeps_the_exit_code(capsys):
    assert main(["--debug", "measure", "demo:gpt", "demo:scienceqa"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_version_help_and_completion(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert __version__ in capsys.readouterr().out
    for shell in ("bash", "zsh", "tcsh"):
        assert main(["completion", shell]) == 0
        assert "measure" in capsys.readouterr().out
    assert build_parser().format_help().count("demo:NAME") >= 1


def test_help_and_lists_load_nothing_heavy():
    code = (
        "import sys; from microscope_tui.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "main(['models'])\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'textual', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress("loading model"), "loading model"),
        (Progress("measuring", 3, 9, 1200, 1.5, 64.2), "measuring 3/9 ex · 1,200 tokens · 1.5 ex/s · ETA 1:04"),
        (Progress("measuring", 3, 9, 1200, 1.5, 4000), "measuring 3/9 ex · 1,200 tokens · 1.5 ex/s · ETA 1:06:40"),
        (Progress("keeping linear maps", 3, 8, unit="maps"), "keeping linear maps 3/8 maps"),
        (Progress("computing profiles", 9, 9, 1200, 1.5, 0.0, percent=53), "computing profiles 53 %"),
    ],
)
def test_progress_is_one_line(progress, text):
    assert describe(progress) == text


def test_read_only_counts_also_as_a_setting(monkeypatch, capsys):
    monkeypatch.setenv("MICROSCOPE_READ_ONLY", "1")
    assert main(["cache", "clear"]) == 2
    assert "read-only" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--theme", "microscope-light"], ["--ascii"], ["--no-ascii"]])
def test_how_the_explorer_is_drawn_is_refused_before_what_draws_nothing(flag, capsys):
    assert main([*flag, "models"]) == 2
    assert f"--{flag[0].removeprefix('--no-').strip('-')} says how the explorer is drawn" in capsys.readouterr().err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_is_no_defect(closed):
    for arguments in ("models", "slices --json"):
        line = f"{sys.executable} -m microscope_tui {arguments} {closed}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=240)
        assert (done.returncode, done.stderr) == (0, "")
        assert ("demo:" in done.stdout) == (closed == "2>&-")


def test_the_explorer_refuses_a_closed_stream():
    line = f"{sys.executable} -m microscope_tui >&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


@pytest.mark.parametrize("handler", [signal.SIG_IGN, None])
def test_a_signal_that_is_ignored_stays_ignored(handler, monkeypatch):
    """None: what `getsignal` says of a handler that Python did not set."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    getsignal = signal.getsignal
    try:
        with monkeypatch.context() as patch:
            patch.setattr(signal, "getsignal", lambda of: handler if of == signal.SIGINT else getsignal(of))
            with interrupt() as interrupted:
                signal.raise_signal(signal.SIGINT)
                assert not interrupted()
                signal.raise_signal(signal.SIGTERM)
                assert interrupted()
        assert getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
