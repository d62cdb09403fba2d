"""Networks of DeepPneumonia."""

from covidctnet.systems.deeppneumonia.networks.drenet import Details, DRENet
from covidctnet.systems.deeppneumonia.networks.plain import PlainNet

__all__ = ["DRENet", "Details", "PlainNet"]
