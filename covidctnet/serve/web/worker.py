"""The process that answers the jobs of the web page, one after the other.

It is a process of its own: what breaks it costs one job, and the page answers while it works.

    python -P -m covidctnet.serve.web.worker STATE WEIGHTS DEVICE
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from covidctnet.errors import CovidCTNetError
from covidctnet.report import Results
from covidctnet.run.classify import classify_into, ids_of_results
from covidctnet.run.load import load
from covidctnet.run.outputs import OutputKind
from covidctnet.run.runner import LocalRunner
from covidctnet.serve.web.jobs import DONE, FAILED, Job, Jobs
from covidctnet.stopping import Stopped, stop_on_signals

_LOG = logging.getLogger(__name__)
_POLL_S = 0.5
OUTPUTS: tuple[OutputKind, ...] = ("dicom", "nifti", "scan")


def main(arguments: Sequence[str]) -> int:
    """Answer jobs until the process that started it ends."""
    state, weights, device = arguments
    parent = os.getppid()
    try:
        with stop_on_signals():
            runner = LocalRunner(load(weights, device=device))
            jobs = Jobs(Path(state).absolute())
            jobs.take_up()
            while os.getppid() == parent:
                job = jobs.take()
                if job is None:
                    time.sleep(_POLL_S)
                else:
                    answer(jobs, job, runner)
    except Stopped as stopped:
        return stopped.exit_code
    except CovidCTNetError as error:
        sys.stderr.write(f"covidctnet: {error}\n")
        return error.exit_code
    return 0


def answer(jobs: Jobs, job: Job, runner: LocalRunner) -> None:
    """Answer a job, whatever comes of it."""
    try:
        results = Results(jobs.results(job))
        ids = ids_of_results(results.folder)
        counts = classify_into(results, [jobs.uploads(job)], runner, outputs=OUTPUTS, ids=ids)
    except CovidCTNetError as error:
        _LOG.warning("job %s failed (%s)", job.id[:8], type(error).__name__)
        jobs.end(job, FAILED, str(error))
    else:
        jobs.end(job, DONE, str(counts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
