"""Options of loading a model."""

import pytest

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.choice import ModelChoice
from ipi_darkforces.models.registry.loading import Loading


def test_what_is_not_as_by_default():
    assert Loading().changed == {}
    loading = Loading(device="cuda", dtype="float64")
    assert loading.changed == {"device": "cuda", "dtype": "float64"}
    assert loading.in_words == "dtype float64"
    assert loading.identity == {"dtype": "float64", "variant": None}
    assert loading.with_options(dtype=None, variant="pbe") == Loading(device="cuda", dtype="float64", variant="pbe")


def test_json():
    loading = Loading(variant="pbe", backend="metatomic")
    assert Loading.of({**loading.as_json(), "simulations": {}}) == loading
    assert Loading.of({"device": "cuda"}) == Loading(device="cuda")  # as folders of older versions have it


def test_a_choice_becomes_parameters_of_the_driver():
    choice = ModelChoice.of("pet-m", dtype="float64", variant=None)
    assert choice.parameters() == {"model": "pet-m", "device": "cpu", "dtype": "float64", "backend": "auto"}
    assert ModelChoice.of("pet-m").identity().keys() == {"model", "fingerprint"}


def test_a_backend_that_is_not_known():
    with pytest.raises(DarkforcesError, match="backend 'gpu' is not known: expected auto or metatomic"):
        Loading(backend="gpu")
