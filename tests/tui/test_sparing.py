"""What the driver leaves out: a terminal shows the same with it as without."""

from __future__ import annotations

import pyte
from hypothesis import given
from hypothesis import strategies as st

from microscope_tui.tui.output.sparing import PLAIN, Paper, Pen, change, narrow, taken

WIDTH, HEIGHT = 20, 5
PENS = (
    "",
    "1",
    "1;38;5;74;48;5;235",
    "38;5;245;48;5;233",
    "48;5;233",
    "38;2;1;2;3;48;2;4;5;6",
    "31;102",
    "4;97",
    "7",
    "2;3",
)
TEXTS = ("a", "bc ", "   ", "⣿⡇", "日本", "e\u0301", "x" * 7, " ▀▀ ")


def painted(*writes: str) -> list[list[tuple[object, ...]]]:
    """The cells of a terminal that was sent this."""
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    for write in writes:
        stream.feed(write)
    # Of a blank only what shows of it: its background, and lines through it.
    return [
        [
            (c.data, c.bg, c.underscore, c.reverse, c.strikethrough)
            + ((c.fg, c.bold, c.italics) if c.data.strip() or c.reverse or c.underscore else ())
            for c in (screen.buffer[y][x] for x in range(WIDTH))
        ]
        for y in range(HEIGHT)
    ]


@st.composite
def frames(draw: st.DrawFn) -> str:
    """A repaint as Textual sends one: each piece in its pen, with a reset behind it."""
    sent = []
    for y in sorted(draw(st.sets(st.integers(1, HEIGHT), min_size=1))):
        x = draw(st.integers(1, 8))
        sent.append(f"\x1b[{y};{x}H")
        for _ in range(draw(st.integers(1, 2))):
            text = draw(st.sampled_from(TEXTS))
            pen = draw(st.sampled_from(PENS))
            sent.append(f"\x1b[{pen}m{text}\x1b[0m" if pen else text)
        sent.append("\n")
    return "".join(sent[:-1]) + "\x1b[1;1H"


CELLS = ("a", "b", " ", "\x1b[7m \x1b[0m", "\x1b[4m \x1b[0m")
"""Letters and blanks of one row, some with attributes that show though they have no colour."""


@given(st.lists(st.lists(st.sampled_from(CELLS), min_size=3, max_size=4), min_size=2, max_size=8))
def test_blanks_in_one_row_keep_their_attributes(rows: list[list[str]]):
    writes = [f"\x1b[1;1H{''.join(row)}\x1b[1;1H" for row in rows]
    paper = Paper()
    spared = [paper.spared(write) for write in writes]
    assert painted(*spared) == painted(*writes)


def test_a_reversed_blank_that_stands_between_is_not_written_over():
    writes = ["\x1b[1;1Ha\x1b[7m \x1b[0mb\x1b[1;1H", "\x1b[1;1Hc\x1b[7m \x1b[0md\x1b[1;1H"]
    paper = Paper()
    spared = [paper.spared(write) for write in writes]
    assert painted(*spared) == painted(*writes)


def test_of_a_frame_that_is_larger_than_the_terminal_nothing_is_taken_to_stand_there():
    wide, tall = f"\x1b[1;1H{'x' * WIDTH}yz\x1b[1;1H", f"\x1b[{HEIGHT + 1};1Hx\x1b[1;1H"
    for large in (wide, tall):
        paper, frame = Paper(), f"\x1b[1;1H{'x' * WIDTH}\x1b[1;1H"
        assert paper.spared(frame, (WIDTH, HEIGHT)) == frame
        assert paper.spared(frame, (WIDTH, HEIGHT)) == ""
        assert paper.spared(large, (WIDTH, HEIGHT))
        assert paper.spared(frame, (WIDTH, HEIGHT)) == frame


@given(st.lists(frames(), min_size=1, max_size=6))
def test_a_terminal_shows_the_same(writes: list[str]):
    paper = Paper()
    spared = [paper.spared(write) for write in writes]
    assert painted(*spared) == painted(*writes)


def test_what_stands_there_is_not_sent_again_until_it_is_forgotten():
    paper = Paper()
    frame = "\x1b[1;1H\x1b[38;5;74;48;5;233mlayer\x1b[0m\x1b[48;5;233m  \x1b[0m\x1b[1;1H"
    assert paper.spared(frame) == "\x1b[1;1H\x1b[38;5;74;48;5;233mlayer  \x1b[m\x1b[1;1H"
    assert paper.spared(frame) == ""
    assert paper.spared(frame.replace("layer", "later")) == "\x1b[1;3H\x1b[38;5;74;48;5;233mt\x1b[m\x1b[1;1H"
    paper.forget()
    assert "later" in paper.spared(frame.replace("layer", "later"))


def test_only_what_paints_or_wipes_makes_it_forget():
    paper, frame = Paper(), "\x1b[1;1Hlayer\x1b[1;1H"
    assert paper.spared(frame) == frame
    for harmless in ("\x1b[?2026h", "\x1b[?25l", "\x1b]52;c;YQ==\x07", "\x07", "\x1b[>1u", "\x1b[?2026$p"):
        assert paper.spared(harmless) == harmless
        assert paper.spared(frame) == ""
    erasing = [f"\x1b[{final}" for final in "KLMPSTX@"]
    for harmful in ("\x1b[?1049h", "\x1b[2J", "written by somebody", "\x1bc", *erasing):
        assert paper.spared(harmful) == harmful
        assert paper.spared(frame) == frame


def test_a_pen_changes_by_the_shortest_sequence():
    text, bold = taken(PLAIN, "38;5;245;48;5;233"), taken(PLAIN, "1;38;5;245;48;5;233")
    assert text == Pen(front="38;5;245", back="48;5;233")
    assert text is not None
    assert bold is not None
    assert change(text, bold) == "\x1b[1m"
    assert change(bold, text) == "\x1b[22m"
    assert change(bold, PLAIN) == "\x1b[m"
    assert taken(text, "58;5;1") is None
    assert [narrow(each) for each in TEXTS] == [True, True, True, True, False, False, True, True]
