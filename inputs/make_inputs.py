"""Writes the i-PI inputs in this folder, all from the template in ipi_darkforces/serve/compose.py.

    python inputs/make_inputs.py [folder]

Change a recipe here, not an input; a test holds the two together.
"""

import sys
from pathlib import Path

import ase.io

from ipi_darkforces.forces.split import Component
from ipi_darkforces.forces.structure import formula_from_species
from ipi_darkforces.serve.compose import Recipe, compose, write_start

HERE = Path(__file__).parent
WATER = ase.io.read(HERE / "water.xyz")
CONSERVATIVE, DIRECT = Component.CONSERVATIVE, Component.DIRECT

SERVED = """\
  64 water molecules. Start i-PI and the driver, in either order, in this folder:
      i-pi {name}.xml  &  i-pi-darkdriver -m pet-m
  or let one command do both, from anywhere:
      darkforces run inputs/{name}.xml -m pet-m"""


def recipe(name: str, shows: str, **values) -> Recipe:
    species = formula_from_species(WATER.numbers)
    comment = "  " + shows.strip().replace("\n", "\n  ") + "\n\n" + SERVED.format(name=name)
    return Recipe(name=name, species=species, start="water.chk", comment=comment, **values)


def nve() -> list[Recipe]:
    recipes = [
        recipe(
            "nve-conservative",
            "NVE with conservative forces, the reference: conserved quantity and temperature do not drift.",
            ensemble="nve",
        ),
        recipe(
            "nve-direct",
            "NVE with direct forces: they are no gradient of an energy, so that energy is not conserved and the water\n"
            "heats up, by how much depends on the model (paper, figure 2).",
            ensemble="nve",
            component=DIRECT,
        ),
    ]
    for stride in (2, 4, 8, 16):
        recipes.append(
            recipe(
                f"nve-mts{stride}",
                f"NVE with multiple time stepping, M = {stride}: direct forces every 0.5 fs, and every "
                f"{0.5 * stride:g} fs\n"
                "their difference to the conservative ones (paper, section 4.8 and figure 11). Energy is conserved\n"
                "as long as the two kinds of force agree well enough for the stride: with the bundled model up to\n"
                "M = 4, not beyond.",
                ensemble="nve",
                stride=stride,
            )
        )
    return recipes


def langevin() -> list[Recipe]:
    return [
        recipe(
            f"langevin{tau}-{component.value}",
            f"NVT with a white-noise Langevin thermostat, τ = {tau} fs, and {component.value} forces. A strong\n"
            "thermostat (10 fs) takes out the heat that direct forces bring in, but slows down diffusion; a weak one\n"
            "(1000 fs) lets the water run too hot (paper, tables 2 and 7, figure 3).",
            ensemble="langevin",
            component=component,
            tau=float(tau),
        )
        for tau in (10, 100, 1000)
        for component in (CONSERVATIVE, DIRECT)
    ]


def svr() -> list[Recipe]:
    shows = (
        "NVT with stochastic velocity rescaling, τ = 10 fs, and {} forces. It holds the total temperature,\n"
        "but with direct forces oxygen and hydrogen settle at different ones, against equipartition;\n"
        "with conservative forces or multiple time stepping they do not (paper, table 2): see temperature(O) and\n"
        "temperature(H)."
    )
    common = {"ensemble": "svr", "tau": 10.0}
    return [
        recipe("svr-conservative", shows.format("conservative"), **common),
        recipe("svr-direct", shows.format("direct"), component=DIRECT, **common),
        recipe("svr-mts8", shows.format("MTS-8"), stride=8, **common),
    ]


def gle() -> list[Recipe]:
    return [
        recipe(
            f"gle-{component.value}",
            f"NVT with a generalized Langevin (coloured noise) thermostat and {component.value} forces. Its friction,\n"
            "1/(10 fs), acts on vibrations and librations but spares motions slower than about 50 fs, and so\n"
            "diffusion. No cure: what direct forces feed into the slow motions stays there (paper, section 4.5).",
            ensemble="gle",
            component=component,
            tau=10.0,
        )
        for component in (CONSERVATIVE, DIRECT)
    ]


RECIPES = [*nve(), *langevin(), *svr(), *gle()]


def main(folder: Path) -> None:
    write_start(WATER, folder / "water.chk")
    for made in RECIPES:
        (folder / f"{made.name}.xml").write_text(compose(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
