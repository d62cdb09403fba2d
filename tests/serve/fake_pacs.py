"""A PACS of this process, small, with faults on demand."""

import json
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, unquote, urlsplit

import pydicom


class FakePacs:
    """Files by study, series and SOP UID, and what goes wrong with them.

    Attributes:
        files: Bytes by (study, series, sop).
        modality: By series.
        faults: Names of what goes wrong, see `_Handler`.
        asked: How often each kind of request came.
        elsewhere: An address that its answers name; none by default.
        before_file: Called before a file is sent.
    """

    def __init__(self):
        self.files = {}
        self.modality = {}
        self.faults = set()
        self.asked = Counter()
        self.elsewhere = ""
        self.before_file = lambda: None
        self.lock = threading.Lock()

    def add(self, content):
        header = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
        key = (header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID)
        with self.lock:
            self.files[key] = content
            self.modality[key[1]] = header.Modality

    def add_folder(self, folder):
        for path in sorted(folder.rglob("*.dcm")):
            self.add(path.read_bytes())

    @contextmanager
    def served(self, tls=None):
        """The address of its DICOMweb service.

        Args:
            tls: A context of `ssl` for https.
        """
        handler = type("Handler", (_Handler,), {"pacs": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            server.handle_error = lambda *_: None  # a client that breaks off
            if tls:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/dicom-web"
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    pacs = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _send(self, status, body=b"", kind="application/dicom+json", head=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in head:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _is_refused(self):
        faults = self.pacs.faults
        if "slow" in faults:
            time.sleep(1.0)
        if "password" in faults and not self.headers.get("Authorization"):
            self._send(401)
        elif "status 503" in faults:
            self._send(503)
        elif "redirect" in faults:
            self._send(302, head=[("Location", "http://127.0.0.1:9/elsewhere")])
        else:
            return False
        return True

    def do_GET(self):
        if self._is_refused():
            return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.split("/")[2:]]
        names, uids = parts[::2], parts[1::2]
        with self.pacs.lock:
            files = {
                key: content
                for key, content in self.pacs.files.items()
                if all(given == own for given, own in zip(uids, key, strict=False))
            }
        if len(names) == 3 and len(uids) == 3:
            self.pacs.asked["file"] += 1
            self.pacs.before_file()
            if not set(files) <= set(self.pacs.files):
                files = {}
            self._send_file(files)
            return
        level = len(names) - 1
        self.pacs.asked[names[-1]] += 1
        if "no JSON" in self.pacs.faults:
            self._send(200, b"<html>a page of a proxy</html>", "text/html")
            return
        items = self._listed(files, level, query)
        first = int(query.get("offset", 0))
        items = items[first : first + int(query.get("limit", 10**6))]
        self._send(200, json.dumps(items).encode() if items else b"[]")

    def _listed(self, files, level, query):
        tags = ("0020000D", "0020000E", "00080018")
        groups = {}
        for key in files:
            groups.setdefault(key[: level + 1], []).append(key)
        items = []
        for key, members in groups.items():
            modalities = {self.pacs.modality[member[1]] for member in members}
            wanted = query.get("ModalitiesInStudy") or query.get("Modality")
            if wanted and wanted not in modalities:
                continue
            if query.get("SOPInstanceUID", key[-1]) != key[-1]:
                continue
            item = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in zip(tags, key, strict=False)}
            if level < 2 and "no counts" not in self.pacs.faults:
                count = {"vr": "IS", "Value": [len(members)]}
                item["00201208" if level == 0 else "00201209"] = count
            if level == 1:
                item["00080060"] = {"vr": "CS", "Value": sorted(modalities)}
            if self.pacs.elsewhere:
                item["00081190"] = {"vr": "UR", "Value": [self.pacs.elsewhere]}
            items.append(item)
        return items

    def _send_file(self, files):
        faults = self.pacs.faults
        if not files or "deleted" in faults:
            self._send(404)
            return
        (content,) = files.values()
        kind = 'multipart/related; type="application/dicom"; boundary="=_b"'
        where = f"Content-Location: {self.pacs.elsewhere}\r\n" if self.pacs.elsewhere else ""
        head = f"--=_b\r\nContent-Type: application/dicom\r\n{where}\r\n".encode()
        body = head + content + b"\r\n--=_b--\r\n"
        if "half a file" in faults:
            body = body[: len(body) // 2]
        if "broken connection" in faults:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:100])
            self.close_connection = True
            return
        self._send(200, body, kind)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._is_refused():
            return
        self.pacs.asked["store"] += 1
        boundary = re.search(r"boundary=(\w+)", self.headers["Content-Type"])[1].encode()
        part = body.split(b"--" + boundary)[1]
        content = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        header = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
        if "stores nothing" not in self.pacs.faults:
            self.pacs.add(content)
        stored = [{"00081155": {"vr": "UI", "Value": [header.SOPInstanceUID]}}]
        if "stores nothing" in self.pacs.faults:
            stored = []
        for item in stored if self.pacs.elsewhere else ():
            item["00081190"] = {"vr": "UR", "Value": [self.pacs.elsewhere]}
        told = {"00081199": {"vr": "SQ", "Value": stored}}
        if self.pacs.elsewhere:
            told["00081190"] = {"vr": "UR", "Value": [self.pacs.elsewhere]}
        self._send(200, json.dumps(told).encode())
