"""Profiles as text: what a person and a spreadsheet get to read."""

import csv
import io

import pytest

from microscope_tui.results import Answer, Measurement, Profile
from microscope_tui.tables import measurement_text, number, profile_csv, profile_lines
from microscope_tui.terms import Metric, Modality, SliceSpec, Stream


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.98765432, Metric.LINEARITY, "0.9877"),
        (12.3456, Metric.DIMENSION, "12.35"),
        (0.0, Metric.ANISOTROPY, "0.0000"),
        (0.00012, Metric.ANISOTROPY, "1.20e-04"),
        (123456.0, Metric.DIMENSION, "1.23e+05"),
        (float("inf"), Metric.DIMENSION, "inf"),
        (0.9997, Metric.LINEARITY, "0.9997"),
        (None, Metric.LINEARITY, "–"),
    ],
)
def test_a_number_has_the_decimals_of_its_metric(value: float | None, metric: Metric, text: str):
    assert number(value, metric) == text


TOWER = Profile(
    Metric.LINEARITY,
    "in-sample",
    Modality.IMAGE,
    Stream.RESIDUAL,
    layers=(-1, 0),
    value=(0.9997, None),
    low=(0.99, None),
    high=(1.0, None),
    n=(96, 96),
    d=64,
    examples=3,
    notes=((), ("too few rows",)),
    facts=(("rank 31",), ()),
    stages=("connector", ""),
    widths=(32, 64),
)


def measurement(right: int, scored: int, questions: int) -> Measurement:
    answers = tuple(Answer(f"row {i}", 0, i < right, 1.0) for i in range(scored))
    accuracy = right / scored if scored else None
    return Measurement("m", SliceSpec("s"), (TOWER,), accuracy, 3, answers=answers, questions=questions)


def test_csv_names_the_stage_and_divides_by_the_width_of_its_own_rows():
    rows = list(csv.DictReader(io.StringIO(profile_csv([(measurement(16, 29, 195), TOWER)]))))
    of = ("layer", "stage", "d", "width", "n_over_d", "value", "notes", "facts", "questions", "scored")
    assert [tuple(row[name] for name in of) for row in rows] == [
        ("-1", "connector", "64", "32", "3", "0.9997", "", "rank 31", "195", "29"),
        ("0", "", "64", "64", "1.5", "", "too few rows", "", "195", "29"),
    ]
    assert float(rows[0]["accuracy"]) == 16 / 29


def test_a_table_for_people_has_the_same_figures():
    assert profile_lines(TOWER) == [
        "linearity (in-sample) · image · residual · d = 64",
        "  layer   value  95 % interval      n  n/d",
        "     -1  0.9997  [0.9900, 1.0000]  96  3.0  connector, d = 32  rank 31",
        "      0       –                    96  1.5  ! too few rows",
    ]


@pytest.mark.parametrize(
    ("right", "scored", "questions", "line"),
    [
        (16, 29, 195, "accuracy: 55.2% of 29 questions; 166 have options that no first token tells apart"),
        (3, 4, 4, "accuracy: 75.0% of 4 questions"),
        (0, 0, 7, "accuracy: not known, for all 7 questions have options that no first token tells apart"),
        (0, 0, 0, None),
    ],
)
def test_accuracy_says_of_how_many_questions_it_is(right, scored, questions, line):
    said = [line for line in measurement_text(measurement(right, scored, questions)).splitlines() if "accuracy" in line]
    assert said == ([line] if line else [])
