"""What benchmarks say where a goal is missed, and where there is nothing to compare."""

import pytest

from benchmarks import arms, demo, geometry, terminal
from microscope_tui.results import Profile
from microscope_tui.terms import Metric, Modality, Stream


def profile(*value: float | None) -> Profile:
    n = len(value)
    return Profile(
        Metric.DIMENSION,
        "mle",
        Modality.TEXT,
        Stream.RESIDUAL,
        layers=tuple(range(n)),
        value=value,
        low=(None,) * n,
        high=(None,) * n,
        n=(9,) * n,
        d=4,
        examples=9,
        notes=((),) * n,
    )


def test_arms_are_as_far_apart_as_the_layers_that_both_have():
    assert arms.told(arms.distance(profile(1.0, None, 4.0), profile(1.5, 3.0, 3.0))) == "0.750"


@pytest.mark.parametrize("other", [profile(None, 1.0, None), profile(1.0, 2.0), None])
def test_arms_without_a_layer_in_common_have_a_dash(other):
    assert arms.told(arms.distance(profile(1.0, None, 4.0), other)) == "–"


@pytest.mark.parametrize(("seen", "code"), [(40, 0), (41, 1)])
def test_a_missed_goal_of_the_terminal_is_a_failure(monkeypatch, capsys, seen, code):
    monkeypatch.setattr("sys.argv", ["terminal"])
    for name in ("fill", "stop"):
        monkeypatch.setattr(terminal, name, lambda cache: None)
    for name in ("modules", "keys", "busy", "closer"):
        monkeypatch.setattr(terminal, name, lambda cache: ())
    monkeypatch.setattr(terminal, "start", lambda cache, rounds: [terminal.Figure("a key", seen, "ms", 40)])
    monkeypatch.setattr(terminal, "rest", lambda cache, *more: [terminal.Figure("memory", 900, "MB")])
    assert terminal.main() == code
    assert f"| a key | {seen} ms | ≤ 40 ms | {'NO' if code else 'yes'} |" in capsys.readouterr().out


@pytest.mark.parametrize(("each", "code"), [(30.0, 0), (30.1, 1)])
def test_a_demo_that_takes_more_than_a_minute_is_a_failure(monkeypatch, capsys, each, code):
    monkeypatch.setattr("sys.argv", ["demo"])
    monkeypatch.setattr(demo, "measured", lambda model: each)
    monkeypatch.setattr(demo, "bare", lambda model: 10.0)
    assert demo.main() == code
    assert f"| both | {2 * each:.1f} s | 20.0 s |" in capsys.readouterr().out


def test_goals_of_the_geometry_say_what_is_missed():
    runs = {
        "ours: linearity float64": geometry.Runs([1.0, 1.2, 1.1], [41.0, 42.0]),
        "ours: linearity float32": geometry.Runs([0.5], [41.0]),
        "llm-microscope: linearity": geometry.Runs([2.2], [900.0]),
        "DADApy: dimension": geometry.Runs(failure="is not installed"),
    }
    said = geometry.goals((4000, 1024), runs)
    assert "| ours: linearity float64: 2× as fast as llm-microscope: linearity | 2× | yes |" in said
    assert "| ours: linearity float32: 4× as fast as llm-microscope: linearity | 4.4× | yes |" in said
    assert "| ours: linearity float64: at most 4 d² doubles and a tile, 41.9 MB | 42.0 MB | NO |" in said
    assert "DADApy" not in said
