"""The page that shows a view without anything else."""

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from microscope_tui.figures import Figure, Panel, Track
from microscope_tui.results import Profile
from microscope_tui.tui.output.page import page, ticks
from tests.tui.fake import Shape, made_up

MEASURED = made_up("<b>odd & long</b>", shape=Shape(layers=6, gap=(2,)))
PROFILE = MEASURED.profiles[0]


def track(profile: Profile = PROFILE, number: int = 0) -> Track:
    return Track(f"curve {number}", number, tuple(map(float, profile.layers)), profile)


class Tags(HTMLParser):
    """What a page is made of; fails on tags that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_is_complete_in_itself_and_says_every_number():
    text = page("title & <i>", Figure((Panel("text · main", (track(), track(number=1))),), 1, "R²"), [MEASURED])
    tags = Tags(text)
    names = {tag for tag, _ in tags.seen}
    assert not names & {"script", "link", "img", "iframe", "object"}
    assert "http" not in re.sub(r"llava-hf|https?://www\.w3\.org", "", text)
    assert "&lt;b&gt;odd &amp; long&lt;/b&gt;" in text
    assert "<b>" not in text
    numbers = [value for value in (*PROFILE.value, *PROFILE.low, *PROFILE.high) if value is not None]
    assert all(f"<td>{value:.6g}</td>" in text for value in numbers)
    assert "rows are too few" in text
    assert "float32" in text


def test_lines_break_at_a_gap_and_points_say_their_value():
    text = page("t", Figure((Panel("p", (track(),)),), 1, "R²"), [])
    chart = text[text.index("<figure>") : text.index("</figure>")]
    assert chart.count("<polyline") == 2
    assert chart.count("<polygon") == 2
    assert chart.count("<circle") == 5
    assert f"layer 3: {PROFILE.value[3]:.6g}" in chart


def test_series_differ_by_colour_and_by_stroke():
    text = page("t", Figure((Panel("p", tuple(track(number=n) for n in range(4))),), 1, "R²"), [])
    strokes = set(re.findall(r'stroke="(#\w+)" stroke-width="1.6" stroke-dasharray="([^"]+)"', text))
    assert len(strokes) == 4
    assert len({dash for _, dash in strokes}) == 4


def test_a_logarithmic_axis_leaves_out_what_it_cannot_hold():
    profile = replace(PROFILE, value=(0.01, -1.0, None, 0.1, 1.0, 10.0), low=(None,) * 6, high=(None,) * 6)
    text = page("t", Figure((Panel("p", (track(profile),), log=True),), 1, "R²"), [])
    chart = text[text.index("<figure>") : text.index("</figure>")]
    assert chart.count("<circle") == 4
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', chart)]
    steps = [one - other for one, other in itertools.pairwise(heights)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)


def test_nothing_defined_is_said():
    empty = replace(PROFILE, value=(None,) * 6, low=(None,) * 6, high=(None,) * 6)
    assert "Nothing is defined here" in page("t", Figure((Panel("p", (track(empty),)),), 1, "R²"), [])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 24.0, [0, 5, 10, 15, 20]),
        (-2.0, 8.0, [-2, 0, 2, 4, 6, 8]),
        (3.0, 3.0, [3]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]):
    assert ticks(low, high, 6) == pytest.approx(expected)


def test_a_line_breaks_where_a_stage_before_the_decoder_ends():
    staged = replace(PROFILE, value=(0.5,) * 6, low=(0.4,) * 6, high=(0.6,) * 6, stages=("tower",) * 2 + ("",) * 4)
    chart = page("t", Figure((Panel("p", (track(staged),)),), 1, "R²"), []).partition("<figure>")[2]
    lines = re.findall(r'<polyline points="([^"]*)"', chart.partition("</figure>")[0])
    assert [len(line.split()) for line in lines] == [2, 4]
    assert chart.partition("</figure>")[0].count("<polygon") == 2
