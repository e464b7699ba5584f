"""The scale of the heat maps, against numpy and a published simulation of colour blindness."""

import numpy as np
import pytest

from microscope_tui.tui.content.ramp import RAMPS, SHADES, Range, range_of

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
SEEN = {
    "all colours": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def _lightness(colours: list[str], seen_by: object) -> np.ndarray:
    """CIE L* of sRGB colours as somebody sees them."""
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    y = np.clip(linear @ np.array(seen_by).T, 0, 1) @ [0.2126729, 0.7151522, 0.072175]
    lightness: np.ndarray = np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)
    return lightness


@pytest.mark.parametrize("seen_by", SEEN.values(), ids=SEEN.keys())
@pytest.mark.parametrize("dark", [True, False])
def test_lightness_goes_one_way_whoever_looks(dark: bool, seen_by: object):
    steps = np.diff(_lightness(RAMPS[dark], seen_by))
    assert (steps > 2).all() if dark else (steps < -2).all()


def test_the_colours_are_among_the_256_of_a_terminal():
    cube = {0, 95, 135, 175, 215, 255}
    greys = {8 + 10 * i for i in range(24)}
    for colour in RAMPS[True] + RAMPS[False]:
        parts = {int(colour[i : i + 2], 16) for i in (1, 3, 5)}
        assert parts <= cube or (len(parts) == 1 and parts <= greys), colour


def test_as_many_characters_as_colours():
    assert len(SHADES) == len(RAMPS[True]) == len(RAMPS[False])
    assert SHADES.isascii()


@pytest.mark.parametrize("log", [False, True])
def test_steps_are_those_of_numpy(log: bool):
    found = Range(0.5, 40.0, log)
    edges = np.geomspace(0.5, 40, 11) if log else np.linspace(0.5, 40, 11)
    values = np.random.default_rng(0).uniform(0.6, 39, 200)
    assert [found.step(v) for v in values] == [int(i) - 1 for i in np.digitize(values, edges)]
    assert (found.step(0.01), found.step(1e9), found.step(None), found.step(float("nan"))) == (0, 9, None, None)
    assert found.step(-3.0) == 0


def test_the_range_leaves_out_a_hundredth_at_each_end():
    values = [float(v) for v in range(1000)]
    assert range_of([*values, None, float("nan"), float("inf")]) == Range(10.0, 989.0)
    assert range_of([-5.0, 0.0, 2.0, 8.0], log=True) == Range(2.0, 8.0, True)


def test_one_value_alone_is_in_the_middle_and_none_at_all_does_no_harm():
    assert range_of([3.0]).step(3.0) == 5
    assert range_of([]).step(2.0) == 5
    assert range_of([0.0, None], log=True).step(0.0) == 0
