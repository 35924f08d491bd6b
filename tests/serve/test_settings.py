from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from toy_models import SpringModel

from ipi_darkforces import ForceModel, Need
from ipi_darkforces.errors import DarkforcesError
from ipi_darkforces.serve.settings import Role, Settings
from ipi_darkforces.serve.units import ANGSTROM, structure_from_ipi
from ipi_darkforces.split.component import Component

WATER_XYZ = "3\n\nO 0 0 0\nH 1 0 0\nH 0 1 0\n"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.xyz"
    path.write_text(WATER_XYZ)
    return path


class TestParsed:
    def test_known_keys(self) -> None:
        given = {"component": "fast", "species": "OH2", "template": "a.xyz"}
        assert Settings.parsed(given, "the input") == Settings("fast", "OH2", "a.xyz")

    def test_nothing(self) -> None:
        assert Settings.parsed({}, "the input") == Settings()

    @pytest.mark.parametrize("key", ["componnent", "", "model", "two\nlines"])
    def test_unknown_key_says_where_it_stood_and_which_exist(self, key: str) -> None:
        with pytest.raises(DarkforcesError) as caught:
            Settings.parsed({key: "x", "species": "OH2"}, "the <parameters>")
        message = str(caught.value)
        assert message == (
            f"{key!r} in the <parameters> is not known: expected component, energy_ensemble, pbc, species, template, "
            "uncertainty_threshold"
        )
        assert "\n" not in message


class TestCompleted:
    def test_command_line_comes_before_the_input(self) -> None:
        line, parameters = Settings(component="direct"), Settings(component="fast", species="OH2")
        assert line.completed(parameters) == Settings(component="direct", species="OH2")

    def test_what_nobody_said_stays_open(self) -> None:
        assert Settings().completed(Settings()) == Settings()

    @pytest.mark.parametrize("first", [Settings(template="a.xyz"), Settings(species="OH2")])
    @pytest.mark.parametrize("second", [Settings(template="b.xyz"), Settings(species="H2O")])
    def test_species_and_template_override_each_other(self, first: Settings, second: Settings) -> None:
        """Both give the elements: a template on the command line must not meet a formula from the input."""
        assert first.completed(second) == first

    def test_component_leaves_the_elements_to_the_input(self) -> None:
        assert Settings("slow").completed(Settings(template="a.xyz")) == Settings("slow", template="a.xyz")


class TestElements:
    def test_from_a_formula(self) -> None:
        assert Settings(species="(OH2)2").elements().tolist() == [8, 1, 1, 8, 1, 1]

    def test_from_a_template(self, template: Path) -> None:
        assert Settings(template=str(template)).elements().tolist() == [8, 1, 1]

    def test_template_is_looked_for_in_the_folder(self, template: Path) -> None:
        assert Settings(template=template.name).elements(template.parent).tolist() == [8, 1, 1]

    def test_unknown_while_nothing_was_said(self) -> None:
        assert Settings(component="fast").elements() is None


class TestResolved:
    @pytest.mark.parametrize("component", Component)
    def test_component_by_its_name(self, component: Component) -> None:
        role = Settings(component.value, "OH2").resolved(SpringModel())
        assert role.component is component
        assert role.species.tolist() == [8, 1, 1]

    def test_directions_without_periodicity(self) -> None:
        role = Settings("direct", "OH2", pbc="TFT").resolved(SpringModel())
        assert role.periodic is not None
        assert role.periodic.tolist() == [True, False, True]
        cell = np.array([[5.0, 1.0, 2.0], [0.0, 6.0, 1.0], [0.0, 0.0, 7.0]])
        seen = structure_from_ipi(cell, np.zeros((3, 3)), role.species, role.periodic)
        np.testing.assert_allclose(seen.cell * ANGSTROM, [[5.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 1.0, 7.0]])
        assert Settings("direct", "OH2").resolved(SpringModel()).periodic is None

    def test_a_left_handed_cell_is_refused(self) -> None:
        left, two_more = np.diag([5.0, 6.0, -7.0]), (np.zeros((3, 3)), np.array([8, 1, 1]))
        with pytest.raises(DarkforcesError, match=r"i-PI's cell is left-handed \(volume -31.1 Å³\)"):
            structure_from_ipi(left, *two_more)
        with pytest.raises(DarkforcesError, match="left-handed"):
            structure_from_ipi(np.array([[5.0, 1.0, 2.0], [0.0, -6.0, 1.0], [0.0, 0.0, 7.0]]), *two_more)
        # Not so what is inverted, or rotated and reflected, by <ffrotations>.
        right = np.array([[5.0, 1.0, 2.0], [0.0, 6.0, 1.0], [0.0, 0.0, 7.0]])
        rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
        for improper in (-np.eye(3), -np.linalg.det(rotation) * rotation):
            seen = structure_from_ipi(improper @ right, *two_more)
            np.testing.assert_allclose(seen.cell * ANGSTROM, (improper @ right).T)
        # What is not periodic has no volume.
        assert (
            structure_from_ipi(left, np.zeros((3, 3)), np.array([8, 1, 1]), np.array([True, True, False])).volume == 0
        )

    @pytest.mark.parametrize(
        ("kind", "expected"), [(Need.CONSERVATIVE, Component.CONSERVATIVE), (Need.DIRECT, Component.DIRECT)]
    )
    def test_component_that_nobody_named_is_what_the_model_has(self, kind: Need, expected: Component) -> None:
        model = SpringModel(provides=Need.ENERGY | Need.VIRIAL | kind)
        assert Settings(species="OH2").resolved(model).component is expected

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (Settings("quick", "OH2"), "component 'quick' is not known: expected one of conservative"),
            (Settings("", "OH2"), "component '' is not known"),
            (Settings("fast"), "which elements are these\\? i-PI sends positions only: put species: "),
            (Settings("fast", "Wt3"), "species 'Wt3' is not a formula"),
            (Settings("fast", template="no.xyz"), "template 'no.xyz' does not exist"),
            (Settings("fast", "OH2", pbc="TT"), "pbc 'TT' is not known: expected T or F for each cell vector, such as"),
            (Settings("fast", "NaCl"), "model 'pet-m' does not know Na, Cl; it knows H, O"),
        ],
    )
    def test_what_cannot_be_is_one_clear_line(
        self, settings: Settings, message: str, pet_m_float64: ForceModel
    ) -> None:
        with pytest.raises(DarkforcesError, match=message) as caught:
            settings.resolved(pet_m_float64)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("component", ["direct", "fast", "slow"])
    def test_component_that_the_model_cannot_serve(self, component: str) -> None:
        model = SpringModel(provides=Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL)
        message = (
            f"component '{component}' cannot be served: model 'springs' does not provide direct forces; it provides"
        )
        with pytest.raises(DarkforcesError, match=message):
            Settings(component, "OH2").resolved(model)


class TestRole:
    ROLE = Role(Component.FAST, np.array([8, 1, 1], np.int32))

    def test_accepts_its_own_number_of_atoms(self) -> None:
        self.ROLE.check_size(3)

    @pytest.mark.parametrize("n_atoms", [0, 2, 192])
    def test_refuses_another_number_of_atoms(self, n_atoms: int) -> None:
        with pytest.raises(DarkforcesError, match=f"i-PI sends {n_atoms} atoms but the template .* has 3"):
            self.ROLE.check_size(n_atoms)


class TestWhatIpiAdds:
    def test_is_ignored(self) -> None:
        assert Settings.from_ipi({"verbosity": "True", "component": "fast"}, "here") == Settings("fast")

    @pytest.mark.parametrize("key", ["verbosty", "Verbosity", "speces"])
    def test_is_not_what_users_misspell(self, key: str) -> None:
        with pytest.raises(DarkforcesError, match=f"'{key}' in here is not known"):
            Settings.from_ipi({key: "True", "verbosity": "True"}, "here")

    def test_is_not_for_the_command_line(self) -> None:
        with pytest.raises(DarkforcesError, match="'verbosity' in -o is not known"):
            Settings.parsed({"verbosity": "True"}, "-o")


def test_a_template_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DarkforcesError, match="pipe' is not a file$"):
        Settings(template="pipe").elements(tmp_path)
