import json

import pytest
from servers import FaultyServer, Page, Stall, Status
from sesame import ANSWER, NOTHING

from syndiff.config import DEFAULT_SESAME
from syndiff.errors import ArchiveUnavailableError, ConfigError
from syndiff.sky.names import NameService, position_of, resolve_name

PLACE = (10.6847083, 41.26875)
PATH = "-oxp/SNV?M31"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    resolve_name.cache_clear()
    yield
    resolve_name.cache_clear()


@pytest.fixture
def sesame():
    with FaultyServer({PATH: ANSWER}) as server:
        yield server


def service(server, **options):
    return NameService(server.url, **{"retries": 0, "timeout_s": 5.0, **options})


def kept(tmp_path):
    return list((tmp_path / "cache").rglob("*.json"))


def test_a_name_is_found_and_told_by_whom(sesame):
    found = resolve_name("M31", service(sesame))
    assert (found.ra_deg, found.dec_deg) == PLACE
    assert (found.name, found.known_as) == ("M31", "M 31")
    assert found.source == f"Simbad, {sesame.url}"
    assert found.motion_mas_per_year == 50
    assert position_of("M31", sesame.url) == PLACE
    assert position_of((1.0, 2.0)) == (1.0, 2.0)


def test_an_answer_is_kept_for_other_runs(sesame):
    first = resolve_name("M31", service(sesame))
    resolve_name.cache_clear()
    assert resolve_name("M31", service(sesame)) == first
    assert sesame.hits[PATH] == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"name": "M31"}', b"\xff", b"null"])
def test_a_damaged_answer_is_asked_for_again(sesame, tmp_path, content):
    first = resolve_name("M31", service(sesame))
    resolve_name.cache_clear()
    (file,) = kept(tmp_path)
    file.write_bytes(content)
    assert resolve_name("M31", service(sesame)) == first
    assert json.loads(file.read_bytes())["name"] == "M31"


def test_a_kept_place_off_the_sky_is_asked_for_again(sesame, tmp_path):
    first = resolve_name("M31", service(sesame))
    resolve_name.cache_clear()
    (file,) = kept(tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "dec_deg": 141.0}))
    assert resolve_name("M31", service(sesame)) == first


def test_without_a_place_to_keep_answers_names_are_found(sesame, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert resolve_name("M31", service(sesame)).ra_deg == PLACE[0]


def test_names_are_sent_whole():
    path = "-oxp/SNV?Gaia DR3 12&3+4#5/6"
    with FaultyServer({path: ANSWER}) as server:
        resolve_name("Gaia DR3 12&3+4#5/6", service(server))
        assert server.raw_paths == ["/-oxp/SNV?Gaia%20DR3%2012%263%2B4%235%2F6"]


def test_an_unknown_name_says_what_to_do(sesame, tmp_path):
    sesame.files["-oxp/SNV?M31x"] = NOTHING
    with pytest.raises(
        ConfigError, match=r"target 'M31x' is no position, and neither .* give RA,DEC"
    ):
        resolve_name("M31x", service(sesame))
    assert not kept(tmp_path)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Page(), "no answer of Sesame's"),
        (Page(b"down for maintenance"), "'down for maintenance'"),
        (Page(ANSWER[:-20]), "no answer of Sesame's"),
        (Page(ANSWER.replace(b"+41.26", b"+141.26")), "no usable place"),
        (Page(ANSWER.replace(b"010.68", b"nan")), "no usable place"),
        (Page(b""), "no answer of Sesame's"),
        (Status(503), "503"),
        (Status(404), "404"),
        (Status(403), "403"),
        (Status(302), "answered 302"),
    ],
)
def test_what_is_no_answer_is_refused_and_not_kept(sesame, tmp_path, fault, message):
    sesame.faults[PATH] = [fault] * 3
    with pytest.raises(ArchiveUnavailableError, match=rf"(?s)where 'M31' is .*{message}.*RA,DEC"):
        resolve_name("M31", service(sesame))
    assert not kept(tmp_path)


def test_a_redirect_is_followed_but_not_for_ever(sesame):
    sesame.files["moved"] = ANSWER
    sesame.faults[PATH] = [Status(301, location="/moved")]
    assert resolve_name("M31", service(sesame)).ra_deg == PLACE[0]
    resolve_name.cache_clear()
    sesame.faults["-oxp/SNV?M32"] = [Status(301, location="M32")] * 9
    sesame.faults["-oxp/M32"] = [Status(301, location="M32")] * 9
    with pytest.raises(ArchiveUnavailableError, match="sends on and on"):
        resolve_name("M32", service(sesame))


def test_a_silent_service_is_left(sesame):
    sesame.faults[PATH] = [Stall(0.0)]
    with pytest.raises(ArchiveUnavailableError, match="where 'M31' is"):
        resolve_name("M31", service(sesame, timeout_s=0.2))


def test_an_address_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="'ftp://x' is not an http"):
        resolve_name("M31", NameService("ftp://x"))


def test_where_cds_fails_its_mirror_is_asked(sesame, monkeypatch):
    asked = []

    def fetch(url, name, service):
        asked.append(url)
        if url == DEFAULT_SESAME:
            raise ArchiveUnavailableError("down")
        return ANSWER

    monkeypatch.setattr("syndiff.sky.names._fetch", fetch)
    assert resolve_name("M31").ra_deg == PLACE[0]
    assert asked == [DEFAULT_SESAME, "http://vizier.cfa.harvard.edu/viz-bin/nph-sesame"]
