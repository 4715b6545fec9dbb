"""A loopback TAP service with asynchronous jobs, which misbehaves on purpose.

It answers any count with the number of its rows and any other query with its table.
"""

import contextlib
import io
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from astropy.io.votable import from_table, writeto
from astropy.io.votable.tree import Info
from astropy.table import Table

HTML = b"<html><body><h1>Service under maintenance</h1></body></html>"


@dataclass
class Faults:
    """How often each thing goes wrong before it works."""

    refuse_job: int = 0
    refuse_phase: int = 0
    refuse_result: int = 0
    html_result: int = 0
    html_job: int = 0
    error_phase: int = 0
    short_result: int = 0
    cut_result: int = 0
    overflow: int = 0
    pending: bool = False
    executing: int = 1
    redirect: bool = False
    pause_s: float = 0.0
    count: int | None = None

    def take(self, name):
        left = getattr(self, name)
        setattr(self, name, max(0, left - 1))
        return left > 0


@dataclass
class TapService:
    """What the service holds and was asked."""

    table: Table
    faults: Faults = field(default_factory=Faults)
    jobs: dict = field(default_factory=dict)
    queries: list = field(default_factory=list)
    deleted: list = field(default_factory=list)
    requests: int = 0
    url: str = ""


def votable(table, status="OK"):
    content = from_table(table)
    content.resources[0].infos.append(Info(name="QUERY_STATUS", value=status))
    out = io.BytesIO()
    writeto(content, out, tabledata_format="binary2")
    return out.getvalue()


@contextlib.contextmanager
def tap_service(table, **faults):
    """Serve a table; yields the `TapService`."""
    service = TapService(table, Faults(**faults))
    handler = type("Handler", (_Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}/tap"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: TapService

    def log_message(self, *args):
        """Stay quiet."""

    def _say(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self):
        service, faults = self.service, self.service.faults
        service.requests += 1
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.path.endswith("/phase"):
            service.jobs[self.path.split("/")[-2]]["phase"] = "EXECUTING"
            return self._say(303, Location=service.url)
        if faults.take("refuse_job"):
            return self._say(503, HTML, **{"Retry-After": "0"})
        if faults.take("html_job"):
            return self._say(200, HTML)
        name = str(len(service.queries))
        service.queries.append(form["QUERY"][0])
        phase = "PENDING" if faults.pending else "EXECUTING"
        job = {"query": form["QUERY"][0], "polls": 0, "phase": phase}
        service.jobs[name] = job
        return self._say(303, Location=f"{service.url}/async/{name}")

    def do_DELETE(self):
        self.service.requests += 1
        self.service.deleted.append(self.path.split("/")[-1])
        self._say(303, Location=self.service.url)

    def do_GET(self):
        service, faults = self.service, self.service.faults
        service.requests += 1
        time.sleep(faults.pause_s)
        parts = self.path.split("/")
        job = service.jobs[parts[3]]
        if parts[4] == "phase":
            if faults.take("refuse_phase"):
                return self._say(500, HTML)
            return self._say(200, self._phase(job).encode())
        if parts[4] == "error":
            return self._say(200, b"<VOTABLE><INFO>disk full</INFO></VOTABLE>")
        if faults.redirect and parts[-1] == "result":
            return self._say(303, Location=self.path + "/file")
        return self._result(job)

    def _phase(self, job):
        if job["phase"] == "PENDING":
            return "PENDING"
        job["polls"] += 1
        if job["polls"] <= self.service.faults.executing:
            return "EXECUTING"
        return "ERROR" if self.service.faults.take("error_phase") else "COMPLETED"

    def _result(self, job):
        service, faults = self.service, self.service.faults
        if faults.take("refuse_result"):
            return self._say(503, HTML)
        if faults.take("html_result"):
            return self._say(200, HTML)
        if "COUNT(*)" in job["query"]:
            count = len(service.table) if faults.count is None else faults.count
            return self._say(200, votable(Table({"n": [count]})))
        table = service.table[:-2] if faults.take("short_result") else service.table
        content = votable(table, "OVERFLOW" if faults.take("overflow") else "OK")
        if faults.take("cut_result"):
            content = content[: len(content) // 2]
        return self._say(200, content)
