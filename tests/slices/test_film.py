from __future__ import annotations

import io
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from microscope_tui.errors import BadExample
from microscope_tui.slices import Slice, open_slice
from microscope_tui.slices.film import FRAMES, BadFilm, container_of, decode_film, thinned
from microscope_tui.terms import SliceSpec

from . import conftest as data

MP4 = b"\x00\x00\x00\x18ftypmp42"


def frames(*reds: int) -> list[bytes]:
    return [data.png((red, 0, 0)) for red in reds]


def reds(found: Slice, i: int = 0) -> list[list[object]]:
    return [[image.getpixel((0, 0))[0] for image in film] for film in found.example(i).videos]  # type: ignore[index]  # RGB, a tuple


def stored(folder: Path, cell: object, kind: pa.DataType | None = None, **options: Any) -> Slice:
    table = pa.table({"video": pa.array([cell, None], kind), "question": ["What happens?", "And here?"]})
    pq.write_table(table, folder / "test.parquet")
    return open_slice(SliceSpec(str(folder), columns=(("video", "video"),), **options))


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_a_list_of_pictures_is_a_video_and_a_list_of_lists_are_several(tmp_path: Path) -> None:
    found = stored(tmp_path, [{"bytes": frame, "path": None} for frame in frames(1, 2, 3)], pa.list_(STRUCT))
    assert reds(found) == [[1, 2, 3]]
    assert (found.example(0).images, found.example(1).videos) == ((), ())
    assert found.example(0).videos[0][0].mode == "RGB"
    assert reds(stored(tmp_path, frames(4, 5))) == [[4, 5]]
    assert reds(stored(tmp_path, [frames(1, 2), frames(3)])) == [[1, 2], [3]]
    assert stored(tmp_path, frames(4, 5), filter="video").keys == ("row 0",)


def test_frames_by_their_names_and_a_folder_of_frames(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for name, frame in zip(("b.png", "a.png", "c.png"), frames(2, 1, 3), strict=True):
        (tmp_path / "clip" / name).write_bytes(frame)
    (tmp_path / "clip" / "notes.txt").write_text("no frame")
    folder = stored(tmp_path, "clip")
    assert reds(folder) == [[1, 2, 3]]
    assert {tmp_path / "clip", *tmp_path.glob("clip/*.png")} <= set(folder.files)
    digest = folder.digest
    (tmp_path / "clip" / "c.png").write_bytes(frames(9)[0])
    assert stored(tmp_path, "clip").digest != digest
    assert reds(stored(tmp_path, ["clip/c.png", "clip/a.png"])) == [[9, 1]]
    assert reds(stored(tmp_path, ["clip", "clip"])) == [[1, 2, 9]] * 2


def test_videos_of_conversations(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "a.png").write_bytes(frames(7)[0])
    turns = [{"from": "human", "value": "<video>\nWhat happens?"}, {"from": "gpt", "value": "Nothing."}]
    content = [{"type": "video", "video": ["clip/a.png", "clip/a.png"]}, {"type": "text", "text": "What happens?"}]
    (tmp_path / "llava.jsonl").write_text(json.dumps({"video": "clip", "conversations": turns}))
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": content}]}))
    for name, expected in (("llava.jsonl", [[7]]), ("chat.jsonl", [[7, 7]])):
        found = open_slice(SliceSpec(str(tmp_path / name)))
        assert found.example(0).question == "What happens?"
        assert reds(found) == expected
        assert tmp_path / "clip" / "a.png" in found.files


def test_a_long_video_is_thinned_evenly(tmp_path: Path) -> None:
    assert thinned(range(FRAMES)) == list(range(FRAMES))
    assert thinned(range(3 * FRAMES)) == [3 * i + 1 for i in range(FRAMES)]
    assert thinned(range(FRAMES + 1))[0] == 0
    gaps = np.diff(thinned(range(1000)))
    assert set(gaps) <= {1000 // FRAMES, 1000 // FRAMES + 1}
    assert reds(stored(tmp_path, frames(*range(2 * FRAMES)))) == [list(range(1, 2 * FRAMES, 2))]


def test_a_damaged_frame_and_a_missing_video_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadExample, match=r"^row 0: a frame of its video is corrupt"):
        stored(tmp_path, [frames(1)[0], b"no picture"]).example(0)
    (tmp_path / "a.png").write_bytes(frames(1)[0])
    with pytest.raises(BadExample, match=r"^row 0: its video gone\.mp4 cannot be read"):
        stored(tmp_path, [["a.png"], ["gone.mp4"]]).example(0)
    with pytest.raises(BadExample, match=r"^row 0: its frame '\.\./x\.png' is outside"):
        stored(tmp_path, ["a.png", "../x.png"]).example(0)
    with pytest.raises(BadExample, match=r"^row 0: its video is in no known format \(MP4, WebM or AVI\)$"):
        stored(tmp_path, b"#EXTM3U\nhttp://example.org/x.ts\n").example(0)


@pytest.mark.parametrize("named", [False, True])
def test_without_its_decoder_a_video_file_names_what_to_install(
    tmp_path: Path, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "x.mp4").write_bytes(MP4)
    found = stored(tmp_path, "x.mp4") if named else stored(tmp_path, MP4)
    with pytest.raises(BadExample, match=r"^row 0: its video is .*not installed: .*pip install av soundfile$"):
        found.example(0)


@pytest.mark.parametrize(
    "start", [b"#EXTM3U", b"<?xml", b"ffconcat version 1.0", b"", data.png((1, 2, 3)), b"RIFF\0\0\0\0WAVE"]
)
def test_no_playlist_and_no_picture_reaches_the_video_decoder(start: bytes) -> None:
    assert container_of(start) is None
    with pytest.raises(BadFilm):
        decode_film(start)


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "mpeg4"), ("webm", "libvpx"), ("avi", "mpeg4")])
def test_with_its_decoder_a_video_file_is_read(tmp_path: Path, kind: str, codec: str) -> None:
    pytest.importorskip("av")
    av = import_module("av")
    count, stream = 40, io.BytesIO()
    with av.open(stream, "w", format=kind) as file:
        track = file.add_stream(codec, rate=10)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for i in range(count):
            picture = np.full((48, 64, 3), 5 * i, dtype=np.uint8)
            file.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(track.encode())
    film = decode_film(stream.getvalue())
    assert len(film) == FRAMES
    assert {frame.size for frame in film} == {(64, 48)}
    shades = [frame.getpixel((30, 20))[0] for frame in film]  # type: ignore[index]  # RGB, a tuple
    np.testing.assert_allclose(shades, [5 * i for i in thinned(range(count))], atol=8)
    assert stored(tmp_path, stream.getvalue()).example(0).videos[0][3].size == (64, 48)
    with pytest.raises(BadFilm, match="is corrupt"):
        decode_film(stream.getvalue()[:60])
