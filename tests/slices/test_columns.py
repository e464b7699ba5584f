"""Data sets whose columns are not named as ScienceQA's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.slices import Slice, open_slice
from microscope_tui.slices.examples import answer_of
from microscope_tui.terms import SliceSpec

from . import conftest as data

RED, BLUE = (255, 0, 0), (0, 0, 255)


def written(folder: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), folder / "test.parquet")
    return folder


def opened(source: Path, options: str = "") -> Slice:
    return open_slice(SliceSpec.parse(f"{source}?{options}"))


def colours(found: Slice, i: int) -> list[object]:
    return [image.getpixel((0, 0)) for image in found.example(i).images]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "red.png").write_bytes(data.png(RED))
    (tmp_path / "blue.png").write_bytes(data.png(BLUE))
    return tmp_path


@pytest.mark.parametrize("saved", [False, True])
def test_columns_of_other_names_are_mapped(tmp_path: Path, saved: bool) -> None:
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "caption": datasets.Value("string"),
            "options": datasets.List(datasets.Value("string")),
            "label": datasets.Value("string"),
            "context": datasets.Value("string"),
        }
    )
    columns = {
        "photo": [{"bytes": data.png(RED), "path": None}, None],
        "caption": ["Which colour?", "And now?"],
        "options": [["red", "blue"], ["yes", "no"]],
        "label": ["A", "no"],
        "context": ["Look.", None],
    }
    some = datasets.Dataset.from_dict(columns, features=features)
    if saved:
        some.save_to_disk(str(tmp_path / "set"))
    else:
        some.to_parquet(tmp_path / "set" / "test.parquet")
    found = opened(tmp_path / "set", "image=photo&question=caption&choices=options&answer=label&hint=context")
    first, second = found.example(0), found.example(1)
    assert colours(found, 0) == [RED]
    assert (first.question, first.choices, first.answer, first.hint) == ("Which colour?", ("red", "blue"), 0, "Look.")
    assert (second.images, second.choices, second.answer, second.hint) == ((), ("yes", "no"), 1, "")
    assert found.rows.holding("image") == [True, False]


def test_pictures_as_bare_bytes_as_names_of_files_and_in_lists(pictures: Path) -> None:
    pq.write_table(
        pa.table(
            {
                "bare": [data.png(RED), None],
                "named": ["pictures/red.png", ""],
                "several": [["blue.png", "pictures/red.png"], []],
                "question": ["a?", "b?"],
            }
        ),
        pictures / "test.parquet",
    )
    for name, expected in {
        "bare": [RED],
        "named": [RED],
        "several": [BLUE, RED],
        "bare,several": [RED, BLUE, RED],
    }.items():
        found = opened(pictures, f"image={name}")
        assert colours(found, 0) == expected
        assert found.example(1).images == ()
        assert opened(pictures, f"image={name}&filter=image").keys == ("row 0",)


def test_named_pictures_belong_to_the_content(pictures: Path) -> None:
    written(pictures, {"photo": ["blue.png", "pictures/red.png"], "question": ["a?", "b?"]})
    before = opened(pictures, "image=photo")
    assert {pictures / "blue.png", pictures / "pictures" / "red.png"} <= set(before.files)
    digest = before.digest
    (pictures / "blue.png").write_bytes(data.png((0, 0, 254)))
    assert opened(pictures, "image=photo").digest != digest


def test_another_mapping_is_another_content(tmp_path: Path) -> None:
    written(tmp_path, {"image": [None], "a": ["one"], "b": ["two"]})
    assert opened(tmp_path, "question=a").content != opened(tmp_path, "question=b").content
    assert opened(tmp_path, "question=a").content == opened(tmp_path, "question=a&count=1").content


def test_names_that_are_missing_or_outside_are_bad_examples(pictures: Path) -> None:
    (pictures / "set").mkdir()
    (pictures / "set" / "there.png").write_bytes(data.png(RED))
    names = ["there.png", "gone.png", "../blue.png", str(pictures / "blue.png"), "x\0y"]
    written(pictures / "set", {"photo": names, "question": ["a?"] * 5})
    found = opened(pictures / "set", "image=photo")
    assert colours(found, 0) == [RED]
    with pytest.raises(BadExample, match=r"^row 1: its picture gone.png cannot be read \(No such file or directory\)$"):
        found.example(1)
    for i in (2, 3, 4):
        with pytest.raises(BadExample, match=rf"^row {i}: its picture '.*' is outside the data set's folder$"):
            found.example(i)


def test_choices_over_columns_of_which_the_last_may_be_empty(tmp_path: Path) -> None:
    columns = {"A": ["cat", "one"], "B": ["dog", "two"], "C": ["cow", None], "D": [None, None], "key": ["C", "B"]}
    written(tmp_path, {"image": [None, None], "question": ["a?", "b?"], **columns})
    found = opened(tmp_path, "choices=A,B,C,D&answer=key")
    assert [found.example(i).choices for i in (0, 1)] == [("cat", "dog", "cow"), ("one", "two")]
    assert [found.example(i).answer for i in (0, 1)] == [2, 1]


def test_choices_within_a_structure_and_as_a_text_that_spells_a_list(tmp_path: Path) -> None:
    columns = {
        "inner": [{"text": ["x", "y"], "label": ["A", "B"]}, None],
        "spelled": ["['$6', \"it's\"]", "[1"],
        "numbers": [[3, 4], [5, 6]],
        "a,b": [["p", "q"], ["r", "s"]],
    }
    written(tmp_path, {"image": [None, None], "question": ["a?", "b?"], **columns})
    assert opened(tmp_path, "choices=inner.text").example(0).choices == ("x", "y")
    assert opened(tmp_path, "choices=inner.text").example(1).choices == ()
    assert opened(tmp_path, "choices=numbers").example(0).choices == ("3", "4")
    assert opened(tmp_path, "choices=a,b").example(0).choices == ("p", "q")
    spelled = opened(tmp_path, "choices=spelled")
    assert spelled.example(0).choices == ("$6", "it's")
    with pytest.raises(BadExample, match=r"^row 1: its choices are no list: '\[1'$"):
        spelled.example(1)


def test_a_spelled_list_is_read_and_not_run(tmp_path: Path) -> None:
    text = "[__import__('os').mkdir('x')]"
    written(tmp_path, {"image": [None], "question": ["a?"], "options": [text]})
    with pytest.raises(BadExample, match="its choices are no list"):
        opened(tmp_path, "choices=options").example(0)


@pytest.mark.parametrize(
    ("answer", "choices", "expected"),
    [
        (1, ("a", "b"), 1),
        (1.0, ("a", "b"), 1),
        ("B", ("cat", "dog"), 1),
        ("(b)", ("cat", "dog"), 1),
        ("B.", ("cat", "dog"), 1),
        (" Dog ", ("cat", "dog"), 1),
        ("1", ("cat", "dog"), 1),
        ("4", ("2", "4", "6", "8", "10"), 1),
        ("B", ("A", "B"), 1),
        ("A", ("B", "A"), None),
        ("dog", ("dog", "dog"), None),
        ("E", ("cat", "dog"), None),
        ("7", ("cat", "dog"), None),
        ("?", ("cat", "dog"), None),
        ("", ("", "x"), None),
        (True, ("False", "True"), 1),
        (["dog", "cat", "dog"], ("cat", "dog"), 1),
        (None, ("cat", "dog"), None),
        (float("nan"), ("cat", "dog"), None),
    ],
)
def test_an_answer_is_an_index_a_text_or_a_letter(answer: object, choices: tuple[str, ...], expected: int) -> None:
    assert answer_of(answer, choices) == expected


def test_an_answer_in_words_is_kept(tmp_path: Path) -> None:
    columns = {"word": ["a fox", None], "people": [["fox", "dog", "dog"], []], "number": [1, 0]}
    written(tmp_path, {"image": [None, None], "question": ["a?", "b?"], **columns})
    assert [opened(tmp_path, "answer=word").example(i).meta for i in (0, 1)] == [{"answer": "a fox"}, {}]
    assert [opened(tmp_path, "answer=people").example(i).meta for i in (0, 1)] == [{"answer": "dog"}, {}]
    assert opened(tmp_path, "answer=number").example(0).meta == {"answer": "1"}
    assert opened(tmp_path, "answer=number&choices=word,word").example(0).meta == {}
    assert opened(tmp_path, "answer=word").example(0).answer is None


def test_texts_lists_and_bytes_in_all_their_arrow_kinds(tmp_path: Path) -> None:
    """Categories are what pandas makes of few different texts; views are what newer writers make of all."""
    reds = [data.png(RED), None]
    kinds = {
        "image": pa.array(reds, pa.binary_view()),
        "question": pa.array(["a?", "a?"]).dictionary_encode(),
        "hint": pa.array(["h", "i"], pa.string_view()),
        "choices": pa.array([["x", "y"], ["z", "y"]], pa.list_view(pa.string())),
        "answer": pa.array(["y", "z"]).dictionary_encode(),
    }
    found = opened(written(tmp_path, kinds))
    assert [found.example(i).question for i in (0, 1)] == ["a?", "a?"]
    assert [found.example(i).choices for i in (0, 1)] == [("x", "y"), ("z", "y")]
    assert [(found.example(i).hint, found.example(i).answer) for i in (0, 1)] == [("h", 1), ("i", 0)]
    assert found.rows.holding("image") == [True, False]
    assert colours(found, 0) == [RED]


def test_names_of_pictures_in_all_their_arrow_kinds(pictures: Path) -> None:
    for kind in (pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        written(pictures, {"image": pa.array(["blue.png", "", None], kind), "question": ["a?"] * 3})
        found = opened(pictures)
        assert colours(found, 0) == [BLUE]
        assert found.rows.holding("image") == [True, False, False]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("image=photo", r"has no column photo \(image=photo\): its columns are image, question, number\.$"),
        ("question=caption", r"has no column caption \(question=caption\): its columns are image, question, number\.$"),
        ("choices=question,b", r"has no column b \(choices=question,b\): its columns are image, question, number\.$"),
        ("hint=image.colour", r"has no column image.colour"),
        ("image=number", r"The column number of the data set .* holds int64 and no pictures"),
        ("question=number", r"The column number of the data set .* holds int64: it should hold text\.$"),
        ("image=nested.photo", r"nested.photo lies within a column of .*: take it out of there\.$"),
        ("image=question", r"holds names of files, and none of them, like 'a\?', is in "),
    ],
)
def test_a_wrong_column_is_refused_by_naming_those_there_are(tmp_path: Path, options: str, expected: str) -> None:
    columns = {"image": [data.png(RED)], "question": ["a?"], "number": [3]}
    written(tmp_path, columns | ({"nested": [{"photo": data.png(RED)}]} if "nested" in options else {}))
    with pytest.raises(MicroscopeError) as caught:
        opened(tmp_path, options)
    assert re.search(expected, str(caught.value))


def test_a_prompt_stands_for_every_question(tmp_path: Path) -> None:
    written(tmp_path, {"image": [data.png(RED), None]})
    found = opened(tmp_path, "prompt=Describe the picture.")
    assert [found.example(i).question for i in (0, 1)] == ["Describe the picture."] * 2
    with pytest.raises(MicroscopeError, match=r"has no question column: its columns are image\. .* prompt=Describe"):
        opened(tmp_path)
