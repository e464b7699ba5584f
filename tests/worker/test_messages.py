"""What screen and worker say to each other, line by line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui import __version__, versions
from microscope_tui.catalogue.locate import DEMO
from microscope_tui.errors import Fault, MicroscopeError
from microscope_tui.store import keys
from microscope_tui.terms import Job, JobKind, JobState, Progress, Request, SliceSpec
from microscope_tui.worker import protocol
from microscope_tui.worker.protocol import decode, encode
from tests.sure import sure

REQUEST = Request("demo:llava-next", SliceSpec("demo:scienceqa", count=7))
JOB = Job("j", REQUEST, JobState.RUNNING, Progress("measuring", 1, 7), "why?", 1.0, 2.0)


@pytest.mark.parametrize(
    "message",
    [
        protocol.Hello(),
        protocol.Submit(REQUEST),
        protocol.Submit(REQUEST, JobKind.TOKENS, 3, "screen", memory_check=False, key="k"),
        protocol.Leave("j", "screen"),
        protocol.Cancel("j"),
        protocol.Pause("j"),
        protocol.Resume("j"),
        protocol.Move("j", 2),
        protocol.ListJobs(),
        protocol.Follow(7),
        protocol.AskStatus(),
        protocol.Stop(),
        protocol.Welcome(),
        protocol.Refused("no\nline «breaks»"),
        protocol.Refused("no room", Fault.CACHE),
        protocol.JobIs(JOB),
        protocol.Jobs((JOB, JOB)),
        protocol.Status(1, "v", 2.0, "/c", "/l", 3, 4, 5),
        protocol.Event(9, "job", JOB),
        protocol.Event(9, "log", text="x"),
        protocol.Goodbye("bye"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_message_survives_its_line(message: protocol.Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"is": "Eval"}',
        b'{"is": "Cancel"}',
        b'{"is": "Submit", "request": 7}',
        encode(protocol.Submit(REQUEST)).replace(b'"kind": "measure"', b'"kind": "eval"'),
        encode(protocol.Submit(REQUEST)).replace(b'"example": null', b'"example": "../x"'),
        encode(protocol.Submit(REQUEST)).replace(b'"memory_check": true', b'"memory_check": "no"'),
        b'{"is": "Move", "job_id": "j", "place": 1.5}',
        b'{"is": "Leave", "job_id": "j", "who": ["a"]}',
        encode(protocol.Submit(REQUEST)).replace(b'"key": ""', b'"key": null'),
        b'{"is": "Hello", "made_with": 7}',
        b"\xff",
    ],
)
def test_what_is_no_message_is_a_sentence(line: bytes) -> None:
    with pytest.raises(MicroscopeError, match="what is not a message"):
        decode(line)


def test_other_versions_are_named_with_what_to_do() -> None:
    here = protocol.Hello().made_with
    assert {"torch", "transformers", "tokenizers", "pillow", "estimators", "capture"} <= set(here)
    assert protocol.unlike(here, mine="program") is None
    assert protocol.unlike({**here, "torch": "1.0", "pillow": "2.0"}, mine="program") == (
        f"The worker makes numbers otherwise than the program (pillow 2.0, not {here['pillow']}, torch 1.0, "
        f"not {here['torch']}), and so not for it: run `microscope-tui worker stop` and start again; its job goes on "
        "from the queue."
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda patch: patch.setenv("HF_HUB_CACHE", "/elsewhere"), "hub cache {hub cache}, not /elsewhere"),
        (lambda patch: patch.setattr(keys, "gpus", lambda _: ("0",)), "auto device CPU, not GPU"),
        (lambda patch: patch.setattr(keys, "DEMO", DEMO / "other"), "demo {demo}, not {demo}/other"),
        (lambda patch: patch.setattr(versions, "ESTIMATORS", 99), "estimators {estimators}, not 99"),
        (lambda patch: patch.setattr(protocol, "LOOKS", {JobKind.MAP: 99}), "map look {map look}, not 99"),
    ],
)
def test_a_worker_that_understands_a_name_otherwise_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None], told: str
) -> None:
    monkeypatch.setattr(keys, "gpus", lambda _: ())
    worker = protocol.Hello().made_with
    change(monkeypatch)
    sentence = sure(protocol.unlike(worker, mine="program"))
    assert told.format(**worker) in sentence
    # A job goes on from the queue where other versions take it over, and not where its words mean something else.
    versions_only = told.startswith(("estimators", "map look"))
    assert ("its job goes on from the queue" in sentence) is versions_only
    assert ("name another --cache" in sentence) is not versions_only


def test_what_is_filed_otherwise_is_told_by_its_key_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keys, "gpus", lambda _: ())
    on_cpu = replace(REQUEST, device="cpu")
    asked = {
        "demo": (on_cpu, JobKind.MEASURE, None),
        "auto": (REQUEST, JobKind.MEASURE, None),
        "hub": (replace(on_cpu, model="ann/m"), JobKind.MEASURE, None),
        "map": (on_cpu, JobKind.MAP, None),
        "folder": (replace(on_cpu, slice=SliceSpec(str(tmp_path))), JobKind.TOKENS, 3),
    }
    here = {name: protocol.filed_under(*each) for name, each in asked.items()}
    assert len(set(here.values())) == len(here)

    def others() -> set[str]:
        return {name for name, each in asked.items() if protocol.filed_under(*each) != here[name]}

    changes: list[tuple[Callable[[pytest.MonkeyPatch], None], set[str]]] = [
        (lambda patch: None, set()),
        (lambda patch: patch.setenv("HF_HUB_CACHE", "/elsewhere"), {"hub", "folder"}),
        (lambda patch: patch.setattr(keys, "gpus", lambda _: ("0",)), {"auto"}),
        (lambda patch: patch.setattr(keys, "DEMO", tmp_path), {"demo", "auto", "hub", "map", "folder"}),
        (lambda patch: patch.setattr(versions, "LOOKS", {**versions.LOOKS, JobKind.MAP: 99}), {"map"}),
        (lambda patch: patch.setattr(versions, "ESTIMATORS", 99), set(asked)),
        (lambda patch: patch.setattr(protocol, "versions", lambda: {"torch": "1.0"}), set(asked)),
    ]
    for change, expected in changes:
        with monkeypatch.context() as patch:
            change(patch)
            assert others() == expected


def test_a_hello_of_a_later_version_can_be_read_and_is_refused() -> None:
    hello = decode(b'{"is": "Hello", "protocol": 2, "version": "9.0", "colour": "red"}')
    assert hello == protocol.Hello(2, "9.0")
    assert protocol.mismatch(protocol.Hello(), mine="worker") is None
    assert sure(protocol.mismatch(protocol.Hello(2, "9.0"), mine="worker")).startswith(
        "The program is version 9.0 (protocol 2)"
    )
    assert sure(protocol.mismatch(protocol.Welcome(protocol.PROTOCOL, "0"), mine="program")).startswith(
        "The worker is version 0"
    )
    assert protocol.mismatch(protocol.Hello(protocol.PROTOCOL + 1, __version__), mine="worker") is not None
