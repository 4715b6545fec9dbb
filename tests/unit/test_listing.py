"""Which FFIs there are: in a bucket, by MAST's scripts, in a folder."""

import pytest
from servers import FaultyServer, s3_server

from syndiff.errors import ObservationError
from syndiff.frames import listing
from syndiff.frames.listing import list_ffis
from syndiff.layout import Detector
from syndiff.transport.attempt import ArchiveConfig

DETECTOR = Detector(14, 2, 3)
STAMPS = ("2019199202929", "2019199205929", "2019200002929", "2020001002929")
NAMES = [f"tess{stamp}-s0014-2-3-0150-s_ffic.fits" for stamp in STAMPS]
OTHERS = [
    "tess2019199202929-s0014-2-4-0150-s_ffic.fits",
    "tess2019199202929-s0014-2-3-0150-s_ffir.fits",
    "tess2019199202929-s0015-2-3-0150-s_ffic.fits",
]
FOLDERS = ["2019/199", "2019/199", "2019/200", "2020/001"]
SERVICE = "https://mast.stsci.edu/api/v0.1/Download/file/?uri=mast:TESS/product/"
SCRIPT = "download_scripts/sector/tesscurl_sector_14_ffic.sh"
QUICK = ArchiveConfig(option="the address", retries=1, backoff_s=0.001)


def script(names=(*NAMES[::-1], *OTHERS), service=SERVICE):
    lines = [f"curl -C - -L -o {name} {service}{name}" for name in names]
    return "\n".join(["#!/bin/sh", *lines]).encode()


def test_a_folder_with_subfolders_is_searched(tmp_path):
    for name, folder in zip(NAMES, FOLDERS, strict=True):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).touch()
    for name in OTHERS:
        (tmp_path / name).touch()
    (tmp_path / f"{NAMES[0]}.gz").touch()
    found = list_ffis(str(tmp_path), detector=DETECTOR)
    assert [path.rsplit("/", 1)[1].removesuffix(".gz") for path in found] == NAMES


def test_a_place_without_ffis_of_the_ccd_says_what_it_has(tmp_path):
    (tmp_path / OTHERS[0]).touch()
    with pytest.raises(
        ObservationError, match=r"no calibrated FFI of sector 14 .*-s0014-2-3-.*-2-4-"
    ):
        list_ffis(str(tmp_path), detector=DETECTOR)
    with pytest.raises(ObservationError, match="no calibrated FFI of sector 14 camera 2 ccd 3"):
        list_ffis(str(tmp_path / "nowhere"), detector=DETECTOR)


def test_masts_script_is_the_list_and_its_folders_give_the_files():
    with FaultyServer({f"tess/{SCRIPT}": script()}) as server:
        found = list_ffis(f"{server.url}tess", detector=DETECTOR, patience=QUICK)
    root = f"{server.url}tess/ffi/s0014"
    assert list(found) == [
        f"{root}/{folder}/2-3/{name}" for folder, name in zip(FOLDERS, NAMES, strict=True)
    ]


def test_a_script_of_ones_own_keeps_its_addresses(tmp_path):
    path = tmp_path / "tesscurl_sector_14_ffic.sh"
    path.write_bytes(script(service="http://elsewhere/ffi/"))
    found = list_ffis(str(path), detector=DETECTOR)
    assert found[0] == f"http://elsewhere/ffi/{NAMES[0]}"
    assert len(found) == 4
    with pytest.raises(ObservationError, match=r"absent.sh can't be read"):
        list_ffis(str(tmp_path / "absent.sh"), detector=DETECTOR)


def test_a_script_that_is_not_there_is_told():
    with (
        FaultyServer() as server,
        pytest.raises(ObservationError, match=r"tesscurl_sector_14_ffic.sh: there is no such file"),
    ):
        list_ffis(server.url, detector=DETECTOR, patience=QUICK)


def test_a_bucket_is_listed_by_its_days(monkeypatch):
    with s3_server(monkeypatch, "listed-bucket") as client:
        for name, folder in zip((*NAMES, *OTHERS), (*FOLDERS, *FOLDERS[:3]), strict=True):
            key = f"tess/public/ffi/s0014/{folder}/2-3/{name}"
            client.put_object(Bucket="listed-bucket", Key=key, Body=b"")
        found = list_ffis("s3://listed-bucket/tess/public/ffi", detector=DETECTOR, patience=QUICK)
    root = "s3://listed-bucket/tess/public/ffi/s0014"
    assert list(found) == [
        f"{root}/{folder}/2-3/{name}" for folder, name in zip(FOLDERS, NAMES, strict=True)
    ]


def test_a_bucket_that_cannot_be_listed_is_known_by_masts_script(monkeypatch):
    with (
        FaultyServer({SCRIPT: script()}) as server,
        s3_server(monkeypatch, "closed-bucket", acl="private"),
    ):
        monkeypatch.setattr(listing, "DEFAULT_TESS_MAST", server.url)
        found = list_ffis("s3://no-such-bucket/ffi", detector=DETECTOR, patience=QUICK)
    assert found[0] == f"s3://no-such-bucket/ffi/s0014/2019/199/2-3/{NAMES[0]}"
    assert len(found) == 4


def test_ticas_orbits_have_a_script_each():
    name = "hlsp_tica_tess_ffi_s0014-o{}-{:08d}-cam2-ccd3_tess_v01_img.fits"
    service = "https://mast.stsci.edu/api/v0.1/Download/file/?uri=mast:HLSP/tica/s0014/cam2-ccd3/"
    scripts = {
        f"hlsps/tica/bundles/s0014/hlsp_tica_tess_ffi_s0014-o{orbit}-cam2-ccd3_tess_v01_ffis.sh": (
            script([name.format(orbit, number) for number in numbers], service)
        )
        for orbit, numbers in ((1, (12, 11)), (2, (21, 22)))
    }
    with FaultyServer(scripts) as server:
        found = list_ffis(f"{server.url}hlsps/tica", detector=DETECTOR, patience=QUICK)
    numbers = ((1, 11), (1, 12), (2, 21), (2, 22))
    assert list(found) == [service + name.format(*pair) for pair in numbers]
