"""Conversations: LLaVA's files, and messages as chat APIs take them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.slices import Slice, open_slice
from microscope_tui.slices.conversation import Conversation, conversation_of
from microscope_tui.terms import SliceSpec

from . import conftest as data

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "red.png").write_bytes(data.png(RED))
    (tmp_path / "blue.png").write_bytes(data.png(BLUE))
    return tmp_path


def llava(image: object, asked: str, answered: str = "A square.") -> dict[str, object]:
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    more = [{"from": "human", "value": "And then?"}, {"from": "gpt", "value": "No."}]
    return {"id": "x", "image": image, "conversations": turns + more}


def user(*parts: object) -> dict[str, object]:
    return {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": list(parts)}]}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def image_url(place: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": place}}


def written(file: Path, lines: list[dict[str, object]]) -> Slice:
    if file.suffix == ".json":
        file.write_text(json.dumps(lines))
    else:
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return open_slice(SliceSpec(str(file)))


def colours(found: Slice, i: int) -> list[object]:
    return [image.getpixel((0, 0)) for image in found.example(i).images]


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_llavas_form(folder: Path, name: str) -> None:
    lines: list[dict[str, object]] = [
        llava("pictures/red.png", "<image>\nWhat is shown?"),
        llava(["blue.png", "pictures/red.png"], "What is the <image> beside\n<image>"),
        {"id": "y", "conversations": [{"from": "human", "value": "Hello?"}]},
    ]
    found = written(folder / name, lines)
    assert found.keys == ("row 0", "row 1", "row 2")
    first, second, third = (found.example(i) for i in range(3))
    assert (first.question, first.meta, first.choices) == ("What is shown?", {"answer": "A square."}, ())
    assert second.question == "What is the beside"
    assert (third.question, third.images, third.meta) == ("Hello?", (), {})
    assert [colours(found, i) for i in range(3)] == [[RED], [BLUE, RED], []]
    assert {folder / name, folder / "blue.png", folder / "pictures" / "red.png"} <= set(found.files)
    assert open_slice(SliceSpec(str(folder / name), filter="image")).keys == ("row 0", "row 1")


def test_messages_with_parts(folder: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode(data.png((1, 2, 3))).decode()
    answered = user(text("Which colour?"), image_url("pictures/red.png"))
    answered["messages"].append({"role": "assistant", "content": "Red."})  # type: ignore[attr-defined]  # a list
    lines: list[dict[str, object]] = [
        answered,
        user(image_url("blue.png"), text("First."), text("Second."), image_url(uri)),
        user({"type": "input_text", "text": "In words."}, {"type": "input_image", "image_url": "blue.png"}),
        {"messages": [{"role": "user", "content": "Only words."}]},
        user({"type": "image", "image": f"file://{folder}/blue.png"}, text("By an address of a file.")),
    ]
    found = written(folder / "chat.jsonl", lines)
    examples = [found.example(i) for i in range(len(found))]
    assert [e.question for e in examples] == [
        "Which colour?",
        "First.\nSecond.",
        "In words.",
        "Only words.",
        "By an address of a file.",
    ]
    assert [colours(found, i) for i in range(5)] == [[RED], [BLUE, (1, 2, 3)], [BLUE], [], [BLUE]]
    assert examples[0].meta == {"answer": "Red."}
    assert found.rows.holding("image") == [True, True, True, False, True]
    assert open_slice(SliceSpec(str(folder / "chat.jsonl"), filter="text-only")).keys == ("row 3",)
    assert {folder / "blue.png", folder / "pictures" / "red.png"} <= set(found.files)


def test_a_picture_on_the_web_is_refused(folder: Path) -> None:
    web = "https://example.org/cat.png"
    found = written(folder / "chat.jsonl", [user(text("a?"), image_url("blue.png")), user(text("b?"), image_url(web))])
    with pytest.raises(BadExample, match=r"^row 1: its picture https://example.org/cat.png is on the web: download it"):
        found.example(1)
    with pytest.raises(MicroscopeError, match=r"holds addresses on the web, like 'https://example.org/cat.png', and "):
        written(folder / "web.jsonl", [user(text("b?"), image_url(web))])
    with pytest.raises(MicroscopeError, match=r"The column image of .* holds addresses on the web"):
        written(folder / "llava.jsonl", [llava(web, "b?")])


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("data:image/png;base64,%%%", r"is a damaged data: URI \("),
        ("data:image/png,abc", "is a data: URI without base64"),
        ("../secret.png", "'../secret.png' is outside the data set's folder"),
        ("/etc/passwd", "'/etc/passwd' is outside the data set's folder"),
        ("file:///etc/passwd", "'file:///etc/passwd' is outside the data set's folder"),
        ("gone.png", "gone.png cannot be read"),
        ("data:image/png;base64,aGVsbG8=", "is corrupt"),
    ],
)
def test_a_picture_that_cannot_be_had_is_a_bad_example(folder: Path, place: str, reason: str) -> None:
    lines = [user(text("a?"), image_url("blue.png")), user(text("b?"), image_url(place))]
    with pytest.raises(BadExample, match=f"^row 1: its picture {reason}"):
        written(folder / "chat.jsonl", lines).example(1)


def test_turns_of_a_parquet_file(tmp_path: Path) -> None:
    """As on the hub: the parts mark where the pictures go, and a column holds them."""
    content = [{"type": "image", "text": None}, {"type": "text", "text": "What is it?"}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": [{"type": "text", "text": "Red."}]}]
    table = pa.table({"talk": [turns], "images": [[{"bytes": data.png(RED), "path": None}]]})
    pq.write_table(table, tmp_path / "test.parquet")
    found = open_slice(SliceSpec(str(tmp_path), columns=(("question", "talk"),)))
    assert (found.example(0).question, found.example(0).meta) == ("What is it?", {"answer": "Red."})
    assert colours(found, 0) == [RED]


def test_a_file_of_plain_lines_can_be_mapped(folder: Path) -> None:
    lines = [{"photo": "blue.png", "asked": "Which?", "options": ["red", "blue"], "right": "B", "odd": [1, "x"]}]
    (folder / "plain.jsonl").write_text(json.dumps(lines[0]) + '\n{"odd": 3, "asked": "Sure?"}\n')
    found = open_slice(SliceSpec.parse(f"{folder}/plain.jsonl?image=photo&question=asked&choices=options&answer=right"))
    first, second = found.example(0), found.example(1)
    assert (first.question, first.choices, first.answer) == ("Which?", ("red", "blue"), 1)
    assert colours(found, 0) == [BLUE]
    assert (second.question, second.choices, second.images) == ("Sure?", (), ())


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", "", "holds no rows"),
        ("a.json", "[]", "holds no rows"),
        ("a.json", "[1]", "Entry 1 of .* is not a JSON object"),
        ("a.json", "[{}", "a.json is not JSON"),
        ("a.jsonl", "{}\n[", "Line 2 of .* is not JSON"),
        ("a.jsonl", '{}\n{"question": "\\ud800?"}', r"Line 2 of .* holds '\\ud800', which is half of a character\.$"),
        ("a.jsonl", '{"text": "x"}', "has no image column"),
        ("a.jsonl", '{"image": "a.png", "conversations": "x"}', "should hold text|none of them"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: str, expected: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(MicroscopeError, match=expected):
        open_slice(SliceSpec(str(tmp_path / name)))


def test_a_line_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    line = json.dumps({"image": None, "question": "One\u2028two\x85three?"}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_bytes(f"{line}\r\n{line}\n".encode())
    found = open_slice(SliceSpec(str(tmp_path / "a.jsonl")))
    assert [found.example(i).question for i in range(len(found))] == ["One\u2028two\x85three?"] * 2


def test_the_mark_that_windows_begins_its_texts_with_is_no_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"image": null, "question": "\\ud83d\\ude00?"}', encoding="utf-8-sig")
    assert open_slice(SliceSpec(str(tmp_path / "a.jsonl"))).example(0).question == "😀?"


def test_a_row_without_a_human_turn_has_no_question(folder: Path) -> None:
    found = written(folder / "a.jsonl", [llava("blue.png", "a?"), {"conversations": [{"from": "gpt", "value": "x"}]}])
    with pytest.raises(BadExample, match=r"^row 1: it has no question$"):
        found.example(1)


anything = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from", "role", "value", "content", "type", "text", "image_url"]), inner)
    ),
    max_leaves=12,
)


@given(anything)
def test_nothing_makes_a_conversation_fail(turns: object) -> None:
    assert isinstance(conversation_of(turns), Conversation)
