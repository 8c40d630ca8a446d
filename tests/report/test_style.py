"""Drawings do not show the last bits of a layout."""

import re

import numpy as np
import pytest

from reprood.report.style import new_figure, normalised, save


def drawn(folder, shift):
    figure = new_figure(3, 2)
    figure.set_layout_engine("none")
    for place in (0.125, 0.6):
        axes = figure.add_axes((place + shift, 0.25, 0.3 - shift, 0.5 + shift))
        axes.plot(np.linspace(0, 1, 9), np.linspace(0, 1, 9) ** 2, "-o")
        axes.axvspan(0.25, 0.5)
    save(figure, folder / "a.svg", folder / "a.png")
    return (folder / "a.svg").read_text()


@pytest.mark.parametrize("shift", [1e-14, -1e-14, 3e-13, -3e-13])
def test_noise_of_the_layout_is_not_written(tmp_path, shift):
    exact = drawn(tmp_path, 0.0)
    assert drawn(tmp_path, shift) == exact
    assert drawn(tmp_path, 1e-3) != exact
    assert (
        set(re.findall(r"url\(#(\w+)\)", exact))
        == set(re.findall(r'<clipPath id="(\w+)"', exact))
        == {"clip0", "clip1"}
    )


def test_coordinates_are_cut_to_hundredths_and_stay_where_they_are():
    move = 'transform="translate(75.0390625 1.5) scale(0.00123)"'
    text = f'<path d="M 10.25 -3.1259 L 7.5000001 7.4999999" cx="1.23456" {move}/>'
    assert normalised(text) == (
        '<path d="M 10.25 -3.13 L 7.50 7.50" cx="1.23456" transform="translate(75.04 1.5) scale(0.00123)"/>'
    )
    values = np.random.default_rng(0).uniform(-50, 50, 200)
    found = re.findall(r"-?\d+\.\d+", normalised(' d="' + " ".join(f"{value:.6f}" for value in values) + '"'))
    assert np.abs(np.array(found, dtype=float) - values).max() < 0.0065
