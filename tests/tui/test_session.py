"""The session: what each move makes of it."""

from dataclasses import replace
from pathlib import Path

from microscope_tui.methods import REFERENCE
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


def test_the_cursor_goes_to_the_stages_before_the_decoder():
    assert moves.move_layer(START, -3, 8, first=-5).layer == -3
    assert moves.move_layer(START, -99, 8, first=-5).layer == -5


def test_panes_go_round():
    assert moves.move_pane(START, -1).pane == 3
    assert moves.move_pane(moves.move_pane(START, 3), 1).pane == 0
    assert moves.to_pane(START, 99).pane == 3


FEW, PICTURES = SliceSpec("demo:s", count=10), SliceSpec("demo:s", filter="image")


def test_models_are_laid_over_each_other_and_taken_off():
    both = moves.lay_over(START, "demo:b")
    assert both.models == ("demo:a", "demo:b")
    assert both.comparing
    three = moves.lay_over(both, "demo:c")
    assert three.models == ("demo:a", "demo:b", "demo:c")
    assert moves.lay_over(three, "demo:b") == three
    assert moves.take_off(three) == both
    assert moves.alone(three) == START
    assert moves.take_off(START) == START


def test_slices_are_laid_over_each_other():
    both = moves.lay_slice_over(moves.lay_slice_over(START, FEW), PICTURES)
    assert [(curve.model, curve.slice) for curve in both.curves] == [
        ("demo:a", START.slice),
        ("demo:a", FEW),
        ("demo:a", PICTURES),
    ]
    assert moves.lay_slice_over(both, FEW) == both
    assert moves.lay_slice_over(both, START.slice) == both
    assert moves.choose_slice(both, FEW).others == (PICTURES,)


def test_no_more_than_four_curves_are_laid_over_each_other():
    full = START
    for name in "bcd":
        full = moves.lay_over(full, f"demo:{name}")
    assert len(full.curves) == moves.MOST
    assert moves.lay_over(full, "demo:e") == full
    assert moves.lay_slice_over(full, FEW) == full


def test_a_curve_keeps_its_colour_while_others_come_and_go():
    three = moves.lay_over(moves.lay_over(START, "demo:b"), "demo:c")
    assert three.slots == (0, 1, 2)
    without_b = moves.take_off(moves.pin_next(three))
    assert [(curve.model, curve.slot) for curve in without_b.curves] == [("demo:a", 0), ("demo:c", 2)]
    again = moves.lay_slice_over(without_b, FEW)
    assert [curve.slot for curve in again.curves] == [0, 2, 1]
    more = moves.lay_over(again, "demo:d")
    assert [(curve.model, curve.slice, curve.slot) for curve in more.curves] == [
        ("demo:a", START.slice, 0),
        ("demo:c", START.slice, 2),
        ("demo:d", START.slice, 3),
        ("demo:a", FEW, 1),
    ]


def test_the_pin_goes_round_and_what_is_taken_off_is_the_pinned_one():
    three = moves.lay_over(moves.lay_over(START, "demo:b"), "demo:c")
    assert [moves.pin_next(three).top, moves.pin_next(moves.pin_next(three)).top] == [1, 2]
    assert moves.pin_next(moves.pin_next(moves.pin_next(three))) == three
    left = moves.take_off(moves.pin_next(three))
    assert left.models == ("demo:a", "demo:c")
    assert left.top == 0


def test_a_model_is_not_laid_over_itself():
    assert moves.choose_model(moves.lay_over(START, "demo:b"), "demo:b").models == ("demo:b",)


def test_rows_and_columns_can_be_hidden_down_to_one_pane_and_come_back():
    one = moves.hide_column(moves.hide_row(moves.to_pane(START, 3)))
    assert one.panes == ((Modality.TEXT, Stream.MAIN),)
    assert moves.hide_row(one) == moves.hide_column(one) == one
    everything = moves.show_all(one, (Modality.TEXT, Modality.VIDEO))
    assert everything.modalities == (Modality.TEXT, Modality.IMAGE, Modality.VIDEO)
    assert len(everything.panes) == 9
    assert everything.focus == one.focus


def test_hiding_keeps_the_focus_on_what_is_left():
    hidden = moves.hide_row(moves.to_pane(START, 1))
    assert hidden.focus == (Modality.IMAGE, Stream.RESIDUAL)


def test_a_row_appears_when_something_of_it_is_measured_unless_it_was_hidden():
    seen = moves.appear(START, (Modality.TEXT, Modality.IMAGE, Modality.VIDEO))
    assert seen.modalities == (Modality.TEXT, Modality.IMAGE, Modality.VIDEO)
    hidden = moves.hide_row(moves.to_pane(seen, 4))
    assert hidden.modalities == (Modality.TEXT, Modality.IMAGE)
    assert moves.appear(hidden, (Modality.VIDEO,)) == hidden
    assert moves.show_all(hidden, (Modality.VIDEO,)).modalities == seen.modalities
    assert moves.appear(START, ()) == START


def test_videos_and_sounds_are_measured_where_a_column_holds_them():
    spec = SliceSpec("demo:s", columns=(("video", "clip"), ("question", "q")))
    (request,) = replace(START, slice=spec).requests(Settings(cache=Path("/nowhere")))
    assert request.modalities == (Modality.TEXT, Modality.IMAGE, Modality.VIDEO)


def test_which_rows_count_is_the_settings_until_it_is_chosen():
    settings = Settings(cache=Path("/nowhere"), without=("sinks",))
    (request,) = START.requests(settings)
    assert request.without == ("sinks",)
    (both,) = moves.toggle_without(START, "duplicates", request.without).requests(settings)
    assert both.without == ("duplicates", "sinks")
    (none,) = moves.toggle_without(START, "sinks", request.without).requests(settings)
    assert none.without == ()
    (tile,) = moves.toggle_one_tile(START).requests(settings)
    assert tile.one_tile
    (before,) = moves.toggle_before(START, now=False).requests(settings)
    assert before.before


def test_reference_mode_shows_the_references_method_of_every_metric_and_back():
    held_out = moves.next_method(START, ("in-sample", "held-out"))
    reference = moves.toggle_reference(held_out, now=False)
    assert reference.requests(Settings(cache=Path("/nowhere")))[0].reference
    for metric in Metric:
        assert moves.choose_metric(reference, metric).method(("mle", REFERENCE)) == REFERENCE
    back = moves.toggle_reference(reference, now=True)
    assert back.method(("in-sample", "held-out")) == "held-out"
    assert not back.requests(Settings(cache=Path("/nowhere")))[0].reference
    dimension = moves.choose_metric(reference, Metric.DIMENSION)
    chosen = moves.next_method(dimension, ("mle", "gride", REFERENCE))  # another variant within the mode stays
    assert moves.toggle_reference(chosen, now=True).method(("mle", "gride")) == "mle"


def test_the_logarithm_belongs_to_its_metric_and_not_to_differences():
    dimension = moves.choose_metric(START, Metric.DIMENSION)
    log = moves.toggle_log(dimension)
    assert log.log_y
    assert not moves.choose_metric(log, Metric.LINEARITY).log_y
    assert not moves.toggle_difference(moves.lay_over(log, "demo:b")).log_y
    assert moves.toggle_log(log) == dimension


def test_there_is_no_difference_of_one_curve():
    assert not moves.toggle_difference(START).differing
    assert moves.toggle_difference(moves.lay_over(START, "demo:b")).differing


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
    assert moves.next_theme(START, (DARK, LIGHT)).theme == LIGHT
    assert moves.next_theme(moves.next_theme(START, (DARK, LIGHT)), (DARK, LIGHT)).theme == DARK
    assert moves.next_theme(replace(START, theme="gone"), (DARK, LIGHT)).theme == DARK


def test_requests_carry_the_settings():
    settings = Settings(cache=Path("/nowhere"), dtype="float32", folds=5, sample_tokens=128)
    first, second = moves.lay_over(START, "demo:b").requests(settings)
    assert (first.model, second.model) == ("demo:a", "demo:b")
    assert (first.dtype, first.folds, first.sample_tokens) == ("float32", 5, 128)
    assert set(first.streams) == set(Stream)
