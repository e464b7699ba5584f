"""What a key costs on a thin line, in bytes to the terminal: 120x40, 256 colours, two models in four panes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.terminal import LEFT, RIGHT, Terminal


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal("tests.tui.served", "compare", width=120, height=40)
    terminal.until(lambda: terminal.braille > 200)
    terminal.settle()
    yield terminal
    terminal.close()


def most(terminal: Terminal, keys: list[str]) -> int:
    """The bytes of the answer that took most of them."""
    return max(terminal.cost(key).bytes for key in keys)


def test_a_key_costs_few_bytes_and_doing_nothing_none(terminal: Terminal):
    assert len(terminal.raw) <= 30_000
    assert most(terminal, [RIGHT] * 3) <= 4_000
    assert most(terminal, [*"231"]) <= 12_000
    assert "layer 15" in terminal.text
    before = terminal.settle()
    terminal.read(1.0)
    assert len(terminal.raw) == before
    terminal.press("b", lambda: "thin line" in terminal.text)
    terminal.settle()
    assert most(terminal, [LEFT] * 2) <= 2_000
    assert most(terminal, [*"231"]) <= 8_000


@pytest.mark.parametrize(
    ("key", "said"), [("m", "Model to look at"), ("e", "Save what is on"), ("\x10", "Search for commands")]
)
def test_a_line_to_type_in_costs_nothing_while_nobody_types(terminal: Terminal, key: str, said: str):
    terminal.press(key, lambda: said in terminal.text)
    if key == "e":
        terminal.child.send("\t")  # from the formats to the folder
    terminal.settle(1.2)  # longer than a blink, which would keep it from coming to rest
    before = len(terminal.raw)
    terminal.read(1.2)
    assert len(terminal.raw) == before


def test_a_layer_of_the_tokens_and_of_the_map_costs_few_bytes(terminal: Terminal):
    terminal.press("T", lambda: "image 1" in terminal.text and "picture 1" in terminal.text)
    terminal.settle()
    terminal.cost("\t")
    assert most(terminal, [LEFT] * 4) <= 8_000
    assert most(terminal, [*"231"]) <= 16_000
    terminal.press("\x1b", lambda: terminal.braille > 200)
    terminal.settle()
    terminal.press("M", lambda: terminal.text.count("of the variance") == 2)
    terminal.settle()
    assert most(terminal, [LEFT] * 4) <= 8_000
