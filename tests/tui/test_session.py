"""The session: what each move makes of it."""

from pathlib import Path

from microscope_tui.settings import Settings
from microscope_tui.terms import Metric, Modality, SliceSpec, Stream
from microscope_tui.tui import session as moves
from microscope_tui.tui.session import DARK, LIGHT, Session

START = Session(("demo:a",), SliceSpec("demo:s"))


def test_panes_go_row_by_row():
    assert START.panes == (
        (Modality.TEXT, Stream.MAIN),
        (Modality.TEXT, Stream.RESIDUAL),
        (Modality.IMAGE, Stream.MAIN),
        (Modality.IMAGE, Stream.RESIDUAL),
    )


def test_the_layer_stays_within_the_model():
    assert moves.move_layer(START, -1, 8).layer == 0
    assert moves.move_layer(START, 3, 8).layer == 3
    assert moves.move_layer(START, 99, 8).layer == 8
    assert moves.to_layer(START, 5, 0).layer == 0


def test_panes_go_round():
    assert moves.move_pane(START, -1).pane == 3
    assert moves.move_pane(moves.move_pane(START, 3), 1).pane == 0
    assert moves.to_pane(START, 99).pane == 3


def test_a_second_model_is_laid_over_and_taken_off():
    both = moves.lay_over(START, "demo:b")
    assert both.models == ("demo:a", "demo:b")
    assert both.comparing
    assert moves.lay_over(both, "demo:c").models == ("demo:a", "demo:c")
    assert moves.lay_over(START, "demo:a") == START
    assert moves.take_off(both) == START


def test_a_model_is_not_laid_over_itself():
    assert moves.choose_model(moves.lay_over(START, "demo:b"), "demo:b").models == ("demo:b",)


def test_variants_go_round_those_that_were_measured():
    available = ("in-sample", "held-out")
    second = moves.next_method(START, available)
    assert second.method(available) == "held-out"
    assert moves.next_method(second, available).method(available) == "in-sample"
    assert moves.next_method(START, ()) == START


def test_a_variant_belongs_to_its_metric():
    chosen = moves.next_method(START, ("in-sample", "held-out"))
    other = moves.choose_metric(chosen, Metric.DIMENSION)
    assert other.method() == "mle"
    assert moves.choose_metric(other, Metric.LINEARITY).method() == "held-out"


def test_a_variant_that_is_missing_gives_way_to_one_that_is_there():
    chosen = moves.next_method(START, ("in-sample", "held-out"))
    assert chosen.method(("in-sample",)) == "in-sample"


def test_streams_go_round_and_every_stream_is_shown():
    seen: set[Stream] = set()
    session = START
    for _ in moves.STREAM_SETS:
        seen.update(session.streams)
        session = moves.next_streams(session)
    assert seen == set(Stream)
    assert session == START


def test_the_focus_stays_on_its_stream_when_the_columns_change():
    session = moves.to_pane(START, 3)
    assert session.focus == (Modality.IMAGE, Stream.RESIDUAL)
    assert moves.next_streams(session).focus == (Modality.IMAGE, Stream.RESIDUAL)


def test_zoom_and_theme_are_switches():
    assert moves.toggle_zoom(moves.toggle_zoom(START)) == START
    assert moves.toggle_theme(START).theme == LIGHT
    assert moves.toggle_theme(moves.toggle_theme(START)).theme == DARK


def test_requests_carry_the_settings():
    settings = Settings(cache=Path("/nowhere"), dtype="float32", folds=5, sample_tokens=128)
    first, second = moves.lay_over(START, "demo:b").requests(settings)
    assert (first.model, second.model) == ("demo:a", "demo:b")
    assert (first.dtype, first.folds, first.sample_tokens) == ("float32", 5, 128)
    assert set(first.streams) == set(Stream)
