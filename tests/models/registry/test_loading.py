"""Options of loading a model."""

from pathlib import Path

import pytest
from random_pet import random_pet

from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.models.registry.load import ModelChoice, load_model
from ipi_darkforces.models.registry.options import Loading


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


class TestOfTwoModels:
    def test_a_variant_is_that_of_one(self):
        fast, slow = Loading(variant="slow.pbe", dtype="float64").of_two()
        assert (fast, slow) == (Loading(dtype="float64"), Loading(variant="pbe", dtype="float64"))
        assert [each.variant for each in Loading(variant="fast.a,slow.b.c").of_two()] == ["a", "b.c"]
        assert [each.variant for each in Loading().of_two()] == [None, None]

    @pytest.mark.parametrize("variant", ["pbe", "slow", "slow.a,slow.b", "slow.a,b", "quick.a"])
    def test_of_which_must_be_said(self, variant: str):
        with pytest.raises(DarkforcesError, match="is of which of the two models[?] expected fast.NAME or slow.NAME"):
            Loading(variant=variant).of_two()

    def test_a_student_needs_none_where_its_teacher_has_one(self, tmp_path: Path):
        path, _ = random_pet(tmp_path, variant="pbe")
        pair = f"fast=pet-xs slow={path}"
        assert load_model(pair, variant="slow.pbe").loaded["variant"] == "slow.pbe"
        with pytest.raises(DarkforcesError, match="has no energy variant 'b3lyp'"):
            load_model(pair, variant="slow.b3lyp")
