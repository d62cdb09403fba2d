"""DeepPneumonia: DRE-Net on fifteen slices of the lungs (Song et al. 2021)."""

from covidctnet.systems.deeppneumonia.system import SYSTEM

__all__ = ["SYSTEM"]
