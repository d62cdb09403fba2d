"""The networks: plain torch modules that know neither files nor volumes."""

from covidctnet.systems.covidctnet.networks.bcdunet import BCDUNet
from covidctnet.systems.covidctnet.networks.cnn3d import CNN3D
from covidctnet.systems.covidctnet.networks.convlstm import ConvLSTMPair

__all__ = ["CNN3D", "BCDUNet", "ConvLSTMPair"]
