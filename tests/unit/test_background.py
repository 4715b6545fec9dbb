"""Backgrounds whose order the pixels tell."""

import numpy as np
import pytest

from syndiff.differences.background import order_told, polynomials


@pytest.mark.parametrize(
    ("side", "order"), [(64, 2), (32, 2), (24, 2), (23, 1), (16, 1), (13, 1), (12, 0), (5, 0)]
)
def test_the_order_falls_with_the_field(side, order):
    whole = np.ones((side, side), bool)
    assert order_told(whole, whole, 2) == order
    assert order_told(whole, whole, 1) == min(order, 1)
    assert order_told(whole, whole, 0) == 0


def test_what_is_not_fitted_must_be_told_too():
    whole, corner = np.ones((32, 32), bool), np.zeros((32, 32), bool)
    corner[:20, :20] = True
    assert order_told(whole, whole, 2) == 2
    assert order_told(corner, whole, 2) == 0
    # Beyond the corner nothing is asked for.
    assert order_told(corner, corner, 2) == 1


def test_nothing_known():
    none = np.zeros((32, 32), bool)
    assert order_told(none, none, 2) == 0


def test_large_fields_are_looked_at_in_steps():
    whole = np.ones((700, 900), bool)
    half = whole.copy()
    half[:, 450:] = False
    assert order_told(whole, whole, 2) == 2
    # 315,000 pixels tell a parabola that goes on as far again.
    assert order_told(half, whole, 2) == 2


@pytest.mark.parametrize(("side", "order"), [(24, 2), (23, 1), (13, 1), (12, 0)])
def test_the_corners_err_by_less_than_a_fifth_of_the_noise(side, order):
    """By fits to noise: the order that is told does so, the next one doesn't."""
    noise = np.random.default_rng(3).standard_normal((4000, side**2))
    errors = []
    for k in (order, order + 1):
        terms = polynomials((side, side), k).reshape(-1, side**2)
        errors.append(float((noise @ np.linalg.pinv(terms) @ terms[:, 0]).std()))
    # 4,000 numbers tell a standard deviation to 1.1 %.
    assert errors[0] < 0.205
    assert errors[1] > 0.195 or order == 2
