"""Which tessellation a run uses."""

import pytest
from smallsky import small_catalogue

from syndiff.errors import GeometryError, MissingInputError
from syndiff.layout import Detector, Layout
from syndiff.sky.chosen_tessellation import find_catalogue, open_tessellation, read_tessellation
from syndiff.sky.tessellation import Tessellation
from syndiff.storage.place import Place


@pytest.fixture
def layout(tmp_path):
    return Layout.under(str(tmp_path), Detector(20, 3, 3))


def test_the_built_in_tessellation_is_used_where_there_is_no_catalogue(layout):
    assert find_catalogue(layout, None) is None
    assert open_tessellation(None).digest == Tessellation.rings_v3().digest


def test_the_catalogue_of_the_data_root_is_found(layout):
    layout.catalogue.write(small_catalogue().encode())
    assert find_catalogue(layout, None) == layout.catalogue
    assert len(open_tessellation(layout.catalogue)) == 32


def test_the_given_catalogue_goes_before(layout, tmp_path):
    layout.catalogue.write(b"not looked at")
    other = tmp_path / "other.csv"
    other.write_text(small_catalogue())
    found = find_catalogue(layout, str(other))
    assert found == Place.at(other)
    assert len(open_tessellation(found)) == 32


def test_a_given_catalogue_must_be_there(layout):
    with pytest.raises(MissingInputError, match=r"catalogue /no/such\.csv is not there: give an"):
        find_catalogue(layout, "/no/such.csv")


def test_errors_name_the_catalogue(layout):
    layout.catalogue.write(b"NAME\n1\n")
    with pytest.raises(GeometryError, match=r"SkyCells/skycell_wcs\.csv: "):
        open_tessellation(layout.catalogue)


def test_a_mapping_is_read_with_its_own_tessellation(layout):
    text = small_catalogue().encode()
    wanted = Tessellation.from_csv(text).digest
    message = rf"made with tessellation {wanted}, but the built-in RINGS\.V3 is .*`overwrite`"
    with pytest.raises(GeometryError, match=message):
        read_tessellation(layout, wanted)
    layout.catalogue_used.write(text)
    assert read_tessellation(layout, wanted).digest == wanted
    with pytest.raises(GeometryError, match=r"tessellation beef, but .*_skycell_wcs\.csv is"):
        read_tessellation(layout, "beef")
