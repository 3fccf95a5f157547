"""Is this force field fit for NVE? The protocol from Python, with a report.

Run: python examples/06_validate_nve.py
"""

import tempfile
from pathlib import Path

from mlff_md import StudentForceFieldCalculator, read_structure, validate_nve, write_report
from mlff_md.protocols.defects import with_defect

structures = Path(__file__).parent.parent / "inputs" / "structures"
ethanol = read_structure(structures / "ethanol.xyz")
student = StudentForceFieldCalculator("tiny")

report = validate_nve(ethanol, student, mode="quick")
print(f"{report.title}: {report.verdict}")
for check in report.checks:
    print(f"  {check.verdict:<12} {check.title}: {check.summary}")

with tempfile.TemporaryDirectory() as folder:
    paths = write_report(report, folder)
    print(f"report.html has {Path(paths.html).stat().st_size // 1000} kB and opens offline")

# The same student with forces 5 % too large, as after a mistake with units.
broken = validate_nve(ethanol, with_defect("force_unit", student), mode="quick")
failed = [check.id for check in broken.checks if check.verdict == "fail"]
print(f"with a known defect: {broken.verdict}; failed: {', '.join(failed)}")
