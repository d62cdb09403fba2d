"""Networks of radiographs: bodies of the field, cut or whole, and the published heads."""

from covidctnet.systems.xray_vgg16.networks.radiograph_net import (
    NETWORKS,
    NetworkName,
    RadiographNet,
)

__all__ = ["NETWORKS", "NetworkName", "RadiographNet"]
