"""A loopback HTTP server that misbehaves on purpose, and a local S3 server.

`FaultyServer` serves a dictionary of files. Each path can be given a list of faults: one request
uses up one fault, and when none are left the file is served as it should be.
"""

import collections
import contextlib
import gzip
import socket
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

HTML = b"<!DOCTYPE html><html><body><h1>Something went wrong</h1></body></html>"


@dataclass(frozen=True)
class Status:
    """Answer with a status code and an HTML page instead of the file."""

    code: int
    retry_after: str | None = None
    location: str | None = None


@dataclass(frozen=True)
class Page:
    """Answer 200 with an HTML error page, or with other bytes that are not the file."""

    content: bytes = HTML


@dataclass(frozen=True)
class Truncate:
    """Announce the whole length, send part of it, close the connection."""

    fraction: float = 0.5


@dataclass(frozen=True)
class Reset:
    """Send part of the body, then reset the connection (RST instead of FIN)."""

    fraction: float = 0.5


@dataclass(frozen=True)
class Stall:
    """Send part of the body (0: not even headers), then nothing until the server stops."""

    fraction: float = 0.0


@dataclass(frozen=True)
class Drip:
    """Send the whole file slowly, in `pieces` with `pause_s` between them."""

    pieces: int = 10
    pause_s: float = 0.05


@dataclass(frozen=True)
class LyingPart:
    """Answer a range, but not as asked: see `_Handler._part`."""

    how: str


Fault = Status | Page | Truncate | Reset | Stall | Drip | LyingPart


class FaultyServer:
    """Serve `files` (path without leading slash -> bytes) on a free loopback port."""

    def __init__(self, files=None):
        self.files = dict(files or {})
        self.faults = collections.defaultdict(list)
        self.hits = collections.Counter()
        self.headers = []
        self.raw_paths = []
        self.connections = 0
        self.busy = 0
        self.busiest = 0
        self.pause_s = 0.0
        self.encoding = None
        self.gives_ranges = False
        self.sent_bytes = 0
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.faulty = self

    @property
    def url(self):
        return f"http://127.0.0.1:{self._http.server_port}/"

    def __enter__(self):
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def next_fault(self, path):
        with self.lock:
            self.hits[path] += 1
            faults = self.faults[path]
            return faults.pop(0) if faults else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        with self.server.faulty.lock:
            self.server.faulty.connections += 1

    def log_message(self, *args):
        """Stay quiet."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server = self.server.faulty
        with server.lock:
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
            server.raw_paths.append(self.path)
            server.headers.append(dict(self.headers))
        try:
            time.sleep(server.pause_s)
            self._answer(server, unquote(self.path.lstrip("/")))
        finally:
            with server.lock:
                server.busy -= 1

    def _answer(self, server, path):
        fault = server.next_fault(path)
        data = server.files.get(path)
        if isinstance(fault, Status):
            self._status(fault)
        elif isinstance(fault, Page):
            self._start(len(fault.content), "text/html")
            self.wfile.write(fault.content)
        elif data is None:
            self._status(Status(404))
        elif server.gives_ranges and "Range" in self.headers:
            self._part(data, fault)
        elif fault is None:
            self._start(len(data))
            if self.command == "GET":
                self.wfile.write(data)
        else:
            self._spoil(server, data, fault)

    def _part(self, data, fault):
        """Answer a range of bytes, or lie about it."""
        how = fault.how if isinstance(fault, LyingPart) else ""
        first, last = (int(n) for n in self.headers["Range"].split("=")[1].split("-"))
        last = min(last, len(data) - 1)
        if first >= len(data):
            self._status(Status(416))
            return
        if how == "from elsewhere":
            first, last = first + 2880, last + 2880
        body = data[first : last + 1]
        size, kept = len(data), len(body)
        if how == "shorter":
            last, body = last - 100, body[:-100]
        if how == "fewer bytes than said":
            body = body[:-100]
        if how == "cut off":
            body = body[: kept // 2]
        if how == "another size":
            size += 2880
        if how == "gzip":
            body = gzip.compress(body, 1)
        self.send_response(206)
        if how != "no place":
            said = f"bytes {first}-{last}/{size}" if how != "no size" else f"bytes {first}-{last}/*"
            self.send_header("Content-Range", said)
        if how == "gzip":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(kept if how == "cut off" else len(body)))
        self.send_header("ETag", f'"{zlib.crc32(data)}"')
        self.end_headers()
        self.wfile.write(body)
        self.server.faulty.sent_bytes += len(body)
        self.close_connection = how == "cut off"

    def _spoil(self, server, data, fault):
        if isinstance(fault, Stall) and not fault.fraction:
            server.stopping.wait()
            self.close_connection = True
            return
        self._start(len(data))
        if isinstance(fault, Drip):
            step = -(-len(data) // fault.pieces)
            for start in range(0, len(data), step):
                self.wfile.write(data[start : start + step])
                time.sleep(fault.pause_s)
            return
        self.wfile.write(data[: int(len(data) * fault.fraction)])
        self.wfile.flush()
        self.close_connection = True
        if isinstance(fault, Stall):
            server.stopping.wait()
        elif isinstance(fault, Reset):
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def _status(self, status):
        self.send_response(status.code)
        if status.retry_after is not None:
            self.send_header("Retry-After", status.retry_after)
        if status.location is not None:
            self.send_header("Location", status.location)
        self.send_header("Content-Length", str(len(HTML)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(HTML)

    def _start(self, length, kind="application/fits"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.send_header("ETag", '"1"')
        if self.server.faulty.encoding:
            self.send_header("Content-Encoding", self.server.faulty.encoding)
        self.end_headers()


@contextlib.contextmanager
def s3_server(monkeypatch, bucket, *, acl="public-read-write"):
    """Run moto's S3 on a loopback port, point ``AWS_*`` at it and make `bucket`.

    Yields a boto3 client of it.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    try:
        client = boto3.client("s3")
        client.create_bucket(Bucket=bucket, ACL=acl)
        yield client
    finally:
        server.stop()
