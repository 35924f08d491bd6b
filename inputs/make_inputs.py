"""Writes the i-PI inputs in this folder, all from the template in ipi_darkforces/simulate/compose.py.

    python inputs/make_inputs.py [folder]

Change a recipe here, not an input; a test holds the two together.
"""

import argparse
import re
import textwrap
from pathlib import Path

import ase
import ase.io

from ipi_darkforces.models.structure import formula_from_species
from ipi_darkforces.simulate.compose import compose, write_start
from ipi_darkforces.simulate.hydrogen_mass import DEUTERIUM
from ipi_darkforces.simulate.recipe import PILE, Barostat, Recipe
from ipi_darkforces.simulate.structure_input import set_hydrogen_mass
from ipi_darkforces.split.component import Component

HERE = Path(__file__).parent
STARTS = {name: ase.io.read(HERE / f"{name}.xyz") for name in ("water", "water-16", "graphene", "aluminium", "carbon")}


def with_hydrogen_mass(atoms: ase.Atoms, mass: float, repartition: bool) -> ase.Atoms:
    copy = atoms.copy()
    set_hydrogen_mass(copy, mass, repartition)
    return copy


STARTS["water-16-hmr"] = with_hydrogen_mass(STARTS["water-16"], 3.0, repartition=True)
STARTS["water-16-d2o"] = with_hydrogen_mass(STARTS["water-16"], DEUTERIUM, repartition=False)
SMALL = "16 water molecules: few, to see within minutes what it does"
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


def constant_pressure() -> list[Recipe]:
    shows = (
        "NPT with {}: i-PI's isotropic barostat at 1 bar, and stochastic velocity\n"
        "rescaling. {}\n"
        "Volume, density and pressure are among the outputs: docs/ensembles.md."
    )
    common = {"start": "water-16", "atoms": SMALL, "ensemble": "svr", "tau": 100.0, "barostat": Barostat(1.0, 200.0)}
    return [
        recipe(
            "npt-conservative",
            shows.format("conservative forces", "The reference for npt-mts4.xml."),
            **common,
        ),
        recipe(
            "npt-mts4",
            shows.format(
                "multiple time stepping, M = 4",
                "The virial is that of the conservative forces; it acts with the slow ones, every 2 fs.",
            ),
            stride=4,
            **common,
        ),
    ]


def path_integrals() -> list[Recipe]:
    estimator = "kinetic_cv is the quantum kinetic energy, by the centroid virial estimator: docs/ensembles.md."
    common = {"start": "water-16", "atoms": SMALL, "ensemble": PILE, "tau": 100.0, "beads": 32}
    common |= {"thermalize": True, "duration": 1000.0}
    return [
        recipe(
            "pimd-mts2",
            "PIMD with 32 beads, a PILE-L thermostat, multiple time stepping, M = 2. Slow forces act on all beads,\n"
            "every 1 fs and not less often: the fastest modes of free ring polymers have a period of 2.5 fs.\n"
            + estimator,
            stride=2,
            **common,
        ),
        recipe(
            "pimd-mts4-contracted",
            "PIMD with 32 beads, a PILE-L thermostat, multiple time stepping, M = 4, and ring-polymer contraction:\n"
            "slow forces of 4 beads instead of 32, every 2 fs. They do not act on the fastest modes.\n" + estimator,
            stride=4,
            slow_beads=4,
            **common,
        ),
    ]


def masses() -> list[Recipe]:
    return [
        recipe(
            "hmr-mts4",
            "NVE with hydrogen mass repartitioning: hydrogen atoms of 3 u, which they have from their oxygen, fast\n"
            "forces every 1 fs, and slow ones every 4 fs. Averages of structure and thermodynamics are those of\n"
            "ordinary water, dynamics is not. i-PI has the masses from water-16-hmr.chk.",
            start="water-16-hmr",
            atoms=SMALL,
            ensemble="nve",
            stride=4,
            timestep=1.0,
        ),
        recipe(
            "d2o-mts8",
            "NVE of heavy water with multiple time stepping, M = 8: slow forces every 4 fs. Deuterium vibrates more\n"
            "slowly than hydrogen, which allows longer strides: compare with nve-mts8.xml. i-PI has the masses from\n"
            "water-16-d2o.chk; its labels stay H.",
            start="water-16-d2o",
            atoms=SMALL,
            ensemble="nve",
            stride=8,
        ),
    ]


TEMPERATURES = (300, 320, 341, 364)  # K, of replicas


def replica_exchange() -> Recipe:
    """The input of one replica; see `with_replicas`."""
    kelvins = ", ".join(map(str, TEMPERATURES[:-1]))
    return recipe(
        "remd-mts4",
        f"NVT replica exchange with multiple time stepping, M = 4: replicas at {kelvins} and {TEMPERATURES[-1]} K,\n"
        "which may exchange their temperatures every 20 fs, on average. One driver serves all, in one batch.\n"
        "remd-mts4.exchanges says, at each exchange, which of these temperatures each replica is at.",
        start="water-16",
        atoms=SMALL,
        ensemble="langevin",
        tau=100.0,
        stride=4,
        thermalize=True,
        duration=1000.0,
    )


def with_replicas(text: str) -> str:
    """The input of one replica as that of several at other temperatures."""
    system = re.search(r"  <system>\n.*</system>\n", text, re.DOTALL)[0]
    one = system.replace("<system>", "<system prefix='replica-INDEX'>").replace(" 300 ", " KELVIN ")
    instances = "\n".join(f"    <instance> [ {i}, {kelvin} ] </instance>" for i, kelvin in enumerate(TEMPERATURES))
    replicas = (
        "  <smotion mode='remd'>\n"
        "    <remd> <stride> 10 </stride> <swapfile> exchanges </swapfile> </remd>\n"
        "  </smotion>\n"
        "  <system_template>\n"
        "    <labels> [ INDEX, KELVIN ] </labels>\n"
        f"{instances}\n"
        "    <template>\n"
        f"{textwrap.indent(one, '    ')}"
        "    </template>\n"
        "  </system_template>\n"
    )
    return text.replace(system, replicas)


RECIPES = [*nve(), *langevin(), *svr(), *gle(), *materials(), *constant_pressure(), *path_integrals(), *masses()]


def main(folder: Path) -> None:
    for name, atoms in STARTS.items():
        write_start(atoms, folder / f"{name}.chk")
    for made in RECIPES:
        (folder / f"{made.name}.xml").write_text(compose(made))
    replica = replica_exchange()
    (folder / f"{replica.name}.xml").write_text(with_replicas(compose(replica)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=HERE, help="where they go (default: beside this file)")
    main(parser.parse_args().folder)
