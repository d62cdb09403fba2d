"""Which packages the wheel holds; everything else is in setup.cfg."""

from setuptools import find_packages, setup

# The presets and the weights live at the top of the tree and travel inside the package.
SHIPPED = {"covidctnet.shipped_pipelines": "pipelines", "covidctnet.shipped_weights": "weights"}

setup(
    packages=[*find_packages(include=["covidctnet", "covidctnet.*"]), *SHIPPED],
    package_dir=SHIPPED,
)
