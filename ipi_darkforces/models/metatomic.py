"""Any exported metatomic model (.pt) as a `ForceModel`.

A metatomic model declares its outputs by name. Energies are ``energy``; directly predicted forces are
``non_conservative_force`` (older models: ``non_conservative_forces``), directly predicted stresses
``non_conservative_stress``; a model with several heads calls them ``energy/pbe`` and so on, its variants.
Conservative forces and virials are derivatives of the energy.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import metatomic.torch as mta
import numpy as np
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap

from ..errors import DarkforcesError, one_line
from .autograd import AutogradJacobian, to_numpy, without_net_force
from .jacobian import Jacobian
from .metatomic_neighbors import NeighborList, wrap
from .model import ForceModel, Need
from .result import Forces
from .structure import Structure

DTYPES = {"float32": torch.float32, "float64": torch.float64}
_FORCE_OUTPUTS = ("non_conservative_force", "non_conservative_forces")
_STRESS_OUTPUT = "non_conservative_stress"
# Of the energy, which may be that of a variant; the second name is metatrain's.
_UNCERTAINTY_OUTPUTS = ("energy_uncertainty{suffix}", "mtt::aux::energy{suffix}_uncertainty")
_ENSEMBLE_OUTPUTS = ("energy_ensemble{suffix}", "mtt::aux::energy{suffix}_ensemble")
_INPUTS = ("charge", "spin_multiplicity")  # that some models ask for; metatomic's names, and a structure's
_UNKNOWN_CODE = ("Unknown builtin op", "Unknown type name '__torch__.torch.classes")  # TorchScript's words
log = logging.getLogger(__name__)
# One array for each structure; None where it was not asked for.
_Arrays = Sequence[np.ndarray | None]


@dataclass(frozen=True)
class OutputNames:
    """Names of the outputs that are used; None for those that the model does not have."""

    energy: str
    direct: str | None
    stress: str | None
    uncertainty: str | None
    ensemble: str | None

    @property
    def provides(self) -> Need:
        """Outputs of a model with these names, beside its energy and what is derived from that."""
        of_outputs = {
            Need.DIRECT: self.direct,
            Need.UNCERTAINTY: self.uncertainty,
            Need.ENSEMBLE: self.ensemble,
        }
        provides = Need(0)
        for need, output in of_outputs.items():
            provides |= Need(0) if output is None else need
        return provides


class MetatomicModel(ForceModel):
    """An exported metatomic model.

    :param path: the exported model, a ``.pt`` file
    :param name: what the user calls it; default: its path
    :param device: ``cpu``, ``cuda`` or ``cuda:1``
    :param dtype: ``float32`` or ``float64``; default: the precision in which the model was exported
    :param variant: which of the model's variants to use, ``pbe`` for ``energy/pbe``; default: the one without a
        suffix, or the only one there is
    :param withhold: what the model shall not provide although it could
    :param remove_net_force: see `ForceModel`
    :param extensions_directory: where compiled code lies that was exported with the model, if it needs any
    :raises DarkforcesError: if the file is no metatomic model, has no energy, the variant does not exist, the device is
        absent or the dtype unknown
    """

    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        device: str = "cpu",
        dtype: str | None = None,
        variant: str | None = None,
        withhold: Need = Need(0),
        remove_net_force: bool = True,
        extensions_directory: str | Path | None = None,
    ):
        if dtype is not None and dtype not in DTYPES:
            raise DarkforcesError(f"dtype '{dtype}' is not known: expected {' or '.join(DTYPES)}")
        name = name or str(path)
        model = _read(path, extensions_directory)
        self._outputs = pick_outputs(name, model.capabilities().outputs, variant)
        self._device = pick_device(name, device, model.capabilities().supported_devices)
        dtype = dtype or model.capabilities().dtype
        self._dtype = DTYPES[dtype]
        if dtype != model.capabilities().dtype:
            model = _in_precision(model, dtype)
        self._model = model.to(self._device)
        self._neighbor_lists = [NeighborList(o, self._device) for o in self._model.requested_neighbor_lists()]
        self._inputs = [each for each in _INPUTS if each in self._model.requested_inputs(use_new_names=True)]

        provides = Need.ENERGY | Need.CONSERVATIVE | Need.VIRIAL | self._outputs.provides
        species = frozenset(self._model.capabilities().atomic_types)
        super().__init__(name, provides & ~withhold, species, remove_net_force)

    @property
    def is_pet(self) -> bool:
        """Tell whether it is metatrain's PET, perhaps with uncertainties around it."""
        module = self._model.module
        return any(getattr(each, "original_name", "") == "PET" for each in (module, getattr(module, "model", None)))

    @property
    def provides_direct_virial(self) -> bool:
        """Tell whether the model predicts a stress."""
        return self._outputs.stress is not None

    def _evaluate(self, structures: Sequence[Structure], need: Need) -> list[Forces]:
        systems, leaves = zip(*(self._system(s, Need.CONSERVATIVE in need) for s in structures), strict=True)
        with torch.set_grad_enabled(Need.CONSERVATIVE in need):
            outputs = self._predict(systems, need)
        energies = outputs[self._outputs.energy].block().values

        conservative = virials = direct = direct_virials = uncertainties = ensembles = _nothing(structures)
        if Need.CONSERVATIVE in need:
            conservative, virials = _derivatives(energies, leaves)
        if Need.DIRECT in need:
            direct, direct_virials = self._predictions(outputs, structures, need)
        if Need.UNCERTAINTY in need:
            assert self._outputs.uncertainty is not None
            uncertainties = _split(to_numpy(outputs[self._outputs.uncertainty].block().values).reshape(-1), structures)
        if Need.ENSEMBLE in need:
            assert self._outputs.ensemble is not None
            if Need.UNCERTAINTY in need:  # metatrain has one of both right at a time: of a system, or of its atoms
                with torch.no_grad():
                    outputs = self._predict(systems, Need.ENSEMBLE)
            ensembles = list(to_numpy(outputs[self._outputs.ensemble].block().values).reshape(len(structures), -1))
        nothing = _nothing(structures)
        return [
            Forces(*values)
            for values in zip(
                to_numpy(energies).reshape(-1).tolist(),
                *(conservative, direct, virials, direct_virials, nothing, uncertainties, ensembles),
                strict=True,
            )
        ]

    @property
    def epsilon(self) -> float:
        """Relative rounding error of the model's precision."""
        return torch.finfo(self._dtype).eps

    def jacobian(self, structure: Structure, kind: Need) -> Jacobian:
        """The Jacobian of the forces, by automatic differentiation where the model allows it."""
        self.check_request([structure], kind)
        system, (positions, _) = self._system(structure, differentiable=True)
        outputs = self._predict([system], kind)
        try:
            jacobian = AutogradJacobian(self._differentiable_forces(outputs, structure, kind, positions), positions)
            jacobian.transposed_times(np.zeros((len(structure.positions), 3)))
        except RuntimeError as error:
            log.warning(
                "the %s of model '%s' have no derivatives (%s): finite differences instead",
                kind,
                self.name,
                one_line(error)[:120],
            )
            return super().jacobian(structure, kind)
        return jacobian

    def _differentiable_forces(
        self, outputs: dict[str, TensorMap], structure: Structure, kind: Need, positions: torch.Tensor
    ) -> torch.Tensor:
        """Forces as they are served, with a graph that leads to the positions, shape (n_atoms, 3)."""
        if kind is Need.CONSERVATIVE:
            energy = outputs[self._outputs.energy].block().values.sum()
            energy = energy + 0.0 * positions.sum()  # a constant energy has no graph, and yet a gradient: zero
            return -torch.autograd.grad(energy, positions, create_graph=True)[0]
        assert self._outputs.direct is not None
        forces = outputs[self._outputs.direct].block().values.reshape(-1, 3)
        if self.remove_net_force:
            return without_net_force(forces, positions, bool(structure.periodic.any()))
        return forces

    def _predict(self, systems: Sequence[mta.System], need: Need) -> dict[str, TensorMap]:
        options = mta.ModelEvaluationOptions(length_unit="angstrom", outputs=self._requested(need))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # output names: both spellings are fine with us
            return self._model(list(systems), options, check_consistency=False)

    def _predictions(
        self, outputs: dict[str, TensorMap], structures: Sequence[Structure], need: Need
    ) -> tuple[_Arrays, _Arrays]:
        """Forces and virials that the model predicts directly, for each structure."""
        assert self._outputs.direct is not None
        values = to_numpy(outputs[self._outputs.direct].block().values).reshape(-1, 3)
        forces = _split(values, structures)
        if self._outputs.stress is None or Need.VIRIAL not in need:
            return forces, _nothing(structures)
        stresses = to_numpy(outputs[self._outputs.stress].block().values).reshape(-1, 3, 3)
        # Without a volume there is no stress, and models predict NaN.
        virials = [
            -s.volume * symmetric(stress) if s.volume else np.zeros((3, 3))
            for s, stress in zip(structures, stresses, strict=True)
        ]
        return forces, virials

    def _requested(self, need: Need) -> dict[str, mta.ModelOutput]:
        outputs = {self._outputs.energy: mta.ModelOutput(unit="eV", sample_kind="system")}
        if Need.DIRECT in need:
            assert self._outputs.direct is not None
            outputs[self._outputs.direct] = mta.ModelOutput(unit="eV/Angstrom", sample_kind="atom")
            if self._outputs.stress is not None and Need.VIRIAL in need:
                outputs[self._outputs.stress] = mta.ModelOutput(unit="eV/Angstrom^3", sample_kind="system")
        if Need.UNCERTAINTY in need:
            assert self._outputs.uncertainty is not None
            outputs[self._outputs.uncertainty] = mta.ModelOutput(unit="eV", sample_kind="atom")
        elif Need.ENSEMBLE in need:
            assert self._outputs.ensemble is not None
            outputs[self._outputs.ensemble] = mta.ModelOutput(unit="eV", sample_kind="system")
        return outputs

    def _system(
        self, structure: Structure, differentiable: bool
    ) -> tuple[mta.System, tuple[torch.Tensor, torch.Tensor]]:
        """The model's view of a structure, and what its energy is differentiated by: positions and strain."""
        periodic = torch.from_numpy(structure.periodic).to(self._device)
        exact_cell = torch.from_numpy(structure.cell).to(self._device)
        exact = wrap(torch.from_numpy(structure.positions).to(self._device), exact_cell, periodic)

        leaf = exact.to(self._dtype, copy=True).requires_grad_(differentiable)
        strain = torch.eye(3, dtype=self._dtype, device=self._device, requires_grad=differentiable)
        cell = exact_cell.to(self._dtype)
        positions = leaf
        if differentiable:
            positions, cell = leaf @ strain, cell @ strain
        types = torch.from_numpy(structure.species).to(self._device)
        system = mta.System(types, positions, cell, periodic)
        for neighbor_list in self._neighbor_lists:
            neighbor_list.attach(system, exact, exact_cell)
        for name in self._inputs:
            value = torch.tensor([[getattr(structure, name)]], dtype=self._dtype, device=self._device)
            system.add_data(name, _of_system(name, value))
        return system, (leaf, strain)


def _of_system(name: str, value: torch.Tensor) -> TensorMap:
    """A number that belongs to all of a system, shape (1, 1), as metatomic has it."""

    def one(label: str) -> Labels:
        return Labels([label], torch.zeros((1, 1), dtype=torch.int32, device=value.device))

    return TensorMap(one("_"), [TensorBlock(value, one("system"), [], one(name))])


def _read(path: str | Path, extensions_directory: str | Path | None = None) -> mta.AtomisticModel:
    if not os.path.isfile(path):  # unlike pathlib, says no to what cannot be a path at all
        raise DarkforcesError(f"model file '{path}' does not exist")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = None if extensions_directory is None else str(extensions_directory)
            return mta.load_atomistic_model(str(path), extensions_directory=directory)
    except Exception as error:  # torch raises many kinds, with many lines
        if any(each in str(error) for each in _UNKNOWN_CODE):
            raise DarkforcesError(
                f"'{path}' needs compiled code that is not found: expected -o extensions_directory=DIR, what "
                f"was exported with it ({one_line(error)})"
            ) from error
        raise DarkforcesError(f"'{path}' is not an exported metatomic model (.pt)") from error


def pick_outputs(name: str, available: dict[str, mta.ModelOutput], variant: str | None) -> OutputNames:
    """Pick the outputs of a model that are used.

    :param variant: see `MetatomicModel`
    :raises DarkforcesError: if there is no energy, no such variant, or several and none was chosen
    """
    variants = {key.partition("/")[2] for key in available if key.partition("/")[0] == "energy"}
    if not variants:
        raise DarkforcesError(f"model '{name}' has no energy output; it has: {', '.join(sorted(available))}")
    if variant is None:
        variant = "" if "" in variants else next(iter(variants)) if len(variants) == 1 else None
    if variant not in variants:
        named = ", ".join(sorted(v or "the one without a name" for v in variants))
        given = "several energy variants" if variant is None else f"no energy variant '{variant}'"
        raise DarkforcesError(f"model '{name}' has {given}; choose one with --variant: {named}")
    suffix = f"/{variant}" if variant else ""

    def first(*names: str) -> str | None:
        return next((each for each in names if each in available), None)

    return OutputNames(
        "energy" + suffix,
        direct=first(*(each + suffix for each in _FORCE_OUTPUTS)),
        stress=first(_STRESS_OUTPUT + suffix),
        uncertainty=first(*(each.format(suffix=suffix) for each in _UNCERTAINTY_OUTPUTS)),
        ensemble=first(*(each.format(suffix=suffix) for each in _ENSEMBLE_OUTPUTS)),
    )


def pick_device(name: str, device: str, supported: Sequence[str]) -> torch.device:
    """The device that is called so.

    :param supported: kinds of devices on which the model runs
    :raises DarkforcesError: if it is no device, is absent, or not supported
    """
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DarkforcesError(f"device '{device}' is not a device: expected cpu, cuda or cuda:1") from error
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DarkforcesError(f"device '{device}' was asked for but PyTorch finds no CUDA device; use --device cpu")
        if (chosen.index or 0) >= count:
            raise DarkforcesError(f"device '{device}' was asked for but PyTorch finds only {count} CUDA device(s)")
    if chosen.type not in supported:
        raise DarkforcesError(f"model '{name}' does not run on '{chosen.type}'; it runs on {', '.join(supported)}")
    return chosen


def _in_precision(model: mta.AtomisticModel, dtype: str) -> mta.AtomisticModel:
    """A copy of a model, with its weights cast to another precision."""
    known = model.capabilities()
    capabilities = mta.ModelCapabilities(
        outputs=known.outputs,
        atomic_types=known.atomic_types,
        interaction_range=known.interaction_range,
        length_unit=known.length_unit,
        supported_devices=known.supported_devices,
        dtype=dtype,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The whole of the model, not the module inside it, which need not know any more which neighbours it wants.
        return mta.AtomisticModel(model.to(DTYPES[dtype]).eval(), model.metadata(), capabilities)


def _derivatives(
    energies: torch.Tensor, leaves: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> tuple[_Arrays, _Arrays]:
    """Forces and virials, for each structure; `leaves` are its positions and strain.

    One backward pass for all: the energies of a batch are independent, so their sum has their gradients.
    """
    positions, strains = zip(*leaves, strict=True)
    if not energies.requires_grad:  # no position enters: constants, or atoms without neighbours
        return [np.zeros(p.shape) for p in positions], [np.zeros((3, 3))] * len(strains)
    gradients = torch.autograd.grad(-energies.sum(), [*positions, *strains], allow_unused=True, materialize_grads=True)
    n = len(leaves)
    return [to_numpy(g) for g in gradients[:n]], [symmetric(to_numpy(g)) for g in gradients[n:]]


def _nothing(structures: Sequence[Structure]) -> _Arrays:
    return [None] * len(structures)


def _split(values: np.ndarray, structures: Sequence[Structure]) -> list[np.ndarray]:
    """Values of atoms, by structure."""
    return np.split(values, np.cumsum([len(s.positions) for s in structures])[:-1])


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """The symmetric part."""
    return 0.5 * (matrix + matrix.T)
