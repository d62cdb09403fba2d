"""Networks of radiographs: bodies of the field, cut or whole, and the published heads."""

from covidctnet.systems.xray_vgg16.networks.feature_maps import Sheet, feature_sheets
from covidctnet.systems.xray_vgg16.networks.radiograph_net import (
    NETWORKS,
    NetworkName,
    RadiographNet,
)

__all__ = ["NETWORKS", "NetworkName", "RadiographNet", "Sheet", "feature_sheets"]
