from covidctnet.weights import shipped


def test_a_checkout_finds_its_presets_and_weights_at_the_top_of_the_tree():
    assert (shipped.presets_root() / "paper").is_dir()
    assert shipped.weights_root().is_dir()
    assert shipped.presets_root().parent == shipped.weights_root().parent


def test_an_installed_package_finds_them_inside_itself(tmp_path, monkeypatch):
    for folder in ("shipped_pipelines", "shipped_weights"):
        (tmp_path / "covidctnet" / folder).mkdir(parents=True)
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "covidctnet/weights/shipped.py"))
    assert shipped.presets_root() == tmp_path / "covidctnet" / "shipped_pipelines"
    assert shipped.weights_root() == tmp_path / "covidctnet" / "shipped_weights"
