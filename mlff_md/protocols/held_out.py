"""The error that a student's manifest gives for molecules that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# How far the temperature of a held-out set may be from that of the runs to stand for them.
_SAME_TEMPERATURE = 0.2


def held_out_error(model: Any, teacher: Any, temperature_K: float) -> dict[str, Any] | None:
    """Return the force error that a student's manifest gives for held-out molecules.

    ``None`` for a model without one, or one that was distilled from another teacher. Of the
    temperatures in the manifest the one within 20 % of the runs' is taken, else the whole set.
    """
    from mlff_md.teachers import teacher_name

    manifest = getattr(getattr(model, "student", None), "manifest", None)
    if manifest is None or getattr(teacher, "teacher_spec", None) is None:
        return None
    names = [str(x["name"]).partition("?")[0] for x in (manifest.teacher, teacher_name(teacher))]
    section = manifest.accuracy.get("test")
    if names[0] != names[1] or not isinstance(section, Mapping):
        return None
    rows = section if "all" in section else {"all": section}
    part = "all"
    for name in rows:
        number = name.removesuffix(" K")
        is_temperature = name.endswith(" K") and number.replace(".", "", 1).isdigit()
        if is_temperature and abs(float(number) / temperature_K - 1.0) <= _SAME_TEMPERATURE:
            part = name
    mae = rows[part].get("mae_eV_per_A") if isinstance(rows[part], Mapping) else None
    if not isinstance(mae, float) or not mae > 0.0:
        return None
    return {"mae_eV_per_A": mae, "part": part, "student": manifest.name}
