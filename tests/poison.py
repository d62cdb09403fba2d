"""What a child process may be asked in tests: work that goes wrong in every way there is."""

import os
import resource
import sys
import time

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.child import work as read
from covidctnet.run.headers import work as look


def work(deed, **values):
    """Do one deed by name."""
    if deed == "double":
        array = np.array(values["numbers"], dtype=np.int16) * 2
        return {"process": os.getpid(), "text": values.get("text")}, array.reshape(1, 1, -1)
    if deed == "flags":
        names = ("isolated", "no_user_site", "ignore_environment")
        return {name: int(getattr(sys.flags, name)) for name in names}, None
    if deed == "surroundings":
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
        return {"stack": stack, "threads": [os.environ.get(name) for name in names]}, None
    if deed == "lend":
        from lent import VALUE

        return {"value": VALUE}, None
    if deed == "nothing":
        return {}, None
    if deed == "refuse":
        raise StudyError("SLICE_GAP", "a gap", study="0123456789ab")
    if deed == "abort":
        os.abort()
    if deed == "exit":
        sys.exit(0)
    if deed == "hang":
        while True:
            time.sleep(1)
    if deed == "spin":
        while True:
            pass
    if deed == "eat":
        return {}, np.ones(10**12, dtype=np.int16)
    if deed == "grow":
        hoard = []
        while True:
            hoard.append(np.ones(10**7, dtype=np.int8))
    if deed == "print":
        sys.stdout.write("lines that are no answer\n")
        os.write(1, b"nor are these")
        return {"printed": True}, None
    raise ZeroDivisionError("Doe^Jane")


def read_or_break(study):
    """Read a study; the name of its folder tells what goes wrong instead."""
    deed = study["path"].rpartition("-")[2]
    return work(deed) if deed in ("abort", "hang", "grow") else read(study)


def look_or_break(study, headers=False):
    """Tell of a study's headers, or read it; the name of its folder tells what goes wrong."""
    deed = study["path"].rpartition("-")[2]
    return work(deed) if deed in ("abort", "hang", "grow") else look(study, headers)
