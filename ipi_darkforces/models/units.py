"""The units in which other programs give energies and forces; ours are eV and Å."""

from __future__ import annotations

from ase import units

ENERGY_UNITS = {
    "eV": units.eV,
    "meV": 1e-3 * units.eV,
    "hartree": units.Hartree,
    "rydberg": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
}  # name -> eV

FORCE_UNITS = {
    "eV/Angstrom": units.eV / units.Angstrom,
    "meV/Angstrom": 1e-3 * units.eV / units.Angstrom,
    "eV/bohr": units.eV / units.Bohr,
    "hartree/bohr": units.Hartree / units.Bohr,
    "rydberg/bohr": units.Rydberg / units.Bohr,
    "kcal/mol/Angstrom": units.kcal / units.mol / units.Angstrom,
    "kJ/mol/Angstrom": units.kJ / units.mol / units.Angstrom,
}  # name -> eV/Å
