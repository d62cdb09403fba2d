"""Networks of DeepPneumonia."""

from covidctnet.systems.deeppneumonia.networks.drenet import Details, DRENet

__all__ = ["DRENet", "Details"]
