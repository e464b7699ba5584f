from __future__ import annotations

import base64
import io
import json
import sys
import wave
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io.wavfile
from hypothesis import given
from hypothesis import strategies as st

from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.slices import open_slice
from microscope_tui.slices.sound import Audio, BadSound, decode_sound
from microscope_tui.terms import SliceSpec

RATE = 16000
TONE = np.sin(np.arange(400) / 9.0)


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    """As scipy writes it."""
    stream = io.BytesIO()
    scipy.io.wavfile.write(stream, rate, samples)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "scale", "middle"), [(np.int16, 2**15, 0), (np.int32, 2**31, 0), (np.uint8, 2**7, 128)]
)
def test_whole_numbers_of_every_width(kind: type, scale: int, middle: int) -> None:
    stored: np.ndarray = (TONE * (scale - 1) + middle).astype(kind)
    found = decode_sound(wav(stored))
    assert (str(found.samples.dtype), found.samples.shape, found.rate) == ("float32", (400,), RATE)
    np.testing.assert_allclose(found.samples, (stored.astype(float) - middle) / scale, atol=1e-7)
    assert found.seconds == 400 / RATE


def test_twenty_four_bits() -> None:
    stream, values = io.BytesIO(), [0, 1, -1, 2**23 - 1, -(2**23)]
    with wave.open(stream, "wb") as file:
        file.setparams((1, 3, 8000, 0, "NONE", "none"))
        file.writeframes(b"".join(value.to_bytes(3, "little", signed=True) for value in values))
    np.testing.assert_allclose(decode_sound(stream.getvalue()).samples, np.array(values) / 2**23, atol=1e-7)


def test_channels_are_averaged() -> None:
    stereo = np.stack([TONE, np.zeros(400)], axis=1) * 20000
    found = decode_sound(wav(stereo.astype(np.int16), 44100))
    np.testing.assert_allclose(found.samples, stereo.astype(np.int16).mean(axis=1) / 2**15, atol=1e-7)
    assert found.rate == 44100


@pytest.mark.parametrize("data", [b"", b"RIFF", b"no sound", wav(np.zeros(0, np.int16))])
def test_what_is_no_sound_is_a_bad_sound(data: bytes) -> None:
    with pytest.raises(BadSound):
        decode_sound(data)


def test_sound_that_is_cut_off_is_a_bad_sound_but_for_one_of_unknown_length() -> None:
    whole = wav((TONE * 9000).astype(np.int16))
    with pytest.raises(BadSound, match=r"is cut off after 300 of 400 samples"):
        decode_sound(whole[:-200])
    unknown = (2**32 - 1).to_bytes(4, "little")  # as ffmpeg writes it into a pipe
    piped = whole[:4] + unknown + whole[8:40] + unknown + whole[44:]
    np.testing.assert_array_equal(decode_sound(piped).samples, decode_sound(whole).samples)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=6), st.integers(0, 300))
def test_damaged_bytes_give_a_sound_or_a_bad_sound(changes: list[tuple[int, int]], length: int) -> None:
    damaged = bytearray(wav((TONE * 9000).astype(np.int16)))
    for place, value in changes:
        damaged[place] = value
    reason = ""
    try:
        assert np.isfinite(decode_sound(bytes(damaged[:length])).samples).all()
    except BadSound as error:
        reason = str(error)
    assert "\n" not in reason


def test_without_its_decoder_another_format_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(BadSound, match=r"others need soundfile: .*pip install av soundfile$"):
        decode_sound(wav(TONE.astype(np.float32)))


def test_with_its_decoder_another_format_is_read() -> None:
    pytest.importorskip("soundfile")
    found = decode_sound(wav(np.stack([TONE, TONE / 2], axis=1).astype(np.float32)))
    np.testing.assert_allclose(found.samples, TONE * 0.75, atol=1e-6)
    with pytest.raises(BadSound, match="is corrupt"):
        decode_sound(b"no sound at all")


def check(found: Audio) -> None:
    np.testing.assert_allclose(found.samples, TONE, atol=1e-3)
    assert found.rate == RATE


def test_a_column_of_the_hubs_audio_feature(tmp_path: Path) -> None:
    sound = wav((TONE * 32767).astype(np.int16))
    table = pa.table(
        {
            "audio": [{"bytes": sound, "path": "a.wav"}, None],
            "question": ["What is heard?", "And here?"],
        },
        schema=datasets.Features({"audio": datasets.Audio(), "question": datasets.Value("string")}).arrow_schema,
    )
    pq.write_table(table, tmp_path / "test.parquet")
    found = open_slice(SliceSpec(str(tmp_path)))
    first, second = found.example(0), found.example(1)
    assert (len(first.audios), first.images, second.audios) == (1, (), ())
    check(first.audios[0])
    assert open_slice(SliceSpec(str(tmp_path), filter="audio")).keys == ("row 0",)
    assert open_slice(SliceSpec(str(tmp_path), filter="text-only")).keys == ("row 1",)
    with pytest.raises(MicroscopeError, match=r"none that is left has a picture\.$"):
        open_slice(SliceSpec(str(tmp_path), filter="image"))


def test_sound_by_bytes_by_name_and_in_messages(tmp_path: Path) -> None:
    sound = wav((TONE * 32767).astype(np.int16))
    (tmp_path / "a.wav").write_bytes(sound)
    rows = {"heard": [[sound, sound]], "named": ["a.wav"], "question": ["What is heard?"]}
    pq.write_table(pa.table(rows), tmp_path / "test.parquet")
    for name, count in (("heard", 2), ("named", 1), ("heard,named", 3)):
        audios = open_slice(SliceSpec(str(tmp_path), columns=(("audio", name),))).example(0).audios
        assert len(audios) == count
        for audio in audios:
            check(audio)
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(sound).decode(), "format": "wav"}}
    content = [part, {"type": "audio", "audio": "a.wav"}, {"type": "text", "text": "What is heard?"}]
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": content}]}))
    example = open_slice(SliceSpec(str(tmp_path / "chat.jsonl"))).example(0)
    assert example.question == "What is heard?"
    assert len(example.audios) == 2
    for audio in example.audios:
        check(audio)


def test_a_damaged_sound_is_named_by_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"audio": [b""], "question": ["a?"]}), tmp_path / "test.parquet")
    with pytest.raises(BadExample, match=r"^row 0: its sound is empty \(0 bytes\)$"):
        open_slice(SliceSpec(str(tmp_path))).example(0)
