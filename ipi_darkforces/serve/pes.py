"""The plugin that runs inside i-PI: `<ffdirect><pes>custom</pes>`, or `i-pi-driver-py -m custom -P`.

All blocks of one simulation that name the same model share one copy of it and one evaluation per geometry. This file is
loaded by i-PI once per block, under a name of i-PI's choosing, so what is shared lives in the module it imports.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from ipi.pes.dummy import Dummy_driver
from ipi.utils.softexit import softexit

from ipi_darkforces.errors import ERROR, DarkforcesError
from ipi_darkforces.models.registry.kinds import specified
from ipi_darkforces.models.registry.options import Loading
from ipi_darkforces.models.registry.specification import chosen, with_options
from ipi_darkforces.serve.settings import Role, Settings
from ipi_darkforces.serve.units import reply_to_ipi, structure_from_ipi
from ipi_darkforces.split.component import ComponentForces
from ipi_darkforces.split.monitor import TOO_FAR, Watch, checked_limit
from ipi_darkforces.split.shared import shared_split
from ipi_darkforces.split.split import Request, Split

__DRIVER_NAME__ = "darkforces"
__DRIVER_CLASS__ = "DarkforcesDriver"


class DarkforcesDriver(Dummy_driver):
    """Conservative, direct, fast or slow forces of one model.

    Command line:
        i-pi-driver-py -m custom -P drivers/darkforces.py -o model=pet-m,template=water.xyz,component=fast

    :param model: a name (pet-m, pet-c, pet-nc), the path of an exported metatomic model (.pt), or what makes an ase
        calculator (ase:package.module:factory), whose arguments are further parameters
    :param fast: instead of model: the one of the fast forces
    :param slow: and the one of the slow forces
    :param component: conservative, direct, fast or slow; default: conservative if the model can
    :param species: the elements in the order of the atoms: O64H128 or (OH2)64
    :param template: a structure file to take the elements from, instead of species
    :param pbc: along which cell vectors the atoms are periodic, TTF for a slab; default: all that are not zero
    :param device: cpu, cuda or cuda:1; cuda:0;cuda:1 share batches of beads
    :param dtype: float32 or float64; default: that of the model
    :param variant: which head to use of a model that has several
    :param backend: metatomic for the exported model even where there is a faster way
    :param energy_ensemble: whether i-PI gets the energies of the model's ensemble, as ``committee_pot`` in its extras
    :param uncertainty_threshold: eV; then i-PI gets the uncertainties of atoms, as ``energy_uncertainty``, and there is
        a warning when one is larger
    :param warn_above: eV/Å, say so when slow forces on an atom are larger
    :param goes_on: whether the simulation was begun before; then nothing that the forces are found to be ends it
    """

    def __init__(
        self,
        model: str | None = None,
        *args: Any,
        fast: str | None = None,
        slow: str | None = None,
        device: str = "cpu",
        dtype: str | None = None,
        variant: str | None = None,
        backend: str = "auto",
        warn_above: float | str = TOO_FAR,
        goes_on: bool | str = False,
        verbosity: Any = None,  # given by i-PI
        verbose: bool = False,
        **settings: Any,
    ):
        if args:
            raise SystemExit(f"{ERROR}'{args[0]}' has no name: expected key=value")
        try:
            self._watch = Watch("darkforces", checked_limit(warn_above, "warn_above"))
            loading = Loading(device=device, dtype=dtype, variant=variant, backend=backend)
            self.split, self.role = split_and_role(chosen(model, fast, slow), loading, goes_on, settings)
        except DarkforcesError as error:
            raise SystemExit(f"{ERROR}{error}") from error
        self._stream = self.split.open_stream()
        self._next: list[tuple[np.ndarray, np.ndarray, ComponentForces]] = []
        super().__init__(verbose)

    def compute(self, cell: Any, pos: Any) -> Any:
        """Evaluate one structure, or a list of them as one batch.

        :param cell: bohr, cell vectors as columns, shape (3, 3); or a list of them
        :param pos: bohr, shape (n_atoms, 3); or a list of them
        :return: energy, forces (n_atoms, 3), virial (3, 3), extras, in atomic units; or a list of these
        """
        batched = isinstance(cell, list)
        cells, positions = (cell, pos) if batched else ([cell], [pos])
        geometries = list(zip(cells, positions, strict=True))
        answers = [answer for geometry in geometries if (answer := self._expected(*geometry)) is not None]
        if len(answers) < len(geometries):
            with one_line_errors():
                answers = self.split.serve([self._request(*geometry) for geometry in geometries])
        for answer in answers:
            self.role.watch(self._watch, answer)
        replies = [reply_to_ipi(answer) for answer in answers]
        results = [(r.energy, r.forces, r.virial, r.extras) for r in replies]
        return results if batched else results[0]

    def goes_with(self, other: DarkforcesDriver) -> bool:
        """Tell whether one evaluation can answer both: they share the model, and have the same atoms."""
        mine, its = ((each.role.species.tolist(), np.array(each.role.periodic).tolist()) for each in (self, other))
        return self.split is other.split and mine == its

    def expect(self, cells: np.ndarray, positions: np.ndarray, answers: Sequence[ComponentForces]) -> None:
        """Be given the answers for geometries that i-PI asks for next, in place of those that it had before.

        :param cells: bohr, cell vectors as columns, shape (n_geometries, 3, 3)
        :param positions: bohr, shape (n_geometries, n_atoms, 3); are not changed
        """
        self._next = list(zip(cells, positions, answers, strict=True))

    def _expected(self, cell: np.ndarray, positions: np.ndarray) -> ComponentForces | None:
        for known, others, answer in self._next:
            if np.array_equal(others, positions) and np.array_equal(known, cell):
                return answer
        return None

    def _request(self, cell: np.ndarray, positions: np.ndarray) -> Request:
        self.role.check_size(len(positions))
        structure = structure_from_ipi(cell, positions.reshape(-1, 3), self.role.species, self.role.periodic)
        return Request(structure, self.role.component, self._stream, self.role.extras)


def split_and_role(name: str, loading: Loading, goes_on: bool | str, settings: dict[str, Any]) -> tuple[Split, Role]:
    """The model of a forcefield, loaded once in a process, and what it is asked for.

    :param name: of the model, see `chosen`
    :param loading: how it is loaded
    :param goes_on: see `DarkforcesDriver`
    :param settings: its other parameters, of which some may belong to the model
    :raises DarkforcesError: if it cannot be loaded, or cannot do it
    """
    found, options = Settings.separated(settings, specified(name).takes, "the parameters of the forcefield")
    split = shared_split(with_options(name, options), loading)
    for each in split.model.models:
        each.goes_on = str(goes_on) == str(True)
    return split, found.resolved(split.model)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End i-PI with an error in one line; no forces are sent."""
    try:
        yield
    except DarkforcesError as error:
        print(f"{ERROR}{error}", file=sys.stderr, flush=True)
        if softexit.flist:  # inside i-PI: it goes back to its last good state, writes its RESTART and leaves
            softexit.trigger(status="bad", message=f"darkforces: {error}")
        raise SystemExit(1) from error  # inside i-pi-driver-py
