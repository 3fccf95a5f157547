"""Does MD with the student look like MD with its teacher?

Run: python examples/07_compare.py
"""

from pathlib import Path

from mlff_md import StudentForceFieldCalculator, compare, read_structure, teacher

structures = Path(__file__).parent.parent / "inputs" / "structures"
ethanol = read_structure(structures / "ethanol.xyz")

try:
    master = teacher("gfn2-xtb")
except ImportError as error:
    raise SystemExit(f"{error}; pip install 'mlff-md[teacher]'") from None

# A first look: few and short runs. More replicas narrow the intervals; see docs/comparing.md.
report = compare(
    ethanol,
    StudentForceFieldCalculator("tiny"),
    master,
    replicas=3,
    floor_replicas=2,
    steps=200,
    labels=10,
)
print(f"{report.title}: {report.verdict}")
for check in report.checks:
    print(f"  {check.verdict:<12} {check.title}: {check.summary}")
