"""Bootstraps of few draws, where a test asks what a figure is and not how far it may go."""

import pytest

from covidctnet.evaluation import curves, intervals


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(curves, "BOOTSTRAP_DRAWS", 60)
    monkeypatch.setitem(intervals.bootstrap.__kwdefaults__, "draws", 60)
