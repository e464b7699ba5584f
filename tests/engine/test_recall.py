"""What is read from the store in place of measuring: never what another method, folder, hub cache or setting made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from microscope_tui import measure, versions
from microscope_tui.catalogue.locate import locate_model
from microscope_tui.cli import main
from microscope_tui.engine import forecast
from microscope_tui.engine.looks import look
from microscope_tui.errors import MicroscopeError
from microscope_tui.results import Measurement
from microscope_tui.store import Store, keys
from microscope_tui.terms import JobKind, Metric, Modality, Request, SliceSpec, Stream
from tests.sure import sure

SLICE = "demo:scienceqa?count=3"


def quick(model: str, slice: str = SLICE, **options: object) -> Measurement:
    return measure(
        model,
        slice,
        metrics=[Metric.ANISOTROPY],
        modalities=[Modality.TEXT],
        streams=[Stream.RESIDUAL],
        **options,  # type: ignore[arg-type]  # passed on as they are
    )


def numbers(measurement: Measurement) -> tuple[float | None, ...]:
    return measurement.profiles[0].value


@pytest.mark.parametrize("name", ["READER", "PROMPT", "CAPTURE", "ESTIMATORS", "SCORING"])
def test_another_method_measures_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captured: list[str], name: str
) -> None:
    quick("demo:llava-next", cache=tmp_path)
    assert len(captured) == 3
    quick("demo:llava-next", cache=tmp_path)
    assert len(captured) == 3
    monkeypatch.setattr(versions, name, "another")
    made = quick("demo:llava-next", cache=tmp_path)
    assert len(captured) == 6
    assert made.provenance[name.lower()] == "another"
    assert made == quick("demo:llava-next", cache=tmp_path)
    assert len(captured) == 6


def test_another_format_of_a_look_makes_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request, made = Request("demo:llava-next", SliceSpec.parse(SLICE)), []
    with Store(tmp_path) as store:

        def preview() -> None:
            if store.recall_look(request, JobKind.PREVIEW, None) is None:
                made.append(True)
                options = {"on_progress": lambda _: None, "should_stop": lambda: False}
                look.run(request, store, kind=JobKind.PREVIEW, example=None, **options)  # type: ignore[arg-type]

        for count in (1, 1, 2):
            if count == 2:
                monkeypatch.setattr(versions, "LOOKS", {**versions.LOOKS, JobKind.PREVIEW: 99})
            preview()
            assert len(made) == count


def test_one_name_in_two_folders_is_two_models_and_two_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_slice: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, model, data in ((one, "llava-next", small_slice), (two, "llava-next-base", "demo:scienceqa")):
        shutil.copytree(sure(locate_model(f"demo:{model}")), folder / "m")
        if data == small_slice:
            shutil.copytree(data, folder / "s")
    found = {}
    for folder in (one, two):
        monkeypatch.chdir(folder)
        found[folder] = quick("./m", cache=tmp_path / "cache")
        assert found[folder].model == str(folder / "m")
        assert found[folder] == quick("m", cache=tmp_path / "cache")
    assert numbers(found[one]) == numbers(quick("demo:llava-next"))
    assert numbers(found[two]) == numbers(quick("demo:llava-next-base"))
    assert numbers(found[one]) != numbers(found[two])
    monkeypatch.chdir(one)
    made = quick("m", "s?count=2", cache=tmp_path / "cache")
    assert made.slice.source == str(one / "s")
    monkeypatch.chdir(two)
    with pytest.raises(MicroscopeError, match="s"):
        quick("m", "./s?count=2", cache=tmp_path / "cache")


def hub(root: Path, model: str, commit: str) -> Path:
    """A hub cache in which `ann/m` is a demo model."""
    repo = root / "hub" / "models--ann--m"
    shutil.copytree(sure(locate_model(f"demo:{model}")), repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    return root


def test_a_hub_id_is_that_of_the_hub_cache_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    one, two = hub(tmp_path / "one", "llava-next", "a" * 40), hub(tmp_path / "two", "llava-next-base", "b" * 40)
    found = []
    for home in (one, two, one):
        monkeypatch.setenv("HF_HOME", str(home))
        found.append(numbers(quick("ann/m", cache=tmp_path / "cache")))
    assert found == [numbers(quick(f"demo:{model}")) for model in ("llava-next", "llava-next-base", "llava-next")]
    assert found[0] != found[1]


def test_the_python_api_takes_the_settings_of_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROSCOPE_FOLDS", "3")
    made = quick("demo:llava-next", dtype="bfloat16", sample_tokens=50, max_batch=2, attention="eager", device="cpu")
    asked = ("dtype", "sample_tokens", "folds", "max_batch", "attention", "device")
    assert [made.provenance[name] for name in asked] == ["bfloat16", 50, 3, 2, "eager", "cpu"]
    assert quick("demo:llava-next", folds=2).provenance["folds"] == 2
    assert quick("demo:llava-next", matched=5).provenance["matched"] == 5
    for wrong, sentence in (
        ({"folds": 0}, "folds = 0 .* must be more than 0"),
        ({"max_batch": "many"}, "max_batch = 'many' .* is not a whole number"),
        ({"dtype": "flot16"}, "flot16"),
        ({"device": "tpu"}, "no kind of device 'tpu'"),
        ({"matched": 0}, "matched = 0"),
    ):
        with pytest.raises(MicroscopeError, match=sentence):
            quick("demo:llava-next", **wrong)


def test_who_asks_says_whether_memory_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    monkeypatch.setattr(forecast, "check_room", lambda request: asked.append(request.model))
    monkeypatch.setenv("MICROSCOPE_MEMORY_CHECK", "0")
    arguments = ["measure", "demo:llava-next", SLICE, "--metric", "anisotropy", "--json"]
    quick("demo:llava-next", dtype="float32")
    assert main(["--cache", str(tmp_path), *arguments, "--dtype", "bfloat16"]) == 0
    assert asked == []
    quick("demo:omnifusion", memory_check=True)
    monkeypatch.delenv("MICROSCOPE_MEMORY_CHECK")
    assert main(["--cache", str(tmp_path), *arguments]) == 0
    assert asked == ["demo:omnifusion", "demo:llava-next"]


def test_what_auto_makes_on_the_cpu_beside_a_gpu_that_torch_cannot_use_is_not_found_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = ["nvidia0", "an old driver"]
    monkeypatch.setattr(keys, "gpus", lambda _: ("0",))
    monkeypatch.setattr(keys, "gpu_facts", lambda _: list(facts))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = quick("demo:llava-next", cache=tmp_path)
    assert made.provenance["device"] == "cpu"
    request = Request(
        "demo:llava-next", SliceSpec.parse(SLICE), (Metric.ANISOTROPY,), (Modality.TEXT,), (Stream.RESIDUAL,)
    )
    options = {"on_progress": lambda _: None, "should_stop": lambda: False}
    with Store(tmp_path) as store:
        look.run(request, store, kind=JobKind.TOKENS, example=0, **options)  # type: ignore[arg-type]

        def found() -> list[bool]:
            return [store.recall(request) == made, store.recall_look(request, JobKind.TOKENS, 0) is not None]

        assert found() == [True, True]
        facts[1] = "a new driver"
        assert found() == [False, False]
