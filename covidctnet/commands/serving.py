"""Commands that run on: they answer what other programs bring."""

# No `from __future__ import annotations` here: `add_parameters` reads the types.
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from covidctnet.commands.common import NOTICE, Exit, Network, StudyLimits
from covidctnet.errors import UsageError

__all__ = ["PASSWORD", "TOKEN", "serve_pacs", "serve_web"]

# The password of a PACS: an option would be seen in every list of processes.
PASSWORD = "COVIDCTNET_PACS_PASSWORD"
TOKEN = "COVIDCTNET_WEB_TOKEN"


def serve_pacs(
    *,
    dicomweb: str,
    state: str = "pacs",
    network: Network,
    user: str = "",
    ca_file: str = "",
    quiet: float = 60.0,
    poll: float = 10.0,
    once: bool = False,
    study_limits: StudyLimits,
) -> int:
    """Answer the studies of a PACS by DICOMweb, and store the results in it.

    Args:
        dicomweb: Root of its DICOMweb service, as https://HOST:PORT/dicom-web.
        state: Folder for the results and for what was done; one worker at a time has it.
        network: Weights, and where they run.
        user: Of basic authentication; the password is read from COVIDCTNET_PACS_PASSWORD.
        ca_file: Certificates to trust, PEM, when the certificate is the hospital's own.
        quiet: Seconds without a new file after which a study is taken as whole.
        poll: Seconds between two looks at the list of studies.
        once: End when nothing is left that can be done now.
        study_limits: What reading a study may cost.
    """
    from covidctnet.serve.answers import FolderAnswers
    from covidctnet.serve.dicomweb import Access, Pacs
    from covidctnet.serve.pacs import PacsWorker, Watching

    watching = Watching(quiet_s=quiet, poll_s=poll)
    password = os.environ.get(PASSWORD, "")
    if password and not user:
        raise UsageError(f"expected --user with {PASSWORD}, got none. Give both, or neither.")
    access = Access(dicomweb, user, password, Path(ca_file) if ca_file else None)
    pacs = Pacs(access)
    folder = Path(state)
    answers = FolderAnswers(network.load(), folder / "results", limits=study_limits.limits)
    worker = PacsWorker(pacs, folder, answers, watching)
    try:
        worker.run(once=once)
        outcomes = worker.outcomes
    finally:
        with ExitStack() as ending:
            for opened in (pacs, worker, answers):
                ending.callback(opened.close)
    counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()))
    sys.stdout.write(f"{counts or 'no study'}\n{NOTICE}\n")
    return Exit.OK


def serve_web(
    *,
    state: str = "web",
    network: Network,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: Sequence[str] = (),
    behind_https: bool = False,
    keep_hours: float = 24.0,
    max_upload_mb: int = 4096,
) -> int:
    """Answer what is uploaded to a web page.

    Args:
        state: Folder for uploads and results; one server at a time has it.
        network: Weights, and where they run.
        host: Address to listen on. Beyond 127.0.0.1 only with a token of 20 characters or more in
            COVIDCTNET_WEB_TOKEN, and behind a proxy that speaks https.
        port: Likewise; 0 takes a free one.
        name: Names under which browsers reach it, with port, as ct.hospital.example:443.
        behind_https: The names are those of a proxy that speaks https, on another host than this
            one; on this one they are in any case.
        keep_hours: Hours after which uploads and results are deleted.
        max_upload_mb: MiB of one upload.
    """
    from covidctnet.serve.web.app import Limits
    from covidctnet.serve.web.server import WebServer

    server = WebServer(
        Path(state),
        weights=network.weights,
        device=network.device,
        address=(host, port),
        names=tuple(name),
        token=os.environ.get(TOKEN, ""),
        is_behind_https=behind_https or None,
        keep_s=keep_hours * 3600,
        limits=Limits(job_bytes=max_upload_mb * 2**20, file_bytes=max_upload_mb * 2**20),
    )
    server.run()
    return Exit.OK
