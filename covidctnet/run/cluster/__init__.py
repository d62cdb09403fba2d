"""Studies on many machines by the engine Ray: workers read and answer, this process alone writes.

A `PredictorSpec` travels, never a model: every worker loads the weights from its own disk and
proves that they are the same. Readers are tasks, with the limits that a child process has here. A
worker that is lost costs time only: its studies are asked again, each is given out once.
"""

from covidctnet.run.cluster.connection import Cluster
from covidctnet.run.cluster.errors import ClusterError
from covidctnet.run.cluster.runner import RayRunner
from covidctnet.run.cluster.spec import PredictorSpec

__all__ = ["Cluster", "ClusterError", "PredictorSpec", "RayRunner"]
