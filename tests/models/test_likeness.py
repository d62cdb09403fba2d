import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from covidctnet.models import CNN3D, Likeness


def test_the_distance_is_that_of_mahalanobis_to_the_nearest_class():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 4))
    precision = np.linalg.inv(mixing @ mixing.T + np.eye(4))
    means = rng.normal(size=(3, 4))
    network = Likeness(4, 3)
    network.means.copy_(torch.from_numpy(means))
    network.whitening.copy_(torch.from_numpy(np.linalg.cholesky(precision)))
    points = rng.normal(size=(9, 4))
    expected = [min(mahalanobis(p, m, precision) for m in means) for p in points]
    found = network(torch.from_numpy(points).float())
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_class_mean_has_no_distance_from_itself():
    network = Likeness(5, 2)
    network.means.copy_(torch.arange(10.0).reshape(2, 5))
    assert network(network.means).tolist() == [0, 0]


def test_the_features_are_the_means_of_the_last_maps_and_the_logits_those_of_forward():
    torch.manual_seed(0)
    network = CNN3D(depth=34, size=66, base=1).eval()
    inputs = torch.randn(2, 1, 34, 66, 66)
    with torch.inference_mode():
        logits, features = network.classify_and_describe(inputs)
        assert torch.equal(logits, network(inputs))
        assert torch.allclose(features, network.features(inputs).mean(dim=(2, 3, 4)))
    assert features.shape == (2, 16)
