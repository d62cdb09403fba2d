"""What becomes of work on a cluster that ends in an error."""

from types import SimpleNamespace

import pytest

from covidctnet.run.cluster.errors import ClusterError
from covidctnet.run.cluster.flow import TRIES, Flow

exceptions = pytest.importorskip("ray").exceptions


def failed(cause):
    """A task that ended by an error."""
    return exceptions.RayTaskError("answer", "", cause)


def flow(errors):
    """Work whose results are errors, in their order, then ``done``."""

    def get(ref):
        if errors:
            raise errors.pop(0)
        return "done"

    ray = SimpleNamespace(
        get=get, exceptions=exceptions, wait=lambda refs, **_: (refs[:1], refs[1:])
    )
    cluster = SimpleNamespace(ray=ray, check=lambda: None)
    return Flow(
        cluster,
        lambda item, running: object(),
        lambda ref, error: None,
        give_up=lambda item: f"gave up {item}",
    )


def test_work_whose_input_was_on_a_node_that_died_is_done_again():
    lost = failed(exceptions.NodeDiedError("gone"))
    assert list(flow([lost]).results(["study"])) == [("study", "done")]


def test_work_that_is_lost_again_and_again_is_given_up():
    lost = [failed(exceptions.ObjectLostError("00", None, "")) for _ in range(TRIES)]
    assert list(flow(lost).results(["study"])) == [("study", "gave up study")]


def test_a_fault_of_the_program_is_not_tried_again():
    with pytest.raises(ClusterError, match="a worker of the cluster failed: ValueError: wrong"):
        list(flow([failed(ValueError("wrong"))]).results(["study"]))
