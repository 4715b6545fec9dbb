"""A CCD's inventory."""

import json

import pytest
import zarr
from servers import s3_server

from syndiff.errors import AtlasError
from syndiff.layout import Detector, Layout
from syndiff.settings import Settings
from syndiff.stacks.inventory import Inventory, InventoryEntry
from syndiff.storage.place import Place

MATCHED = Settings()
SEP = Settings(background="sep")
ENTRIES = [
    InventoryEntry("s.1.2", "reduced", "k1", "c1", ("y",), 310_000_000, "https://host/ps1/"),
    InventoryEntry("s.1.1", "absent", "k2", absent_bands=("r", "i", "z", "y")),
    InventoryEntry("s.1.3", "failed", "k3", message="503 Service Unavailable (after 7 attempts)"),
]


@pytest.fixture
def place(tmp_path):
    return Layout.under(str(tmp_path), Detector(20, 3, 3)).inventory


def fill(place, config=MATCHED):
    inventory = Inventory.read(place, config)
    for entry in ENTRIES:
        inventory.record(entry)
    inventory.write()


def test_nothing_yet(place):
    assert Inventory.read(place, MATCHED).entries == {}


def test_what_is_written_is_read(place):
    fill(place)
    assert Inventory.read(place, MATCHED).entries == {entry.name: entry for entry in ENTRIES}


def test_an_entry_replaces_an_older_one(place):
    fill(place)
    inventory = Inventory.read(place, MATCHED)
    inventory.record(InventoryEntry("s.1.3", "reduced", "k3", "c3"))
    inventory.write()
    assert Inventory.read(place, MATCHED).entries["s.1.3"].state == "reduced"
    assert len(Inventory.read(place, MATCHED).entries) == 3


def test_reductions_have_their_own_inventories(place):
    fill(place)
    assert Inventory.read(place, SEP).entries == {}
    fill(place, SEP)
    assert len(Inventory.read(place, MATCHED).entries) == 3


def test_states_are_counted(place):
    fill(place)
    states = Inventory.read(place, MATCHED).states(["s.1.1", "s.1.2", "s.1.3", "s.9.9"])
    assert states == {"reduced": 1, "absent": 1, "failed": 1, "missing": 1}


def test_it_is_a_zarr_group(place):
    fill(place)
    group = zarr.open_group(str(place), mode="r")
    (name,) = group.group_keys()
    assert [item["name"] for item in group[name].attrs["skycells"]] == ["s.1.1", "s.1.2", "s.1.3"]


def test_it_is_on_s3_too(monkeypatch):
    with s3_server(monkeypatch, "inventory"):
        place = Place.at("s3://inventory/root") / "a.zarr"
        fill(place)
        assert len(Inventory.read(place, MATCHED).entries) == 3


def test_an_unknown_state_is_refused():
    with pytest.raises(AtlasError, match="state 'done' is unknown: give one of"):
        InventoryEntry("s.1.1", "done", "k")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 7}, "has format 7, this version reads 2"),
        ({"skycells": [{"name": "x"}]}, r"attributes.skycells\[0\] has no 'absent_bands'"),
        (None, "it has no 'attributes'"),
    ],
)
def test_another_format_is_refused(place, change, message):
    fill(place)
    metadata = Inventory.read(place, MATCHED).place / "zarr.json"
    content = json.loads(metadata.read())
    if change is None:
        del content["attributes"]
    else:
        content["attributes"] |= change
    metadata.write(json.dumps(content).encode())
    with pytest.raises(AtlasError, match=f"{message}.*remove it"):
        Inventory.read(place, MATCHED)
