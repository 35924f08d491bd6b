r"""
How far can the stride of multiple time stepping go?
====================================================

A model that predicts forces directly is two to three times as fast as one that takes
the gradient of an energy, and heats a simulation, as such forces are the gradient of
nothing (`Bigi, Langer and Ceriotti <https://arxiv.org/abs/2412.11569>`_). The recipe
`MD using direct-force predictions with PET-MAD
<https://atomistic-cookbook.org/examples/pet-mad-nc/pet-mad-nc.html>`_ shows the cure:
direct forces at every step, their difference to the conservative ones every :math:`M`
steps. It leaves open which :math:`M` to take. Too small, and nothing is saved; too
large, and the simulation heats nevertheless, too slowly for a short test to show.

Here that is predicted from one short run, with error bars, and then checked. It takes
some minutes on a CPU.

.. code-block:: bash

    pip install ipi-darkforces
"""

# sphinx_gallery_thumbnail_number = 1

# %%
import subprocess

import ase.io
import matplotlib.pyplot as plt
import numpy as np

import ipi_darkforces as dark

# %%
# A model with two kinds of forces
# --------------------------------
# `pet-m` is a small PET for liquid water that comes with the package. Any other with
# both kinds of forces will do: the path of a metatrain checkpoint, of an exported
# metatomic model, or ``upet:pet-mad-s``, if that version has direct forces, which
# ``darkforces models upet:pet-mad-s`` says.

atoms = ase.io.read("data/water-16.xyz")
model = dark.load_model("pet-m")
forces = model.evaluate(atoms)
difference = forces.conservative - forces.direct
print(f"{len(atoms)} atoms, forces differ by {1000 * np.sqrt(np.mean(difference**2)):.0f} meV/Å (rms)")

# %%
# Why it heats, and when
# ----------------------
# The correction :math:`\mathbf{f}_s = \mathbf{f}_C - \mathbf{f}_{NC}` comes as a kick
# every :math:`M \Delta t`. A regular train of kicks has power at multiples of its own
# frequency :math:`\omega_M = 2\pi / M \Delta t`, and heats what the correction contains
# there. To first order, the power that goes into the atoms is
#
# .. math::
#
#     P_M \propto \sum_{k \ge 1} S(k \omega_M)
#
# with the spectrum :math:`S` of the correction along an undisturbed trajectory. So a
# run under conservative forces in which both kinds of forces are known at every step
# tells about all strides at once, without running any.

prediction = dark.stride(model, atoms, time=1.0, longest=12)
strides = [each.stride for each in prediction.strides[1:]]
heating = np.array([each.total.value for each in prediction.strides[1:]])
margins = np.array([each.total.margin() for each in prediction.strides[1:]])

# %%
# Strides that bring the kicks near half a period of the stiffest vibration, or to an
# overtone, stand out: a larger stride can be better than a smaller one. Which is safe
# depends on model and system, not only on the time step.

figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
axis.errorbar(strides, heating, [np.minimum(margins, 0.9 * heating), margins], fmt="o-", color="#2a8a4a", capsize=2)
axis.set(xlabel="stride M", ylabel="predicted heating / (meV/atom/ps)", yscale="log")

# %%
# The longest stride up to which all are certain, at 95 %, to heat by less than 1 K/ps
# without a thermostat, and what it costs:

best = prediction.longest("nve", allowed=1.0)
cost = prediction.costs.relative(best.stride)
print(
    f"M = {best.stride}, {prediction.excess(best, 'nve').text('K/ps')}, {cost:.0%} of the cost of conservative forces"
)

# %%
# Check it
# --------
# The same model and structure through i-PI. The command writes the input for a
# structure; ``darkforces input mine.xml --mts 4`` gives the split to an input that you
# have.

subprocess.run(
    ["darkforces", "run", "--structure", "data/water-16.xyz", "--model", "pet-m", "--mts", str(best.stride)]
    + ["--time", "0.5", "--output", "mts"],
    check=True,
)
print(dark.analyze("mts", only="drift").drift)

# %%
# Half a ps is too short to know a drift that small, and the table says so by its error;
# that is why it is predicted. A run of tens of ps can contradict the prediction, and
# ``darkforces assess`` does all of this and runs what it takes to decide.
