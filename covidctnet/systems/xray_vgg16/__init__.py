"""Cut VGG-16 and other networks that read chest radiographs (Xividocx 2020)."""

from covidctnet.systems.xray_vgg16.system import SYSTEM

__all__ = ["SYSTEM"]
