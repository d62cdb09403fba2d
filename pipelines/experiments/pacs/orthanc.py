"""A real PACS for trials: Orthanc with its DICOMweb plugin, on this machine alone."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

__all__ = ["PASSWORD", "USER", "WHY_NOT", "Orthanc"]

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_PROGRAM = shutil.which("Orthanc")
# Why there is none here; None where there is one.
WHY_NOT = None if _PROGRAM and _PLUGIN.is_file() else "Orthanc with DICOMweb is not installed"
# Of a server that nobody else reaches and that lives for minutes.
USER, PASSWORD = "worker", "for this trial alone"
_STARTS_S = 60.0


class Orthanc:
    """An Orthanc with a storage of its own, which may be stopped and started again.

    Args:
        folder: For its storage and settings.
        told: Settings of its own besides those of a trial.
        password: Of the only user in them.
    """

    def __init__(
        self, folder: Path, told: Mapping[str, Any] | None = None, *, password: str = PASSWORD
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        folder.mkdir(parents=True, exist_ok=True)
        self._log, self._settings = folder / "log.txt", folder / "orthanc.json"
        registered: Mapping[str, str] = (told or {}).get("RegisteredUsers", {USER: PASSWORD})
        (self._user,) = registered
        self._password = password
        settings = {
            "Name": "trial",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self._port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": registered,
            "Plugins": [str(_PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        # Places and doors stay those of a trial.
        settings = {**(told or {}), **settings}
        self._settings.write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Root of its DICOMweb service."""
        return f"http://127.0.0.1:{self._port}/dicom-web"

    def start(self) -> Self:
        """Start it, and wait until it answers.

        Raises:
            RuntimeError: If it does not.
        """
        assert _PROGRAM is not None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_PROGRAM, str(self._settings)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        end = time.monotonic() + _STARTS_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.ask("/system")
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
            else:
                return self
        raise RuntimeError("Orthanc does not start")

    def stop(self) -> None:
        """End it; its storage stays."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def ask(self, path: str, data: bytes | None = None) -> Any:
        """What its own REST interface answers."""
        base = f"http://127.0.0.1:{self._port}"
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, base, self._user, self._password)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(passwords)
        )
        with opener.open(urllib.request.Request(base + path, data=data), timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def send(self, path: Path) -> None:
        """Store a file, as a scanner would."""
        self.ask("/instances", path.read_bytes())
