"""Two nodes of Ray on this machine: answers as on one machine, whatever dies."""

import contextlib
import csv
import io
import json
import os
import pickle
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch

from covidctnet.cli import main
from covidctnet.contract import RunSettings
from covidctnet.errors import UsageError, WeightsError
from covidctnet.io import Study
from covidctnet.io.nifti import ras_to_lps
from covidctnet.run.cluster import Cluster, ClusterError, PredictorSpec
from covidctnet.run.cluster.flow import Flow
from covidctnet.run.cluster.head import Head
from covidctnet.run.cluster.tasks import ReadingWork
from tests.small import SPACING, tiny_weights, write_cohort
from tests.volumes import a_chest

STUDIES = 30
# What a study costs in time, and when it was answered; all else must be equal.
CHANGING = ("seconds", "answered", "run")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Nodes:
    """A cluster of this machine's own ports, with a secret of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONSAFEPATH": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            # A node that is gone is noticed sooner.
            "RAY_health_check_period_ms": "1000",
        }
        self.processes = []

    def start(self, *arguments):
        head = [f"--address={self.address}"]
        if not self.processes:
            head = ["--head", f"--port={self.port}", "--include-dashboard=false"]
            head += [f"--temp-dir={self.folder}"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *head]
        command += ["--num-cpus=1", "--object-store-memory=200000000", *arguments]
        node = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(node)
        said = []
        for line in node.stdout:
            said.append(line)
            if "--block" in line:
                return node
        raise AssertionError("".join(said))

    def kill(self, node):
        """Everything of a node at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()
        node.stdout.close()

    def run(self, *arguments, program=("-m", "covidctnet")):
        command = [sys.executable, *program, *map(str, arguments)]
        return subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )


@pytest.fixture(scope="module")
def nodes():
    # The names of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="n-", ignore_cleanup_errors=True) as folder:
        started = Nodes(Path(folder))
        try:
            started.start()
            started.start()
            yield started
        finally:
            for node in reversed(started.processes):
                started.kill(node)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    root = tmp_path_factory.mktemp("inbox")
    volume, _ = a_chest((25, 50, 60), SPACING[0])
    for number in range(STUDIES):
        scan = np.array(volume.array)
        scan += np.random.default_rng(number).integers(-15, 15, scan.shape, dtype=np.int16)
        affine = ras_to_lps(volume.affine)[:, [2, 1, 0, 3]]
        image = nibabel.Nifti1Image(scan.transpose(2, 1, 0), affine)
        nibabel.save(image, root / f"{number:03}.nii")
    (root / "broken.nii").write_bytes(b"no scan")
    return root


def ended(process, seconds=300):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def here(*arguments):
    """The command in this process, with as many threads as a node; its exit code and output."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = main(list(map(str, arguments)))
    finally:
        torch.set_num_threads(threads)
    return code, out.getvalue()


def records(output):
    """All that stands in the records, by study, but what differs from run to run."""
    found = {}
    for path in (output / "studies").glob("*.json"):
        record = json.loads(path.read_text())
        found[record["study"]] = {k: v for k, v in record.items() if k not in CHANGING}
    return found


def rows(output):
    with (output / "results.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(inbox, weights, tmp_path_factory):
    """What this machine answers without Ray."""
    output = tmp_path_factory.mktemp("alone") / "out"
    assert here("classify", inbox, "-o", output, "--weights", weights, "--device", "cpu")[0] == 3
    return output


def answered(output):
    return len(list((output / "studies").glob("*.json")))


def test_a_cohort_is_preprocessed_by_two_nodes_as_by_one_machine(nodes, tmp_path):
    data = write_cohort(tmp_path / "data", controls=5, others=3)
    options = ["--settings.size", "40", "--settings.spacing_mm", "4"]
    code, out = here("preprocess", data, "-o", tmp_path / "alone", *options)
    assert code == 0 and "11 studies preprocessed" in out
    # Ids of another key would be others.
    options += ["--runner", nodes.address, "--key", tmp_path / "alone"]
    for expected in ("11 studies preprocessed", "11 were there"):
        code, out, err = ended(nodes.run("preprocess", data, "-o", tmp_path / "cluster", *options))
        assert code == 0, err
        assert expected in out
    stores = [
        {path.relative_to(work): path.read_bytes()[352:] for path in work.rglob("*.nii")}
        for work in (tmp_path / "alone", tmp_path / "cluster")
    ]
    assert len(stores[0]) == 22
    assert stores[0] == stores[1]
    assert (tmp_path / "alone" / "splits.json").read_bytes() == (
        tmp_path / "cluster" / "splits.json"
    ).read_bytes()


def test_an_evaluation_by_two_nodes_is_that_of_one_machine(nodes, weights, tmp_path):
    data = write_cohort(tmp_path / "data", controls=2, others=2)
    command = ["evaluate", "--data", data, "--weights", weights, "--device", "cpu"]
    assert here(*command, "-o", tmp_path / "alone")[0] == 0
    command += ["--runner", nodes.address, "--key", tmp_path / "alone"]
    code, _, err = ended(nodes.run(*command, "-o", tmp_path / "cluster"))
    assert code == 0, err
    first, second = (
        {
            p.relative_to(tmp_path / name): p.read_bytes()
            for p in (tmp_path / name).rglob("*.*")
            # Answers that are kept for another run tell how long they took.
            if p.parent.name != "answers"
        }
        for name in ("alone", "cluster")
    )
    assert first == second


def test_a_worker_with_other_versions_or_weights_says_so_in_one_line(weights, tmp_path):
    spec = PredictorSpec.of(weights, RunSettings("cpu"))
    assert pickle.loads(pickle.dumps(spec)).load().info.digest == spec.digest
    newer = replace(spec, versions={**spec.versions, "torch": "9"})
    with pytest.raises(ClusterError, match=r"expected torch 9 on every node, .* got 2"):
        newer.load()
    with pytest.raises(ClusterError, match=r"expected the weights tiny \(0+\) on every node"):
        replace(spec, digest="0" * 12).load()
    with pytest.raises(WeightsError, match="no weights 'gone'"):
        replace(spec, weights=str(tmp_path / "gone")).load()


def test_weights_that_a_node_lacks_end_the_run_in_one_line(nodes, inbox, weights, tmp_path):
    lacking = (
        "from covidctnet.run import cluster\n"
        "import dataclasses, sys\n"
        "from covidctnet.cli import main\n"
        "of = cluster.PredictorSpec.of\n"
        "lost = lambda *a: dataclasses.replace(of(*a), weights='/gone')\n"
        "cluster.PredictorSpec.of = lost\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    output = tmp_path / "out"
    command = ["classify", inbox, "-o", output, "--weights", weights, "--device", "cpu"]
    code, _, err = ended(nodes.run(*command, "--runner", nodes.address, program=["-c", lacking]))
    complaints = [line for line in err.splitlines() if line.startswith("covidctnet:")]
    assert code == 1, err
    assert len(complaints) == 1
    assert re.search(r"node \S+ of the cluster: no weights 'gone'", complaints[0])


def test_a_head_node_that_answers_no_more_is_told_from_one_that_does(monkeypatch):
    monkeypatch.setattr("covidctnet.run.cluster.head._PING_S", 0.01)
    monkeypatch.setattr("covidctnet.run.cluster.head._SILENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        cluster = Cluster.__new__(Cluster)
        cluster._head = Head(f"127.0.0.1:{server.getsockname()[1]}")
        time.sleep(0.6)
        cluster.check()
    time.sleep(0.6)
    with pytest.raises(ClusterError, match="head node of the Ray cluster no longer answers"):
        cluster.check()
    cluster._head.close()


def test_a_node_that_dies_costs_no_answer_and_doubles_none(nodes, inbox, weights, alone, tmp_path):
    output = tmp_path / "out"
    process = nodes.run(
        *("classify", inbox, "-o", output, "--weights", weights, "--device", "cpu"),
        *("--runner", nodes.address, "--key", alone),
    )
    while answered(output) < 5 and process.poll() is None:
        time.sleep(0.05)
    nodes.kill(nodes.processes[-1])
    assert answered(output) < STUDIES
    code, out, err = ended(process)
    assert code == 3, err
    assert f"{STUDIES + 1} studies" in out
    assert rows(output) == rows(alone)
    assert records(output) == records(alone)


def test_a_head_node_that_dies_is_one_line_and_the_answers_stay(
    nodes, inbox, weights, alone, tmp_path
):
    output = tmp_path / "out"
    command = ["classify", inbox, "-o", output, "--weights", weights, "--device", "cpu"]
    command += ["--key", alone]
    process = nodes.run(*command, "--runner", nodes.address)
    while answered(output) < 3 and process.poll() is None:
        time.sleep(0.05)
    nodes.kill(nodes.processes[0])
    code, _, err = ended(process)
    complaints = [line for line in err.splitlines() if line.startswith("covidctnet:")]
    assert code == 1, err
    assert len(complaints) == 1
    assert "What was finished is kept" in complaints[0]
    kept = answered(output)
    assert 3 <= kept < STUDIES
    code, out = here(*command)
    assert code == 3
    assert f"({kept} from an earlier run)" in out or f"({kept - 1} from an earlier run)" in out
    assert records(output) == records(alone)


def test_no_cluster_at_an_address_is_one_line(nodes, inbox, weights, tmp_path):
    code, _, err = ended(
        nodes.run("classify", inbox, "-o", tmp_path / "out", "--runner", f"127.0.0.1:{free_port()}")
    )
    assert code == 2
    assert "expected a Ray cluster at 127.0.0.1:" in err.splitlines()[-1]


class LostError(Exception):
    pass


class Engine:
    """What `Flow` needs of Ray; the last reference that was begun ends first."""

    class exceptions:  # noqa: N801 - the library's name
        RayError = LostError
        RayTaskError = type("RayTaskError", (LostError,), {})

    def __init__(self, losing=lambda item, tries: False):
        self.losing = losing
        self.begun = {}
        self.tries = Counter()
        self.most = 0

    def begin(self, item, running):
        assert running == len(self.begun)
        if running >= 4:
            return None
        ref = object()
        self.begun[ref] = item
        self.tries[item] += 1
        self.most = max(self.most, running + 1)
        return ref

    def wait(self, refs, num_returns, timeout):
        return refs[-1:], refs[:-1]

    def get(self, ref):
        item = self.begun.pop(ref)
        if self.losing(item, self.tries[item]):
            raise LostError
        return item * item

    def results(self, items):
        cluster = SimpleNamespace(ray=self, check=lambda: None)
        flow = Flow(cluster, self.begin, lambda ref, error: None, give_up=lambda item: "lost")
        return flow.results(items)


def test_results_keep_their_order_and_a_bounded_number_is_begun():
    taken = []
    engine = Engine()
    items = (taken.append(n) or n for n in range(500))
    for number, (item, result) in enumerate(engine.results(items)):
        assert (item, result) == (number, number * number)
        # Those that run, and those that are done and wait for one before them.
        assert len(taken) - number <= 4 + 8 * 4 + 2
    assert number == 499
    assert engine.most == 4
    assert set(engine.tries.values()) == {1}


def test_what_is_lost_is_done_again_three_times_at_most_and_given_out_once():
    engine = Engine(lambda item, tries: item == 7 or (item % 3 == 0 and tries < 3))
    found = list(engine.results(range(50)))
    assert [item for item, _ in found] == list(range(50))
    assert [result for _, result in found] == [n * n if n != 7 else "lost" for n in range(50)]
    assert set(engine.tries.values()) == {1, 3}


@pytest.mark.parametrize("address", ["", "rya", "ray://", "ray://host", "http://host:1", "a/b:1"])
def test_what_is_no_runner_is_refused(address):
    with pytest.raises(UsageError, match="expected --runner local, ray, ray://HOST:PORT"):
        Cluster(address)


def test_without_ray_the_command_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install covidctnet\[ray\]"):
        Cluster("ray")


def test_a_study_that_no_worker_survives_is_a_failure_that_says_what_to_do():
    failure = ReadingWork(None, "ct").give_up(Study("a1b2c3d4e5f6", Path("x"), "dicom", ())).outcome
    assert (failure.code, failure.status) == ("WORKER_LOST", "failed")
    assert "Run it alone, without --runner" in failure.message
