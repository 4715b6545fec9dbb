"""Downloads from archives that misbehave in every way that servers do."""

import contextlib
import hashlib
import pickle
import threading
import time
from concurrent.futures import CancelledError
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest
from servers import Drip, FaultyServer, Page, Reset, Stall, Status, Truncate, s3_server

from syndiff.errors import (
    ArchiveError,
    ArchiveUnavailableError,
    ConfigError,
    CorruptDownloadError,
    GeometryError,
    SkycellNotFoundError,
)
from syndiff.stacks.archive import (
    PLANES,
    fetch_skycell,
    stack_path,
)
from syndiff.transport.archive import Archive, open_archive
from syndiff.transport.asking import Asker, connection_limit, slot
from syndiff.transport.attempt import ArchiveConfig, TransientError

SKYCELL = SimpleNamespace(name="skycell.2556.082")
BANDS = ("r", "i")
FILE = "some/file.fits"
# Time limits short enough for tests; loopback answers in about a millisecond.
QUICK = {
    "retries": 3,
    "backoff_s": 0.01,
    "connect_timeout_s": 1.0,
    "read_timeout_s": 0.25,
    "total_timeout_s": 0.6,
}


def octets_of(download):
    return bytes(download.octets)


def content(band, plane):
    return f"SIMPLE {band} {plane} ".encode() * 2000


def open_plane(data, *, source, plane, band, skycell):
    """Stand in for open_stackfile: the content must be this very file's."""
    if bytes(data) != content(band, plane):
        raise CorruptDownloadError(f"{source}: {bytes(data[:9])!r} is no FITS file")
    return SimpleNamespace(plane=plane, band=band, data=data)


def files(bands=BANDS, planes=PLANES):
    return {stack_path(SKYCELL.name, b, p): content(b, p) for b in bands for p in planes}


@pytest.fixture
def server():
    with FaultyServer({**files(), FILE: b"0123456789" * 10_000}) as faulty:
        yield faulty


@pytest.fixture
def archive(server):
    with Archive(ArchiveConfig(server.url, 6, **QUICK)) as archive:
        yield archive


def fetch(archive, bands=BANDS):
    return fetch_skycell(archive, SKYCELL, bands=bands, open_plane=open_plane)


# Paths


@pytest.mark.parametrize(
    ("name", "plane", "path"),
    [
        (
            "skycell.2556.082",
            "image",
            "2556/082/rings.v3.skycell.2556.082.stk.r.unconv.fits",
        ),
        (
            "skycell.2556.082",
            "variance",
            "2556/082/rings.v3.skycell.2556.082.stk.r.unconv.wt.fits",
        ),
        (
            "field_a.7.n-3",
            "mask",
            "7/n-3/rings.v3.field_a.7.n-3.stk.r.unconv.mask.fits",
        ),
    ],
)
def test_path_of_a_stack_file(name, plane, path):
    assert stack_path(name, "r", plane) == path


@pytest.mark.parametrize(
    "name", ["../../x", "skycell.2556", "skycell.2556.082.1", "a b.1.2", "s./.2", "", "s.1.2\n"]
)
def test_hostile_names_never_reach_a_path(name):
    with pytest.raises(GeometryError, match="can't be made into an archive path"):
        stack_path(name, "r", "image")


# A whole skycell


def test_a_skycell_arrives_whole(server, archive):
    got = fetch(archive)
    assert got.bands == BANDS
    assert got.absent == ()
    assert not got.all_absent
    assert set(got.planes) == {(band, plane) for band in BANDS for plane in PLANES}
    for (band, plane), fetched in got.planes.items():
        assert bytes(fetched.stack.data) == content(band, plane)
        assert fetched.sha256 == hashlib.sha256(content(band, plane)).hexdigest()
        assert fetched.source == server.url + stack_path(SKYCELL.name, band, plane)
        assert fetched.size == len(content(band, plane))
    assert got.size == sum(len(content(*key)) for key in got.planes)


def test_a_band_without_image_is_absent(server, archive):
    for plane in PLANES:
        del server.files[stack_path(SKYCELL.name, "r", plane)]
    got = fetch(archive)
    assert got.absent == ("r",)
    assert got.bands == ("i",)


def test_planes_of_an_absent_image_are_ignored(server, archive):
    del server.files[stack_path(SKYCELL.name, "r", "image")]
    server.faults[stack_path(SKYCELL.name, "r", "mask")] = [Page()] * 9
    assert fetch(archive).absent == ("r",)


def test_everything_absent(archive, server):
    server.files.clear()
    got = fetch(archive)
    assert got.all_absent
    assert got.absent == BANDS


def test_not_found_is_asked_once(archive, server):
    server.files.clear()
    fetch(archive)
    assert max(server.hits.values()) == 1


@pytest.mark.parametrize("plane", ["mask", "variance"])
def test_an_image_without_its_other_planes_is_a_failure(server, archive, plane):
    path = stack_path(SKYCELL.name, "i", plane)
    del server.files[path]
    with pytest.raises(ArchiveError, match=f"has the i image but not its {plane} .*{path}"):
        fetch(archive)


def test_the_connections_bound_the_requests(server):
    server.pause_s = 0.02
    with Archive(ArchiveConfig(server.url, 2, **QUICK)) as archive:
        fetch(archive)
    assert server.busiest == 2


def test_a_failure_ends_the_other_attempts(server):
    patient = QUICK | {"retries": 50, "backoff_s": 5.0}
    server.faults[stack_path(SKYCELL.name, "r", "image")] = [Status(400)]
    server.faults[stack_path(SKYCELL.name, "i", "image")] = [Status(503)] * 99
    start = time.monotonic()
    with (
        Archive(ArchiveConfig(server.url, 6, **patient)) as archive,
        pytest.raises(ArchiveUnavailableError, match="400"),
    ):
        fetch(archive)
    # The other image would have waited for 5 s or more.
    assert time.monotonic() - start < 2


# One file, many faults


FAULTS = [
    pytest.param([Status(503), Status(503)], id="503 twice"),
    pytest.param([Status(500)], id="500"),
    pytest.param([Status(429)], id="429"),
    pytest.param([Status(403)], id="403 once"),
    pytest.param([Truncate()], id="half the body"),
    pytest.param([Truncate(0.0)], id="no body"),
    pytest.param([Reset()], id="reset"),
    pytest.param([Stall()], id="no answer"),
    pytest.param([Stall(0.5)], id="half, then silence"),
    pytest.param([Drip(pieces=100, pause_s=0.1)], id="drips for too long"),
    pytest.param([Page()], id="HTML page with status 200"),
    pytest.param([Page(b"")], id="empty file"),
    pytest.param([Page(), Status(502), Truncate()], id="one after the other"),
]


@pytest.mark.parametrize("faults", FAULTS)
def test_a_passing_fault_is_survived(server, archive, faults):
    path = stack_path(SKYCELL.name, "r", "image")
    server.faults[path] = list(faults)
    assert fetch(archive).bands == BANDS
    assert server.hits[path] == len(faults) + 1


def test_a_slow_file_within_the_limits_is_left_alone(server, archive):
    server.faults[FILE] = [Drip(pieces=5, pause_s=0.05)]
    assert len(archive.fetch(FILE, octets_of)) == 100_000
    assert server.hits[FILE] == 1


@pytest.mark.parametrize(
    ("fault", "message", "hits"),
    [
        (Status(503), r"503 Service Unavailable \(after 4 attempts\).*run the same command", 4),
        (Truncate(), "after 4 attempts", 4),
        (Stall(), "timed out.*after 4 attempts", 4),
        (Drip(pieces=100, pause_s=0.1), "bytes had arrived when the time was up", 4),
        (Status(403), "access denied .403 Forbidden.: the server refuses this address", 2),
        (Status(401), "access denied .401", 2),
        (Status(400), "answered 400 Bad Request, which is neither the file nor", 1),
        (Status(302, location="/elsewhere"), "too many redirects", 4),
    ],
)
def test_a_lasting_fault_ends_in_one_clear_line(server, archive, fault, message, hits):
    server.faults[FILE] = server.faults["elsewhere"] = [fault] * 99
    with pytest.raises(ArchiveUnavailableError, match=message) as caught:
        archive.fetch(FILE, octets_of)
    assert f"{server.url}{FILE}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.hits[FILE] == hits


def test_a_file_that_stays_corrupt(server, archive):
    path = stack_path(SKYCELL.name, "r", "variance")
    server.faults[path] = [Page()] * 99
    with pytest.raises(CorruptDownloadError, match=r"no FITS file \(after 3 attempts; .*`archive`"):
        fetch(archive)
    assert server.hits[path] == 3


def test_not_found(server, archive):
    with pytest.raises(SkycellNotFoundError, match=r"no/such.fits: the archive does not have"):
        archive.fetch("no/such.fits", octets_of)


@pytest.mark.parametrize("fault", [Status(404), Truncate(), Drip(pieces=100, pause_s=0.1)])
def test_failures_leave_the_connection_free(server, fault):
    limits = QUICK | {"retries": 0, "total_timeout_s": 0.05}
    server.faults[FILE] = [fault] * 4
    with Archive(ArchiveConfig(server.url, 1, **limits)) as archive:
        for _ in range(4):
            with pytest.raises(ArchiveError):
                archive.fetch(FILE, octets_of)
        assert len(archive.fetch(FILE, octets_of)) == 100_000


def test_a_connection_is_used_again(server, archive):
    for path in (FILE, "missing", FILE, "missing"):
        with contextlib.suppress(SkycellNotFoundError):
            archive.fetch(path, octets_of)
    assert server.connections == 1


def test_a_slow_download_can_be_ended(server):
    server.faults[FILE] = [Drip(pieces=100, pause_s=0.1)]
    stop = threading.Event()
    with Archive(ArchiveConfig(server.url, 1)) as archive:
        job = archive.submit(FILE, octets_of, stop)
        while not server.hits[FILE]:
            time.sleep(0.005)
        start = time.monotonic()
        stop.set()
        with pytest.raises(CancelledError):
            job.result()
    assert time.monotonic() - start < 1


def test_a_redirect_is_followed(server, archive):
    server.files["moved"] = b""
    server.faults["moved"] = [Status(301, location=f"/{FILE}")]
    assert len(archive.fetch("moved", octets_of)) == 100_000


def test_a_redirect_to_nowhere_is_not_found(server, archive):
    server.faults["moved"] = [Status(302, location="/nowhere")]
    with pytest.raises(SkycellNotFoundError, match="does not have"):
        archive.fetch("moved", octets_of)


def test_a_refused_connection():
    with FaultyServer() as gone:
        url = gone.url
    with (
        Archive(ArchiveConfig(url, 1, **QUICK)) as archive,
        pytest.raises(ArchiveUnavailableError, match=r"refused.*after 4 attempts"),
    ):
        archive.fetch(FILE, octets_of)


def test_paths_are_escaped(server, archive):
    server.files["a b/c#d?e%20f"] = b"odd"
    assert archive.fetch("a b/c#d?e%20f", octets_of) == b"odd"
    assert server.raw_paths[-1] == "/a%20b/c%23d%3Fe%2520f"


def test_the_client_says_who_it_is(server, archive):
    archive.fetch(FILE, octets_of)
    assert server.headers[-1]["User-Agent"].startswith("syndiff/")


# Retry-After


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(server, archive, form):
    # Dates have whole seconds: the second after next is 1 to 2 s away.
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server.faults[FILE] = [Status(503, retry_after="1" if form == "seconds" else later)]
    start = time.monotonic()
    archive.fetch(FILE, octets_of)
    assert time.monotonic() - start > 0.9


def test_retry_after_holds_the_other_requests_too(server, archive):
    server.faults[FILE] = [Status(429, retry_after="1")]
    job = archive.submit(FILE, octets_of, threading.Event())
    while not server.hits[FILE]:
        time.sleep(0.005)
    time.sleep(0.1)
    start = time.monotonic()
    archive.fetch(stack_path(SKYCELL.name, "r", "image"), octets_of)
    assert time.monotonic() - start > 0.5
    job.result()


def test_a_very_long_retry_after_ends_the_attempts(server, archive):
    server.faults[FILE] = [Status(503, retry_after="7200")]
    with pytest.raises(ArchiveUnavailableError, match="asks to be left alone for 7200 s"):
        archive.fetch(FILE, octets_of)
    assert server.hits[FILE] == 1


def test_a_senseless_retry_after_is_ignored(server, archive):
    server.faults[FILE] = [Status(503, retry_after="soon")]
    assert len(archive.fetch(FILE, octets_of)) == 100_000


# Proxies


def test_the_environments_proxy_is_used(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with (
        Archive(ArchiveConfig("http://archive.invalid/root", 1, **QUICK)) as archive,
        pytest.raises(SkycellNotFoundError),
    ):
        archive.fetch(FILE, octets_of)
    assert server.raw_paths == [f"http://archive.invalid/root/{FILE}"]


def test_no_proxy_is_asked_for_this_machine(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Archive(ArchiveConfig(server.url, 1, **QUICK)) as archive:
        archive.fetch(FILE, octets_of)
    assert server.raw_paths == [f"/{FILE}"]


# Folders


@pytest.mark.parametrize("flat", [False, True])
def test_local_folder(tmp_path, flat):
    for path, data in files().items():
        place = tmp_path / (path.rsplit("/", 1)[1] if flat else path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    with Archive(ArchiveConfig(str(tmp_path), 4, **QUICK)) as archive:
        got = fetch(archive, ("r", "z", "i"))
    assert got.bands == BANDS
    assert got.absent == ("z",)


def test_names_of_a_folder(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file.fits").write_bytes(b"")
    assert Archive(ArchiveConfig(str(tmp_path))).names("a") == ["b", "file.fits"]
    assert Archive(ArchiveConfig(str(tmp_path))).names("nowhere") == []
    assert Archive(ArchiveConfig("http://127.0.0.1:1/")).names("a") is None
    with s3_server(monkeypatch, "stpubdata") as client:
        client.put_object(Bucket="stpubdata", Key="tess/a/file.fits", Body=b"")
        client.put_object(Bucket="stpubdata", Key="tess/a/b/other.fits", Body=b"")
        assert Archive(ArchiveConfig("s3://stpubdata/tess")).names("a") == ["file.fits"]
        assert Archive(ArchiveConfig("s3://nobody/tess")).names("a") is None


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(
        ConfigError, match=r"nowhere does not exist: give `archive` a folder that holds"
    ):
        Archive(ArchiveConfig(str(tmp_path / "nowhere")))


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "stacks.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"stacks.tar is no folder: give `archive` a folder"):
        Archive(ArchiveConfig(str(tmp_path / "stacks.tar")))


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / FILE).mkdir(parents=True)
    with (
        Archive(ArchiveConfig(str(tmp_path), 1, **QUICK)) as archive,
        pytest.raises(ArchiveUnavailableError, match="Is a directory"),
    ):
        archive.fetch(FILE, octets_of)


# S3


@pytest.fixture
def bucket(monkeypatch):
    with s3_server(monkeypatch, "public-stacks") as client:
        yield client


def test_s3_without_credentials(bucket, monkeypatch):
    for path, data in files(("r",)).items():
        bucket.put_object(Bucket="public-stacks", Key=f"ps1/v3/{path}", Body=data)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with Archive(ArchiveConfig("s3://public-stacks/ps1/v3/", 4, **QUICK)) as archive:
        got = fetch(archive)
    assert got.bands == ("r",)
    assert got.absent == ("i",)
    source = got.planes["r", "mask"].source
    assert source == f"s3://public-stacks/ps1/v3/{stack_path(SKYCELL.name, 'r', 'mask')}"


def test_s3_requests_are_never_signed(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    server.files[f"bucket/{FILE}"] = b"public"
    with Archive(ArchiveConfig("s3://bucket", 1, **QUICK)) as archive:
        assert archive.fetch(FILE, octets_of) == b"public"
    assert "authorization" not in {name.lower() for name in server.headers[-1]}


@pytest.mark.parametrize(
    ("fault", "error", "message", "hits"),
    [
        (Status(403), ArchiveUnavailableError, "requester-pays or want credentials", 2),
        (Status(404), SkycellNotFoundError, "does not have this file", 1),
        (Status(503), ArchiveUnavailableError, "503.*after 4 attempts", 4),
        (Stall(0.5), ArchiveUnavailableError, "after 4 attempts", 4),
        (Truncate(), ArchiveUnavailableError, "after 4 attempts", 4),
    ],
)
def test_s3_faults(server, monkeypatch, fault, error, message, hits):
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    server.files[f"bucket/{FILE}"] = b"0123456789" * 1000
    server.faults[f"bucket/{FILE}"] = [fault] * 99
    with (
        Archive(ArchiveConfig("s3://bucket", 1, **QUICK)) as archive,
        pytest.raises(error, match=message) as caught,
    ):
        archive.fetch(FILE, octets_of)
    assert f"s3://bucket/{FILE}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.hits[f"bucket/{FILE}"] == hits


# Configuration


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/ps1", "starts with ftp://: give an https://"),
        ("https://", "is not the address of a folder on a server"),
        ("https://host/ps1?x=1", "is not the address of a folder on a server"),
        ("s3:///prefix", "names no bucket"),
    ],
)
def test_unusable_addresses(url, message):
    with pytest.raises(ConfigError, match=message):
        Archive(ArchiveConfig(url))


@pytest.mark.parametrize(
    ("field", "value"), [("connections", 0), ("retries", -1), ("read_timeout_s", 0.0)]
)
def test_values_out_of_range(field, value):
    with pytest.raises(ConfigError, match=f"{field} {value} must be"):
        ArchiveConfig(**{field: value})


def test_the_description_can_be_sent_to_workers():
    config = ArchiveConfig("https://host/ps1", 3)
    assert pickle.loads(pickle.dumps(config)) == config


def test_one_archive_in_a_process(tmp_path):
    assert open_archive(str(tmp_path), connections=3) is open_archive(
        ArchiveConfig(str(tmp_path), 3)
    )


@pytest.mark.parametrize(
    ("where", "limit"),
    [
        ("https://ps1images.stsci.edu/rings.v3.skycell/", 16),
        ("https://stsci.edu/x", 16),
        ("https://notstsci.edu/x", 60),
        ("http://127.0.0.1:8000/", 60),
        ("s3://stpubdata/panstarrs/", 60),
        ("/data/ps1", 60),
    ],
)
def test_stsci_is_asked_gently(where, limit):
    assert connection_limit(where, 60) == limit
    assert connection_limit(where, 2) == 2


def test_all_of_stscis_servers_share_one_limit_of_a_process():
    shared = slot("https://ps1images.stsci.edu/rings.v3.skycell/")
    assert slot("https://archive.stsci.edu/missions/tess/ffi/a.fits") is shared
    assert slot("https://gea.esac.esa.int/tap-server/tap") is not shared
    assert slot("/a/folder") is not shared
    with contextlib.ExitStack() as held:
        for _ in range(16):
            held.enter_context(shared)
        assert not shared.acquire(blocking=False)


def test_a_wait_that_a_server_names_holds_whoever_asks_it(monkeypatch):
    waits = []
    monkeypatch.setattr(
        "syndiff.transport.asking._pause", lambda wait_s, stop: waits.append(wait_s)
    )
    answers = iter([TransientError("busy", 120.0), None])

    def attempt():
        if (answer := next(answers, None)) is not None:
            raise answer

    one, other = (Asker(ArchiveConfig("https://one.example/" + part)) for part in ("a", "b"))
    one.ask(attempt, "a file")
    other.ask(lambda: None, "another file")
    assert waits[-1] > 100
    Asker(ArchiveConfig("https://two.example/")).ask(lambda: None, "a file elsewhere")
    assert waits[-1] < 1
