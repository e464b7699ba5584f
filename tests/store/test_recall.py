"""What a request means besides its words, and so what is recalled for it: methods, places and devices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from microscope_tui import versions
from microscope_tui.catalogue.locate import DEMO
from microscope_tui.devices import VISIBLE, gpu_facts
from microscope_tui.errors import MicroscopeError
from microscope_tui.store import Store, keys
from microscope_tui.terms import JobKind, Request, SliceSpec
from tests.store.conftest import measurement

REQUEST = Request("demo:llava-next", SliceSpec("demo:scienceqa", count=7))
LOOKED = {"seen": 1}


def remember(store: Store, request: Request = REQUEST, device: str | None = None) -> None:
    store.put_measurement("k", measurement())
    store.remember(request, "k", {}, device)
    for kind in versions.LOOKS:
        store.remember_look(request, kind, None, LOOKED, {}, device)


def recalled(store: Store, request: Request = REQUEST) -> bool:
    """Whether a result and looks are there, which are made alike."""
    found = {store.recall(request) is not None, *(store.recall_look(request, kind, None) == LOOKED for kind in MADE)}
    (answer,) = found
    return answer


MADE = tuple(versions.LOOKS)


@pytest.mark.parametrize("name", ["READER", "PROMPT", "CAPTURE", "ESTIMATORS", "SCORING"])
def test_what_other_methods_made_is_not_recalled(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    remember(store)
    assert recalled(store)
    monkeypatch.setattr(versions, name, "another")
    assert not recalled(store)
    remember(store)
    assert recalled(store)


def test_every_kind_of_look_has_a_version_of_its_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(versions.LOOKS) == set(JobKind) - {JobKind.MEASURE}
    remember(store)
    for kind in MADE:
        with monkeypatch.context() as patch:
            patch.setattr(versions, "LOOKS", {**versions.LOOKS, kind: 99})
            assert [store.recall_look(REQUEST, each, None) for each in MADE if each is not kind] == [LOOKED] * 4
            assert store.recall_look(REQUEST, kind, None) is None
            assert store.recall(REQUEST) is not None


def test_every_version_is_among_the_methods_or_the_looks() -> None:
    constants = {value for name, value in vars(versions).items() if name.isupper() and name != "LOOKS"}
    assert constants == set(versions.methods().values())


def test_a_hub_id_means_another_model_in_another_hub_cache(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a checkpoint in a folder: its vision tower may be in the hub cache."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    for request in (
        replace(REQUEST, model="ann/m"),
        replace(REQUEST, slice=SliceSpec("ann/questions/main@v2")),
        replace(REQUEST, model=str(tmp_path / "m")),
    ):
        monkeypatch.setenv("HF_HOME", str(tmp_path / "one"))
        remember(store, request)
        assert recalled(store, request)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "two"))
        assert not recalled(store, request)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "one" / "hub"))
        assert recalled(store, request)
        monkeypatch.delenv("HF_HUB_CACHE")
    remember(store)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "one"))
    assert recalled(store)  # the demo is shipped


@pytest.mark.parametrize("request_", [REQUEST, replace(REQUEST, model="demo:llava-next@init")])
def test_a_demo_of_another_installation_is_another(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: Request
) -> None:
    """Its files are there and as they were; but they are not those that the name means to this program."""
    remember(store, request_)
    assert recalled(store, request_)
    with monkeypatch.context() as patch:
        (tmp_path / "link").symlink_to(DEMO)
        patch.setattr(keys, "DEMO", tmp_path / "link")
        assert recalled(store, request_)
        patch.setattr(keys, "DEMO", tmp_path / "another")
        assert not recalled(store, request_)
    in_folder = replace(REQUEST, model=str(tmp_path / "m"), slice=SliceSpec(str(tmp_path / "s")))
    remember(store, in_folder)
    monkeypatch.setattr(keys, "DEMO", tmp_path / "another")
    assert recalled(store, in_folder), "it takes nothing of the demo"


def test_a_link_that_leads_elsewhere_means_another_model(store: Store, tmp_path: Path) -> None:
    link, (one, two) = tmp_path / "current", (tmp_path / "one", tmp_path / "two")
    one.mkdir()
    two.mkdir()
    link.symlink_to(one)
    request = replace(REQUEST, model=str(link))
    remember(store, request)
    assert recalled(store, request)
    link.unlink()
    link.symlink_to(two)
    assert not recalled(store, request)


@pytest.mark.parametrize("name", ["./m", "../m", "~/m", "m", "."])
def test_a_name_that_means_another_place_in_another_folder_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "m").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for request in (replace(REQUEST, model=name), replace(REQUEST, slice=SliceSpec(name))):
        for ask in (
            lambda request: store.remember(request, "k", {}),
            store.recall,
            lambda request: store.recall_look(request, JobKind.PREVIEW, None),
        ):
            with pytest.raises(MicroscopeError, match=r"means another place in another folder: give the whole path, /"):
                ask(request)
    assert store.entries() == []


def test_auto_means_the_device_that_is_here_now(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except for who may only look, who measures nothing anew: the result says which device it was."""
    on_cpu = replace(REQUEST, device="cpu")
    monkeypatch.setattr(keys, "gpus", lambda _: ("0",))
    remember(store)
    remember(store, on_cpu)
    monkeypatch.setattr(keys, "gpus", lambda _: ())
    assert not recalled(store)
    assert recalled(store, on_cpu)
    assert recalled(Store(folder, read_only=True))
    monkeypatch.setattr(keys, "gpus", lambda _: ("0", "1"))
    assert recalled(store)


def test_what_auto_made_on_another_device_than_it_means_is_found_where_it_would_be_so_again(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU is there and its driver is too old for torch: until there is another driver, `auto` is the CPU."""
    facts = ["nvidia0", "driver 470"]
    monkeypatch.setattr(keys, "gpus", lambda _: ("0",))
    monkeypatch.setattr(keys, "gpu_facts", lambda _: list(facts))
    remember(store, REQUEST, "cpu")
    assert recalled(store)
    facts[1] = "driver 580"
    assert not recalled(store), "torch can use the GPU now"
    assert recalled(Store(folder, read_only=True)), "the result says which device it was"
    remember(store, REQUEST, "cuda")
    facts[1] = "driver 590"
    assert recalled(store), "what was made on the device that is meant is found with any driver"
    named = replace(REQUEST, device="cpu")
    remember(store, named, "cpu")
    facts.clear()
    assert recalled(store, named)


def test_what_decides_whether_torch_can_use_a_gpu(tmp_path: Path) -> None:
    driver, devices = tmp_path / "version", tmp_path / "dev"
    devices.mkdir()
    for name in ("nvidia1", "nvidia0", "nvidiactl", "dxg", "null"):
        (devices / name).touch()

    def facts(visible: str | None) -> list[str]:
        return gpu_facts({} if visible is None else {VISIBLE: visible}, devices, driver)

    assert facts(None) == facts("1") == ["dxg", "nvidia0", "nvidia1", ""]
    driver.write_text("NVRM version: 580.65\nGCC version: 13\n")
    assert facts("") == ["dxg", "nvidia0", "nvidia1", "NVRM version: 580.65", ""]
    assert facts("0, GPU-0f3c") == ["dxg", "nvidia0", "nvidia1", "NVRM version: 580.65", "GPU-0f3c"]
