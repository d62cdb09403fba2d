"""A U-Net with Xception encoder that draws lesions in slices (DeepTek, arXiv:2006.13212)."""

from covidctnet.systems.deeptek_unet.system import SYSTEM

__all__ = ["SYSTEM"]
