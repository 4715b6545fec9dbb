"""The names that `import syndiff` offers."""

import pytest

import syndiff


@pytest.mark.parametrize("name", syndiff.__all__)
def test_every_public_name_is_there(name):
    assert getattr(syndiff, name) is not None


def test_names_and_homes_agree():
    assert set(syndiff.__all__) - {"__version__"} == set(syndiff._HOMES)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'syndiff' has no attribute 'skycells'"):
        _ = syndiff.skycells
