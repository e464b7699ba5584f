"""What the hub says of what is not here, against a hub of our own on this machine that answers as the real one does."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import huggingface_hub.constants
import pytest

from microscope_tui.catalogue.listing import Entry
from microscope_tui.errors import MicroscopeError
from microscope_tui.tui.data.hub import look_up
from tests.tui.driving import DEADLINE

LLAVA = {
    "id": "ann/seven",
    "config": {"architectures": ["LlavaNextForConditionalGeneration"], "model_type": "llava_next"},
    "safetensors": {"parameters": {"BF16": 7_566_747_648, "F32": 1000}, "total": 7_566_748_648},
    "siblings": [
        {"rfilename": "model-00001-of-00002.safetensors", "size": 9_000_000_000},
        {"rfilename": "model-00002-of-00002.safetensors", "size": 6_133_499_296},
        {"rfilename": "config.json", "size": 1_500},
        {"rfilename": "pytorch_model.bin", "size": 15_000_000_000},
        {"rfilename": "README.md", "size": 9_999},
    ],
}
OLD = {
    "id": "ann/old",
    "config": {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"},
    "siblings": [{"rfilename": "pytorch_model.bin", "size": 15_000_000_000}],
}
SEVERAL = {"id": "ann/several", "siblings": [{"rfilename": "one/model.safetensors", "size": 7}]}
DATA = {
    "id": "ann/data",
    "siblings": [{"rfilename": "data/test-0.parquet", "size": 40}, {"rfilename": "data/train-0.parquet", "size": 60}],
}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        found = {f"/api/models/{each['id']}": each for each in (LLAVA, OLD, SEVERAL)} | {"/api/datasets/ann/data": DATA}
        body = found.get(asked.path.removesuffix("/revision/v1"))
        if body is None or "blobs" not in parse_qs(asked.query):
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound" if "revision" in asked.path else "RepoNotFound")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("microscope_tui.tui.data.hub.SECONDS", DEADLINE)
    yield server
    server.shutdown()
    server.server_close()


def absent(name: str) -> Entry:
    return Entry(name, "a title", "on the hub", here=False)


@pytest.mark.parametrize("name", ["ann/seven", "ann/seven@v1"])
def test_a_model_has_what_would_be_downloaded_and_what_its_weights_take(hub: ThreadingHTTPServer, name: str):
    found = look_up(absent(name), slices=False)
    assert found.size == 9_000_000_000 + 6_133_499_296 + 1_500
    assert found.weights == 2 * 7_566_747_648 + 4 * 1000
    assert (found.dtype, found.model_type, found.tried, found.here) == ("bfloat16", "llava_next", True, False)
    assert (found.name, found.title, found.refused) == (name, "a title", "")


def test_a_model_of_pickled_weights_is_refused_before_it_is_downloaded(hub: ThreadingHTTPServer):
    assert "no weights of it as safetensors" in look_up(absent("ann/old"), slices=False).refused


def test_a_repository_of_several_models_has_no_size_of_its_own(hub: ThreadingHTTPServer):
    found = look_up(absent("ann/several"), slices=False)
    assert (found.size, found.refused) == (0, "")


def test_a_data_set_has_the_size_of_its_rows(hub: ThreadingHTTPServer):
    found = look_up(absent("ann/data?count=5"), slices=True)
    assert (found.name, found.size, found.here) == ("ann/data?count=5", 100, False)


def test_why_the_hub_does_not_tell_is_said(hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch):
    for name, why in (("ann/none", "none of this name"), ("ann/seven@v2", "no revision 'v2'"), ("a/b/c", "no hub id")):
        with pytest.raises(MicroscopeError, match=why):
            look_up(absent(name), slices=False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MicroscopeError, match="cannot be reached"):
        look_up(absent("ann/seven"), slices=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MicroscopeError, match="HF_HUB_OFFLINE forbids"):
        look_up(absent("ann/seven"), slices=False)
