"""A ResNet-50 that reads slices one by one (Javor et al. 2020)."""

from covidctnet.systems.resnet50_slices.system import SYSTEM

__all__ = ["SYSTEM"]
