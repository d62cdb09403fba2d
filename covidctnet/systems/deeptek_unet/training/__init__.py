"""How the network learns: pixel by pixel, in stages that hand their weights on."""
