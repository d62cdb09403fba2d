"""How the network learns: fastai's ``fine_tune``, written for torch."""
