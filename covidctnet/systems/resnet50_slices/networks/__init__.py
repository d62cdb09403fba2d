"""The network: a body of the field and a head of two layers."""

from covidctnet.systems.resnet50_slices.networks.classifier import SliceClassifier

__all__ = ["SliceClassifier"]
