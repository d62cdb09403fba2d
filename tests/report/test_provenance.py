import json
from pathlib import Path
from types import MappingProxyType

from covidctnet import __version__
from covidctnet.report.provenance import json_bytes, provenance_of, run_key
from tests.report.answers import DIGEST, an_info


def test_a_provenance_names_package_weights_settings_platform_and_libraries():
    provenance = provenance_of(
        an_info(provenance={"weights": "compact", "settings": {"size": 240}})
    )
    assert provenance["covidctnet"] == __version__
    assert provenance["weights_digest"] == DIGEST
    assert provenance["model"] == {"weights": "compact", "settings": {"size": 240}}
    assert {"python", "system", "machine"} <= set(provenance["platform"])
    assert {"torch", "numpy", "pydicom", "SimpleITK"} <= set(provenance["libraries"])


def test_a_provenance_tells_nothing_of_the_computer_s_user(monkeypatch):
    import getpass
    import platform

    text = json_bytes(provenance_of(an_info())).decode()
    for private in (platform.node(), getpass.getuser(), str(Path.cwd())):
        assert f'"{private}"' not in text


def test_equal_provenances_have_equal_keys_and_others_not():
    one, same = provenance_of(an_info()), provenance_of(an_info())
    other = provenance_of(an_info(digest="ba9876543210"))
    assert run_key(one) == run_key(same) != run_key(other)


def test_values_that_json_does_not_know_are_written_plainly():
    value = {"a": MappingProxyType({1: "x"}), "b": {"z", "y"}, "c": Path("/inbox/file.nii")}
    assert json.loads(json_bytes(value)) == {"a": {"1": "x"}, "b": ["y", "z"], "c": "file.nii"}
