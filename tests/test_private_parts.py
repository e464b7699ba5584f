"""What is used of other libraries that they do not promise: an upgrade that takes it away fails here, in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest


def diskcache_(folder: Path) -> Iterator[tuple[object, str]]:
    import diskcache

    with diskcache.Cache(str(folder)) as cache:
        for name in ("_sql", "_sql_retry", "_transact", "_row_insert", "_row_update", "_local", "_disk", "_page_size"):
            yield cache, name
        yield cache.disk, "_directory"
        yield cache._local, "con"
    yield diskcache.core, "METADATA"
    yield diskcache.core, "DBNAME"


def plotext_(_: Path) -> Iterator[tuple[object, str]]:
    from microscope_tui.tui.widgets.plot import _kind

    monitor = _kind()()
    for name in ("set_size", "set_xaxes", "set_yaxes", "set_xlim", "set_ylim", "set_xticks", "set_yticks", "draw"):
        yield monitor, name
    yield monitor, "build_plot"
    monitor.set_size([20, 5])
    monitor.draw([1, 2], [1, 2], lines=True, marker="braille")
    monitor.build_plot()
    yield monitor.matrix, "marker"


def textual_(_: Path) -> Iterator[tuple[object, str]]:
    from textual.app import App
    from textual.drivers.linux_driver import LinuxDriver

    app: App[None] = App()
    yield app, "_notifications"
    yield LinuxDriver, "_get_terminal_size"
    # One that is made takes the terminal's signals.
    yield SimpleNamespace(**dict.fromkeys(LinuxDriver.__init__.__code__.co_names)), "_writer_thread"


def transformers_(_: Path) -> Iterator[tuple[object, str]]:
    from transformers import CLIPVisionConfig, CLIPVisionModel, ProcessorMixin

    for name in ("_get_arguments_from_pretrained", "get_attributes", "check_argument_for_proper_class"):
        yield ProcessorMixin, name
    yield CLIPVisionModel, "_from_config"
    yield CLIPVisionConfig(), "_attn_implementation"


@pytest.mark.parametrize(
    ("library", "parts", "used"),
    [
        ("diskcache", diskcache_, "store/shelf.py, store/disk.py and store/database.py"),
        ("plotext", plotext_, "tui/widgets/plot.py"),
        ("textual", textual_, "tui/app.py and tui/output/sparing.py"),
        ("transformers", transformers_, "models/processors.py, models/skeleton.py, models/generic.py and demo/arms.py"),
    ],
)
def test_the_private_parts_of_a_library_are_there(
    library: str, parts: Callable[[Path], Iterator[tuple[object, str]]], used: str, tmp_path: Path
) -> None:
    gone = []
    try:
        gone += [name for owner, name in parts(tmp_path) if not hasattr(owner, name)]
    except (AttributeError, ImportError, TypeError) as error:
        gone.append(str(error))
    assert not gone, f"private parts of {library} are gone in version {version(library)}: {', '.join(gone)}; see {used}"


def test_the_settings_that_the_store_keeps_are_written_as_we_know_it() -> None:
    """By these very statements of diskcache: those that would change nothing are left out, for they wait for others."""
    import diskcache

    from microscope_tui.store.database import SETTING_WRITES

    source = Path(diskcache.core.__file__).read_text()
    gone = [statement for statement in SETTING_WRITES if statement not in source]
    assert not gone, f"diskcache {version('diskcache')} writes its settings otherwise: {gone}; see store/database.py"


def test_the_hub_that_cannot_be_reached_is_told_by_the_base_of_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    from microscope_tui.slices.hub import HTTP_ERROR

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(Exception, match="refused") as caught:
        huggingface_hub.HfApi(endpoint="http://127.0.0.1:9").dataset_info("owner/name")
    said = f"huggingface_hub {version('huggingface_hub')} has other errors: see HTTP_ERROR in slices/hub.py"
    assert isinstance(caught.value, HTTP_ERROR), said
    assert not issubclass(ValueError, HTTP_ERROR), said
