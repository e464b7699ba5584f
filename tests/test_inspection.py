"""The values of single looks go through JSON unchanged."""

import json

from microscope_tui.inspection import Cloud, Lens, Preview, TokenTable, WorstTokens
from tests.tui import looked

PAIRS = (((("the", 0.5), (" a", 0.25)), (("a", 0.1), ("the", 1e-9))), (((" a", 1.0), ("</s>", 0.0)),) * 2)


def test_they_go_through_json_unchanged():
    for value, kind in (
        (looked.table(), TokenTable),
        (looked.table(lens=False, mapped=False), TokenTable),
        (looked.preview(), Preview),
        (looked.worst(), WorstTokens),
        (looked.cloud(), Cloud),
    ):
        assert kind.from_json(json.loads(json.dumps(value.to_json()))) == value


def test_packed_words_read_as_they_were():
    lens = Lens.of(PAIRS)
    assert lens == PAIRS
    assert lens[1][0] == PAIRS[1][0]
    assert lens[-1] == PAIRS[1]
    assert lens[:1] == PAIRS[:1]
    assert Lens.from_json(json.loads(json.dumps(lens.to_json()))) == lens
    assert lens != PAIRS[::-1]
    assert lens.spelt == ("the", " a", "a", "</s>")


def test_no_words_are_no_layers():
    assert len(Lens.of(())) == 0
    assert Lens.of(()) == ()
