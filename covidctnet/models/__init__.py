"""The networks: plain torch modules that know neither files nor volumes."""

from covidctnet.models.bcdunet import BCDUNet
from covidctnet.models.cnn3d import CNN3D
from covidctnet.models.convlstm import ConvLSTMPair

__all__ = ["CNN3D", "BCDUNet", "ConvLSTMPair"]
