"""The screen in ASCII."""

import unicodedata
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual._border import BORDER_CHARS
from textual.command import SearchIcon
from textual.scrollbar import ScrollBarRender

from microscope_tui.settings import Settings
from microscope_tui.tui.output.ascii import ascii_text
from microscope_tui.tui.session import Session
from microscope_tui.tui.themes import MARKERS
from microscope_tui.tui.widgets.chart import HOLLOW
from tests.terminal import Terminal
from tests.tui.driving import explorer, filled
from tests.tui.fake import MODELS, SLICE, FakeSource, Shape, made_up

PACKAGE = Path(__file__).parents[2] / "microscope_tui"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("● llava ◆ omni", "O llava X omni"),
        ("✓ ran ✗ failed", "y ran n failed"),
        ("╭─ a │ b ─╯", "+- a | b -+"),
        ("⠉⣀⣉⠀", "'.: "),
        ("R² λ₁/Σλ 1 − ‖XA − Y‖²", "R2 l1/Sl 1 - |XA - Y|2"),
        ("é 漢字", "e ????"),
        ("⏎ is no /", "\\ is no /"),
        ("plain", "plain"),
    ],
)
def test_what_stands_for_what(text: str, plain: str):
    assert ascii_text(text) == plain


def test_no_two_signs_become_one():
    signs = (*MARKERS, *HOLLOW, "✓", "✗", "─", "│", "┼", "⠉", "⣀", "⣿")
    assert len({ascii_text(sign) for sign in signs}) == len(signs)


def test_scroll_bars_and_frames_of_the_library_have_plain_signs():
    drawn = {*ScrollBarRender.VERTICAL_BARS, *ScrollBarRender.HORIZONTAL_BARS}
    drawn |= {char for rows in BORDER_CHARS.values() for row in rows for char in row}
    for char in drawn:
        assert ascii_text(char).isascii()
        assert "?" not in ascii_text(char), char


async def test_a_scroll_bar_in_ascii(tmp_path):
    async with explorer(FakeSource([made_up()]), size=(80, 24), settings=Settings(cache=tmp_path, ascii=True)) as e:
        await filled(e)
        await e.press("question_mark")
        for _ in range(12):
            await e.press("down")
            lines = ["".join(segment.text for segment in strip) for strip in e.app.screen._compositor.render_strips()]
            assert not [line for line in lines[1:-1] if line.rstrip(" |").endswith("?")]


def test_every_sign_that_the_program_writes_has_a_plain_one_of_its_width():
    written = {char for file in PACKAGE.rglob("*.py") for char in file.read_text()} - set("漢字")
    for char in written:
        if not char.isascii() and not unicodedata.combining(char):
            assert ascii_text(char).isascii()
            assert len(ascii_text(char)) == cell_len(char)
    unknown = {char for char in written if "?" in ascii_text(char) and char != "?"}
    assert not unknown


async def test_nothing_but_ascii_is_on_the_screen_and_series_differ(tmp_path):
    source = FakeSource([made_up(), made_up(MODELS[1], shape=Shape(tilt=1.0))])
    session, settings = Session(MODELS, SLICE, layer=12), Settings(cache=tmp_path, ascii=True)
    async with explorer(source, session=session, settings=settings) as e:
        await filled(e)
        lines = ["".join(segment.text for segment in strip) for strip in e.app.screen._compositor.render_strips()]
        assert "\n".join(lines).isascii()
        assert {len(line) for line in lines} == {120}
        assert "O llava-next" in lines[0]
        assert "X omnifusion" in lines[0]
        charts = "\n".join(lines[4:-4])
        assert charts.count("X") > 12
        assert any(set("':.") <= set(line) for line in lines)


async def test_the_palette_has_a_sign_that_every_terminal_has(tmp_path):
    for ascii in (True, False):
        async with explorer(FakeSource([made_up()]), settings=Settings(cache=tmp_path, ascii=ascii)) as e:
            await filled(e)
            await e.press("ctrl+p")
            sign = e.app.screen.query_one(SearchIcon)
            shown = ascii_text(str(sign.render())) if ascii else str(sign.render())
            assert shown == ">"


def test_a_terminal_gets_no_byte_above_127():
    terminal = Terminal("tests.tui.served", MICROSCOPE_ASCII="1", NO_COLOR="1")
    try:
        terminal.until(lambda: "linearity" in terminal.text and terminal.text.count("O") > 4)
        terminal.child.send("q")
        assert terminal.end() == 0
        assert terminal.raw.isascii()
    finally:
        terminal.close()
