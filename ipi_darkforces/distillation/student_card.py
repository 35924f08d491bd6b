"""The card of a student."""

from __future__ import annotations

from importlib import metadata

from ase.data import chemical_symbols

from ..models.model import ForceModel
from ..models.registry.card import Card
from ..models.registry.fingerprint import weights_of
from ..models.registry.specification import without_folders
from ..training.direct_pet import Shape
from .result import Distillation


def student_card(
    found: Distillation, student: ForceModel, identity: dict[str, str], shape: Shape, temperature: float
) -> Card:
    """Make the card.

    :param identity: of the teacher, as `ModelChoice` has it
    :param temperature: K, for which the student was trained
    """
    teacher = without_folders(identity["model"])
    symbols = tuple(chemical_symbols[z] for z in sorted(student.species or ()))
    heating = {
        f"heating_M_{each.stride}_meV_per_atom_per_ps": round(each.total.value, 4) for each in found.judgement.strides
    }
    return Card(
        description=f"direct forces, distilled from {teacher}: fast forces for multiple time stepping with it",
        architecture=f"PET (metatrain {metadata.version('metatrain')}), width {shape.width}, "
        f"{shape.layers} layer(s), cutoff {shape.cutoff:g} Å; direct forces only",
        data=f"{found.labels} geometries of {', '.join(symbols)} from dynamics at {temperature:g} K and above, "
        f"labelled by {teacher}",
        license="that of the teacher's forces",
        citation="that of the teacher",
        training=f"darkforces distill: {found.steps} steps",
        errors={"direct_minus_teacher_rms_meV_per_A": round(found.judgement.rms, 2), **heating},
        valid_range=f"as --fast with --slow {teacher}, for systems like those it was trained on, around "
        f"{temperature:g} K. Not alone: it has no energy, and its forces heat",
        provides=tuple(str(student.provides).split(", ")),
        elements=symbols,
        teacher=teacher,
        teacher_fingerprint=weights_of(identity["fingerprint"], identity.get("variant")),
    )
