"""The charts and the colour ramp of a training run's report."""

import numpy as np
import pytest

from unveil.results.heat import heat
from unveil.training.chart import Line, draw_chart
from unveil.training.report import draw_report

BLUE = np.array((0x20, 0x60, 0xC8))


def of_colour(image, colour) -> np.ndarray:
    """Rows and columns of the pixels of a colour, [N, 2]."""
    return np.argwhere(np.abs(np.asarray(image).astype(int) - colour).sum(-1) < 30)


def test_a_chart_shows_its_line_where_its_values_are():
    rising = Line("", [(float(step), step / 100) for step in range(101)])
    image = draw_chart("a title", [rising], (400, 200))
    assert image.size == (400, 200) and image.mode == "RGB"
    places = of_colour(image, BLUE)
    left, right = places[places[:, 1].argmin()], places[places[:, 1].argmax()]
    assert left[0] > 150 and right[0] < 60  # from the lower left to the upper right
    assert np.corrcoef(places.T)[0, 1] < -0.99


def test_a_line_that_hardly_changes_has_room_above_it_like_any_other():
    steep, flat = (
        of_colour(draw_chart("", [Line("", [(50.0, y), (100.0, 530.0)])], (400, 200)), BLUE)
        for y in (0.0, 529.0)
    )
    assert flat[:, 0].min() == steep[:, 0].min()


def test_few_points_are_marked_and_many_are_not():
    few, many = (
        of_colour(draw_chart("", [Line("", [(float(x), 1.0) for x in range(n)])], (300, 150)), BLUE)
        for n in (5, 50)
    )
    assert np.ptp(few[:, 0]) > 2 * np.ptp(many[:, 0])


@pytest.mark.parametrize("lines", [[], [Line("none", [])], [Line("one", [(0.0, 0.0)])]])
def test_a_chart_of_next_to_nothing_is_drawn(lines):
    assert draw_chart("a title", lines, (300, 150)).size == (300, 150)


def test_a_report_of_a_run_that_was_stopped_at_once_is_drawn(tmp_path):
    assert draw_report(tmp_path, []).stat().st_size > 1000


def test_the_ramp_goes_from_dark_to_light_and_stays_within_its_ends():
    ramp = heat(np.linspace(-1, 3, 401)[None], 0.0, 2.0)[0].astype(int)
    assert ramp.shape == (401, 3)
    assert (ramp[:101] == ramp[0]).all() and (ramp[300:] == ramp[-1]).all()
    light = ramp[100:301].sum(1)
    assert (np.diff(light) >= -6).all() and light[0] < 20 and light[-1] > 600
    assert (heat(np.ones((2, 2)), 1.0, 1.0) == ramp[0]).all()
