import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from covidctnet.models import Likeness


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


def test_the_shares_of_a_distance_sum_to_one_and_name_what_moved():
    network = Likeness(3, 2)
    network.means.copy_(torch.tensor([[0.0, 0, 0], [50, 50, 50]]))
    network.whitening.copy_(torch.diag(torch.tensor([1.0, 0.5, 2.0])))
    shares = network.shares(torch.tensor([[3.0, 4.0, 0.0], [50.0, 50.0, 49.0]]))
    assert shares[0].tolist() == pytest.approx([9 / 13, 4 / 13, 0])
    assert shares[1].tolist() == pytest.approx([0, 0, 1])


def test_correlated_features_share_a_distance_as_mahalanobis_has_it():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(4, 4))
    precision = np.linalg.inv(mixing @ mixing.T + np.eye(4))
    network = Likeness(4, 1)
    network.whitening.copy_(torch.from_numpy(np.linalg.cholesky(precision)))
    point = rng.normal(size=4)
    expected = point * (precision @ point) / (point @ precision @ point)
    found = network.shares(torch.from_numpy(point).float()[None])[0]
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
