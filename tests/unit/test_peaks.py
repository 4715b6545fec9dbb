import numpy as np
from finestars import draw

from syndiff.differences.peaks import find_peaks

Y, X = np.arange(40.0), np.arange(50.0)


def image_of(*stars):
    return draw(stars, Y, X, lambda *_: [(1, 0, 0, 0.6)]) + 7


def test_stars_are_found_where_they_stand():
    stars = [(10.3, 8.2, 1000.0), (30.6, 20.4, 500.0), (44.1, 33.0, 2000.0)]
    found = find_peaks(image_of(*stars), 5.0, np.ones((40, 50), bool))
    assert len(found) == 3
    np.testing.assert_allclose(found.x, [44.1, 10.3, 30.6], atol=0.1)
    np.testing.assert_allclose(found.y, [33.0, 8.2, 20.4], atol=0.1)
    assert (np.diff(found.height) < 0).all()


def test_faint_and_unusable_ones_are_not():
    usable = np.ones((40, 50), bool)
    usable[20] = False
    stars = [(10.3, 8.2, 1000.0), (30.0, 20.0, 500.0), (44.0, 33.0, 5.0)]
    assert find_peaks(image_of(*stars), 5.0, usable).row.tolist() == [8]


def test_none_beside_unknown_pixels_or_at_the_border():
    image = image_of((10.0, 8.0, 1000.0), (49.0, 20.0, 900.0), (30.0, 30.0, 800.0))
    image[9, 11] = np.nan
    assert find_peaks(image, 5.0, np.ones((40, 50), bool)).row.tolist() == [30]
    assert len(find_peaks(np.full((9, 9), np.nan), 5.0, np.ones((9, 9), bool))) == 0


def test_who_stands_alone():
    stars = [(10.0, 8.0, 1000.0), (13.0, 8.0, 300.0), (30.0, 30.0, 800.0), (33.0, 30.0, 40.0)]
    found = find_peaks(image_of(*stars), 5.0, np.ones((40, 50), bool))
    alone = dict(zip(found.column.tolist(), found.alone(4.5, 0.1).tolist(), strict=True))
    assert alone == {10: False, 13: False, 30: True, 33: False}
