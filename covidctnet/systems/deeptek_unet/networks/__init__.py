"""The network: a U-Net whose encoder is a body of the field."""

from covidctnet.systems.deeptek_unet.networks.unet import ENCODERS, LesionUNet, Upsample

__all__ = ["ENCODERS", "LesionUNet", "Upsample"]
