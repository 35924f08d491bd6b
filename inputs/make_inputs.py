"""Writes the i-PI inputs in this folder, all from the template in ipi_darkforces/simulate/compose.py.

    python inputs/make_inputs.py [folder]

Change a recipe here, not an input; a test holds the two together.
"""

import argparse
from pathlib import Path

import ase.io

from ipi_darkforces.models.structure import formula_from_species
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.recipe import Recipe
from ipi_darkforces.split.split import Component

HERE = Path(__file__).parent
STARTS = {name: ase.io.read(HERE / f"{name}.xyz") for name in ("water", "graphene", "aluminium", "carbon")}
CONSERVATIVE, DIRECT = Component.CONSERVATIVE, Component.DIRECT

SERVED = """\
  {atoms}. Start i-PI and the driver, in either order, in this folder:
      i-pi {name}.xml  &  i-pi-darkdriver -m {model}
  or let one command do both, from anywhere:
      darkforces run inputs/{name}.xml -m {model}"""


def recipe(
    name: str, shows: str, start: str = "water", atoms: str = "64 water molecules", model: str = "pet-m", **values
) -> Recipe:
    species = formula_from_species(STARTS[start].numbers)
    served = SERVED.format(name=name, atoms=atoms, model=model)
    comment = "  " + shows.strip().replace("\n", "\n  ") + "\n\n" + served
    return Recipe(name=name, species=species, start=f"{start}.chk", comment=comment, **values)


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
                "M = 4; beyond, see docs/stride.md.",
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


def materials() -> list[Recipe]:
    """Figure 7 of the paper."""
    atoms = {
        "graphene": "32 atoms of graphene",
        "carbon": "32 atoms of amorphous carbon",
        "aluminium": "32 atoms of FCC aluminium",
    }
    return [
        recipe(
            f"nve-{name}-{component.value}",
            f"NVE with {component.value} forces of a general-purpose model, in steps of {timestep:g} fs (paper, "
            f"figure 7):\n{shows}",
            start=name,
            atoms=atoms[name],
            model=model,
            ensemble="nve",
            component=component,
            timestep=timestep,
        )
        for name, timestep in (("graphene", 1.0), ("carbon", 1.0), ("aluminium", 2.0))
        for component, model, shows in (
            (CONSERVATIVE, "sevennet-0", "temperature and conserved quantity do not drift. Likewise with mace-mp-0."),
            (DIRECT, "orb-v2", "the material heats up or explodes. Likewise with equiformer-v2."),
        )
    ]


RECIPES = [*nve(), *langevin(), *svr(), *gle(), *materials()]


def main(folder: Path) -> None:
    for name, atoms in STARTS.items():
        write_start(atoms, folder / f"{name}.chk")
    for made in RECIPES:
        (folder / f"{made.name}.xml").write_text(compose(made))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=HERE, help="where they go (default: beside this file)")
    main(parser.parse_args().folder)
