"""Hub ids, against a hub of our own on this machine that answers as the real one does."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import datasets
import huggingface_hub.constants
import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.slices import open_slice, streaming
from microscope_tui.slices.hub import HubId
from microscope_tui.terms import SliceSpec

from . import conftest as data

REPO = "someone/ScienceQA"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the files of a folder as the data set `REPO`, and notes which were taken."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.gated = False
        self.taken: list[str] = []
        self.asked = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def names(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked += 1
        path = urlsplit(self.path).path
        api, resolve = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/{COMMIT}/"
        if path in (f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            self._json({"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.server.names]})
        elif path.startswith(f"{api}/revision/"):
            self._error(404, "RevisionNotFound")
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            sizes = {name: (self.server.folder / name).stat().st_size for name in self.server.names}
            self._json([{"type": "file", "path": n, "size": size, "oid": _sha(n)[:40]} for n, size in sizes.items()])
        elif path.startswith(resolve) and self.server.gated:
            self._error(403, "GatedRepo")
        elif path.startswith(resolve):
            self._file(path.removeprefix(resolve))
        else:
            self._error(401, "RepoNotFound")

    def _json(self, body: object) -> None:
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def do_POST(self) -> None:
        """What there is under some paths, as a stream asks for it."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
        there = [name for name in self.server.names if name in asked]
        sizes = {name: (self.server.folder / name).stat().st_size for name in there}
        self._json([{"type": "file", "path": n, "size": size, "oid": _sha(n)[:40]} for n, size in sizes.items()])

    def _file(self, name: str) -> None:
        body = (self.server.folder / name).read_bytes()
        if self.command == "GET":
            self.server.taken.append(name)
        headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(part[1]), min(int(part[2] or len(body)), len(body) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
            self._send(206, body[start : end + 1], headers)
        else:
            self._send(200, body, headers)

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub-cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def hub(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = tmp_path / "on-the-hub"
    some = data.rows()
    data.write_parquet(folder, some[:13], "data/test-00000-of-00002.parquet")
    data.write_parquet(folder, some[13:], "data/test-00001-of-00002.parquet")
    data.write_parquet(folder, some, "data/train-00000-of-00001.parquet")
    (folder / "README.md").write_text("# ScienceQA\n")
    with Hub(folder) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        monkeypatch.setattr(
            huggingface_hub.constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            server.address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def cached(cache: Path, names: dict[str, bytes], commit: str = COMMIT) -> Path:
    """A repository in the hub cache, in the layout that huggingface_hub documents: refs, blobs, linked snapshots."""
    repo = cache / f"datasets--{REPO.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    for name, body in names.items():
        blob = repo / "blobs" / hashlib.sha256(body).hexdigest()
        link = repo / "snapshots" / commit / name
        for folder in (blob.parent, link.parent):
            folder.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(body)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return repo


def contents(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def sentence(source: str, **options: object) -> str:
    with pytest.raises(MicroscopeError) as caught:
        open_slice(SliceSpec(source, **options))  # type: ignore[arg-type]  # one helper for all options
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


SHARDS = ("data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet")


def test_only_the_split_is_downloaded_and_the_next_time_nothing(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    found = open_slice(SliceSpec(REPO))
    assert len(found) == data.TOTAL
    assert found.example(0).images
    assert sorted(hub.taken) == list(SHARDS)
    asked = hub.asked
    assert open_slice(SliceSpec(REPO)).digest == found.digest
    assert hub.asked == asked
    assert len(open_slice(SliceSpec(REPO, split="train"))) == data.TOTAL
    assert sorted(hub.taken) == [*SHARDS, "data/train-00000-of-00001.parquet"]
    assert capfd.readouterr() == ("", "")


def test_the_cache_serves_without_a_hub(parquet: Path, cache: Path, offline: None) -> None:
    repo = cached(cache, contents(parquet, *SHARDS))
    found = open_slice(SliceSpec(REPO))
    assert [found.example(i).key for i in range(len(found))] == [f"row {i}" for i in range(data.TOTAL)]
    assert repo / "refs" / "main" in found.files
    assert len(open_slice(SliceSpec(f"{REPO}@{COMMIT}"))) == data.TOTAL


def test_the_digest_of_a_cached_set_is_that_of_its_blobs(parquet: Path, cache: Path, offline: None) -> None:
    """No file is read for it: a blob's name is its digest, so it follows the name and not the bytes."""
    repo = cached(cache, contents(parquet, *SHARDS))
    before = open_slice(SliceSpec(REPO)).digest
    blob = (repo / "snapshots" / COMMIT / SHARDS[0]).resolve()
    other = blob.with_name("f" * 64)
    blob.rename(other)
    link = repo / "snapshots" / COMMIT / SHARDS[0]
    link.unlink()
    link.symlink_to(other)
    assert open_slice(SliceSpec(REPO)).digest != before


def test_a_part_of_a_split_in_the_cache_is_completed(hub: Hub, cache: Path) -> None:
    cached(cache, contents(hub.folder, SHARDS[0]))
    assert len(open_slice(SliceSpec(REPO))) == data.TOTAL
    assert hub.taken == [SHARDS[1]]


@pytest.mark.parametrize("there", [(), ("README.md",), (SHARDS[0],), ("data/train-00000-of-00001.parquet",)])
def test_offline_and_not_in_the_cache(parquet: Path, cache: Path, offline: None, there: tuple[str, ...]) -> None:
    if there:
        cached(cache, {name: b"#" if name == "README.md" else (parquet / name).read_bytes() for name in there})
    text = sentence(REPO)
    assert f"The split 'test' of the data set {REPO} is not in the local hub cache" in text
    assert "HF_HUB_OFFLINE forbids to download it" in text


def test_a_folder_with_the_name_of_a_hub_id_is_pointed_at(
    cache: Path, offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / REPO).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert sentence(REPO).endswith(f"There is a {REPO} here: write ./{REPO} to mean it.")


def test_the_environment_variable_is_respected(tmp_path: Path) -> None:
    code = (
        "from microscope_tui.slices import open_slice; from microscope_tui.terms import SliceSpec\n"
        "try: open_slice(SliceSpec('someone/ScienceQA'))\nexcept Exception as error: print(error)"
    )
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True)
    assert "HF_HUB_OFFLINE forbids to download it" in done.stdout
    assert done.stderr == ""


def test_an_unknown_data_set(hub: Hub) -> None:
    assert "There is no data set someone/else on the hub: check the name" in sentence("someone/else")


def test_an_unknown_revision(hub: Hub) -> None:
    assert f"The data set {REPO} has no revision 'v9' on the hub." in sentence(f"{REPO}@v9")


def test_an_unknown_split(hub: Hub) -> None:
    assert f"The data set {REPO} has no split 'validation': it has test, train." in sentence(REPO, split="validation")


def test_a_gated_data_set(hub: Hub) -> None:
    hub.gated = True
    assert f"is gated: accept its terms at https://huggingface.co/datasets/{REPO} and log in" in sentence(REPO)


def test_a_data_set_of_another_format(hub: Hub) -> None:
    for file in hub.folder.rglob("*.parquet"):
        file.unlink()
    assert f"has no parquet files: name the hub's own conversion of it, {REPO}@refs/convert/parquet" in sentence(REPO)


def test_a_hub_that_is_out_of_reach(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    assert "and the hub cannot be reached (ConnectError): check the connection" in sentence(REPO)


def test_one_configuration_of_several(hub: Hub) -> None:
    for name in ("IMG", "FULL"):
        data.write_parquet(
            hub.folder, data.rows(total=3 if name == "IMG" else 5), f"{name}/test-00000-of-00001.parquet"
        )
    for file in (hub.folder / "data").iterdir():
        file.unlink()
    assert f"has several parts (FULL, IMG): name one of them, like {REPO}/FULL." in sentence(REPO)
    assert len(open_slice(SliceSpec(f"{REPO}/IMG"))) == 3
    assert hub.taken == ["IMG/test-00000-of-00001.parquet"]


def test_a_stream_takes_what_it_needs_and_keeps_nothing(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.address)
    monkeypatch.setattr(streaming, "BATCH", 4)
    whole = open_slice(SliceSpec(str(hub.folder), filter="image"))
    found = open_slice(SliceSpec(REPO, count=4, filter="image", stream=True))
    assert found.keys == whole.keys[:4]
    for i in range(4):
        assert found.example(i).images[0].tobytes() == whole.example(i).images[0].tobytes()
    assert set(hub.taken) == {SHARDS[0]}
    assert not list(cache.rglob("*.parquet"))
    assert found.files == ()
    assert open_slice(SliceSpec(f"{REPO}@{COMMIT}", count=4, filter="image", stream=True)).digest == found.digest
    assert capfd.readouterr() == ("", "")
    assert "There is no data set someone/else on the hub" in sentence("someone/else", count=3, stream=True)
    hub.gated = True
    assert "is gated: accept its terms" in sentence(REPO, count=3, stream=True)


def test_a_stream_offline(offline: None) -> None:
    assert "HF_HUB_OFFLINE forbids to download it" in sentence(REPO, count=3, stream=True)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a/b", HubId("a/b")),
        ("a/b/c", HubId("a/b", "c")),
        ("a/b@v1", HubId("a/b", revision="v1")),
        ("a/b/c@refs/convert/parquet", HubId("a/b", "c", "refs/convert/parquet")),
        ("demo:scienceqa", None),
        ("/a/b", None),
        ("./a/b", None),
        ("alone", None),
        ("a b/c", None),
    ],
)
def test_hub_ids(source: str, expected: HubId | None) -> None:
    assert HubId.parse(source) == expected
