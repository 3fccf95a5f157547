"""What goes wrong most often, and what is then said: the table behind ``docs/bad-input.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A mistake.

    Attributes
    ----------
    mistake
        What it is, in words.
    command
        What was typed behind ``mlff-md``.
    says
        The error, without ``mlff-md COMMAND: error:``; ``...`` stands for what differs from
        machine to machine.
    needs
        A Python package without which something else would be said.
    how
        Where ``command`` runs: ``here``; ``full disk``, ``small memory`` or ``read-only``
        places; a process that is ``interrupted`` or ``terminated``; or in ``LAMMPS``.
    code
        Exit code.
    leaves
        Patterns of files that may stay behind: what was finished before.
    """

    mistake: str
    command: str
    says: str
    needs: str | None = None
    how: str = "here"
    code: int = 3
    leaves: tuple[str, ...] = ()


EVERYWHERE: Sequence[Case] = (
    Case(
        "a command that does not exist",
        "validate-nev ethanol.xyz",
        "no command 'validate-nev'; did you mean validate-nve?",
    ),
    Case(
        "an option that does not exist",
        "md ethanol.xyz --stepps 5",
        "no option --stepps; did you mean --steps? (see mlff-md md --help)",
    ),
    Case(
        "words where a number belongs",
        "md ethanol.xyz --steps many",
        "--steps is not a whole number: 'many' (see mlff-md md --help)",
    ),
    Case(
        "an argument that is missing",
        "validate-nve",
        "structure is missing (see mlff-md validate-nve --help)",
    ),
    Case(
        "no number where one belongs",
        "md ethanol.xyz --temperature-K nan",
        "--temperature-K is not a number: 'nan' (see mlff-md md --help)",
    ),
    Case(
        "a number with its unit",
        "md ethanol.xyz --temperature-K 300K",
        "--temperature-K is not a number: '300K' (see mlff-md md --help)",
    ),
    Case(
        "half a step",
        "md ethanol.xyz --steps 1.5",
        "--steps is not a whole number: '1.5' (see mlff-md md --help)",
    ),
    Case(
        "an option without its value",
        "md ethanol.xyz --steps",
        "argument --steps: expected one argument (see mlff-md md --help)",
    ),
)
STRUCTURES: Sequence[Case] = (
    Case(
        "no such file",
        "md ethanl.xyz",
        "there is no structure file ethanl.xyz; did you mean ethanol.xyz?",
    ),
    Case("a folder", "md used", "used is not a file; give the path of a structure file"),
    Case("an empty file", "md empty.xyz", "empty.xyz is empty"),
    Case("no atoms", "md none.xyz", "none.xyz: the structure has no atoms"),
    Case("cut short", "md damaged.xyz", "damaged.xyz is damaged or no readable extxyz file (...)"),
    Case(
        "not a structure", "md noise.xyz", "noise.xyz is damaged or no readable extxyz file (...)"
    ),
    Case("of no known format", "md notes.txt", "notes.txt is in no format that ASE can read (txt)"),
    Case(
        "a file that could run code",
        "md structure.pkl",
        "structure.pkl is not opened: reading a file of this kind could run code from it; convert it to .extxyz where it comes from",
    ),
    Case(
        "a position that is not a number",
        "md nan.xyz",
        "nan.xyz: the position of atom 1 is not finite ([0.0, nan, 0.0]); the structure is damaged or the simulation has blown up",
    ),
    Case(
        "an atom twice",
        "md overlap.xyz",
        "overlap.xyz: atoms 0 (C) and 2 (C) are 0.000 Å apart; remove the duplicate or mend the structure",
    ),
    Case(
        "an element that the student does not know",
        "md gold.xyz",
        "the student does not know Au; it knows H C N O F P S Cl",
    ),
    Case(
        "a periodic cell without volume",
        "md flat.extxyz",
        "flat.extxyz: the structure is periodic along abc but its cell [[10.0, 0.0, 0.0], [0.0, 10.0, 0.0], [0.0, 0.0, 0.0]] has no volume there; set a cell, or pbc=False for a molecule",
    ),
    Case(
        "a box too thin for its atoms",
        "md thin.extxyz",
        "thin.extxyz: the structure is periodic along abc but its cell [[5.43, 0.0, 0.0], [0.0, 5.43, 0.0], [0.0, 0.0, 0.01]] has no volume there; set a cell, or pbc=False for a molecule",
    ),
    Case(
        "nanometres instead of Å",
        "md nanometres.xyz",
        "nanometres.xyz: every atom is within 0.3 Å of another, closer than any bond; positions are read as Å: is the file in nanometres?",
    ),
    Case(
        "one atom, which cannot move",
        "validate-nve argon.xyz --model emt",
        "the NVE protocol needs at least two atoms: one alone does not move",
    ),
    Case(
        "temperatures in the wrong order",
        "validate-nvt ethanol.xyz --second-temperature-K 200",
        "second_temperature_K must be above temperature_K, got 200.0 and 300.0",
    ),
    Case(
        "one atom",
        "compare argon.xyz --model emt --teacher emt",
        "a comparison needs at least two atoms: one alone does not move",
    ),
    Case(
        "too many atoms for the memory",
        "md large.extxyz",
        "5,184 atoms need about ... with the engine ... (... an atom), and ... MB are free: at most about ... atoms of this density fit; take ...a smaller structure, or LAMMPS on several machines",
        how="small memory",
    ),
)
STUDENTS: Sequence[Case] = (
    Case(
        "a name with a typo",
        "md ethanol.xyz --model tinny",
        "no student, student file or teacher is called 'tinny'; did you mean tiny?",
    ),
    Case(
        "a teacher with a typo",
        "md ethanol.xyz --model gfn2-xtbb",
        "no student, student file or teacher is called 'gfn2-xtbb'; did you mean gfn2-xtb or gfn1-xtb?",
    ),
    Case(
        "no such file",
        "models show absent.safetensors",
        "there is no student file absent.safetensors; shipped students: original, tiny, ultra-tiny, si-sw, gfn2-original-v1, gfn2-tiny-v2, gfn2-ultra-tiny-v2, sw-si-v1",
    ),
    Case(
        "a file with a typo",
        "md ethanol.xyz --model mime.safetensors",
        "there is no student file mime.safetensors; did you mean mine.safetensors?",
    ),
    Case(
        "a folder",
        "export used",
        "used is a folder without a .safetensors file, which is what a student is; shipped students: original, tiny, ultra-tiny, si-sw, gfn2-original-v1, gfn2-tiny-v2, gfn2-ultra-tiny-v2, sw-si-v1",
    ),
    Case(
        "a folder of a training that was cut off",
        "md ethanol.xyz --model half-trained",
        "half-trained holds a distillation that is not finished: there are checkpoints, and no .safetensors file yet; go on with it: mlff-md distill CONFIG --out half-trained",
    ),
    Case(
        "an option of a teacher with a typo",
        "md ethanol.xyz --model gfn2-xtb?chrge=1",
        "gfn2-xtb has no option 'chrge'; did you mean charge?",
        needs="tblite",
    ),
    Case(
        "a file of another kind",
        "models show weights.pth",
        "weights.pth is not a .safetensors student file; students are made by 'mlff-md distill'",
    ),
    Case(
        "a damaged file",
        "models show cut.safetensors",
        "cut.safetensors is not a student file, or is damaged (...)",
    ),
    Case(
        "an empty file",
        "models show empty.safetensors",
        "empty.safetensors is not a student file, or is damaged (...)",
    ),
    Case(
        "a safetensors file of something else",
        "models show foreign.safetensors",
        "foreign.safetensors is a safetensors file without a manifest, not a student of mlff-md",
    ),
    Case(
        "a student from a newer version",
        "models show newer.safetensors",
        "newer.safetensors has manifest schema 9.1, this version reads 2.1: upgrade mlff-md",
    ),
    Case(
        "a program that nobody vouched for",
        "md ethanol.xyz --model program.pt",
        "program.pt is a program, which can do anything once it is loaded; if you know who made it, pass --trust (trust=True in Python, or its sha256); .safetensors and .onnx files need no trust",
    ),
    Case(
        "a trusted program that is damaged",
        "md ethanol.xyz --model program.pt --trust",
        "program.pt is damaged (File is not a zip file)",
    ),
    Case(
        "an unknown engine",
        "md ethanol.xyz --engine nativ",
        "no engine is called 'nativ'; did you mean native?",
    ),
    Case(
        "an unknown device",
        "md ethanol.xyz --engine torch --device tpu",
        "no device is called 'tpu'; use cpu, cuda or cuda:N",
    ),
    Case(
        "a GPU for the CPU's engine",
        "md ethanol.xyz --engine native --device cuda",
        "the native engine runs on the CPU; use torchscript for 'cuda'",
    ),
    Case(
        "an unknown precision",
        "md ethanol.xyz --dtype half",
        "--dtype cannot be 'half'; there are float32, float64 (see mlff-md md --help)",
    ),
    Case("no threads", "md ethanol.xyz --threads 0", "threads must be at least 1, got 0"),
    Case(
        "an option for a teacher that has none",
        "md ethanol.xyz --model emt --dtype float64",
        "--dtype does nothing for the teacher emt; leave it out",
    ),
    Case(
        "nothing to show",
        "models show",
        "write 'mlff-md models', '... models show STUDENT' or '... measure ...'",
    ),
    Case(
        "measuring without a file to write",
        "models measure tiny",
        "measuring writes a new student file: give --out FILE.safetensors",
    ),
)
RUNS: Sequence[Case] = (
    Case(
        "a negative number of steps",
        "md ethanol.xyz --steps -1",
        "steps must not be negative, got -1",
    ),
    Case(
        "a negative time step",
        "md ethanol.xyz --timestep-fs -1",
        "timestep_fs must be a number above zero, got -1.0",
    ),
    Case(
        "a negative temperature",
        "md ethanol.xyz --temperature-K -5",
        "temperature_K must be a number, zero or more, got -5.0",
    ),
    Case(
        "a thermostat's option at constant energy",
        "md ethanol.xyz --friction-per-ps 5",
        "--friction-per-ps does nothing without --ensemble nvt; leave it out",
    ),
    Case(
        "a trajectory of unknown format",
        "md ethanol.xyz --out run.dcd",
        "cannot write a trajectory to run.dcd: end the name in .traj or .extxyz or .xyz",
    ),
    Case(
        "a trajectory that exists",
        "md ethanol.xyz --out run.traj",
        "run.traj exists; choose another --out, pass --force to replace it",
    ),
    Case(
        "the structure as its own output",
        "md ethanol.xyz --out ethanol.xyz --force",
        "--out ethanol.xyz is the structure itself; choose another",
    ),
    Case(
        "a guard with a typo",
        "md ethanol.xyz --guard stp",
        "--guard cannot be 'stp'; did you mean stop? (see mlff-md md --help)",
    ),
    Case(
        "a time step that is too large",
        "md ethanol.xyz --timestep-fs 30 --out new.traj",
        "the run stopped at step 1 (30 fs): an atom moved by 1.61 Å in one step; try a smaller timestep_fs than 30 or a relaxed start, and check that the calculator knows this chemistry",
        leaves=("new.traj*",),
    ),
)
VALIDATE: Sequence[Case] = (
    Case(
        "a folder with a report",
        "validate-nve ethanol.xyz --out used",
        "used already holds a report; choose another --out or pass --force",
    ),
    Case(
        "a file in the way",
        "validate-nve ethanol.xyz --out a-file",
        "cannot make the folder a-file/raw: a file is in the way of the folder; choose another place",
    ),
    Case(
        "an unknown limit",
        "validate-nve ethanol.xyz --threshold drfit=1",
        "there is no threshold 'drfit'; did you mean drift?",
    ),
    Case(
        "a negative limit",
        "validate-nve ethanol.xyz --threshold drift=-1",
        "the threshold drift must be a number, zero or more, got -1.0",
    ),
    Case(
        "no number",
        "validate-nve ethanol.xyz --threshold drift=small",
        "cannot read the threshold 'drift=small'; write it as drift=0.01",
    ),
    Case(
        "no replicas", "validate-nve ethanol.xyz --replicas 0", "replicas must be at least 1, got 0"
    ),
    Case(
        "an element that the student does not know",
        "validate-nve gold.xyz",
        "the student does not know Au; it knows H C N O F P S Cl",
    ),
)
COMPARE: Sequence[Case] = (
    Case(
        "a folder with a report",
        "compare ethanol.xyz --out used",
        "used already holds a report; choose another --out or pass --force",
    ),
    Case(
        "an unknown teacher",
        "compare ethanol.xyz --teacher gfn3",
        "unknown teacher 'gfn3'; did you mean gfn2-xtb or gfn1-xtb?",
    ),
    Case(
        "an element that the model does not know",
        "compare gold.xyz --teacher emt",
        "the student does not know Au; it knows H C N O F P S Cl",
    ),
)
FORCES: Sequence[Case] = (
    Case("no such data set", "forces tiny absent.npz", "absent.npz does not exist"),
    Case(
        "a damaged data set",
        "forces tiny cut.npz",
        "cut.npz is damaged or not an .npz file: File is not a zip file",
    ),
    Case(
        "an .npz of something else",
        "forces tiny foreign.npz",
        "foreign.npz is not a data set of this package (format tag '')",
    ),
    Case(
        "a folder without data",
        "forces tiny used",
        "used holds no shard-*.npz; is the labelling running?",
    ),
    Case(
        "a folder with a report",
        "forces tiny frames.npz --out used",
        "used already holds a report; choose another --out or pass --force",
    ),
    Case(
        "an element that the student does not know",
        "forces tiny gold.xyz --teacher emt",
        "structure 0: the student does not know Au; it knows H C N O F P S Cl",
    ),
    Case(
        "an unknown student",
        "forces tinny frames.npz",
        "no student, student file or teacher is called 'tinny'; did you mean tiny?",
    ),
    Case(
        "a molecule that is none",
        "forces tiny bad.smi",
        "ethanol: RDKit cannot read the SMILES 'C1CC'",
        needs="rdkit",
    ),
)
DRIFT: Sequence[Case] = (
    Case("no such file", "drift absent.log", "there is no file absent.log"),
    Case("an empty file", "drift empty.xyz", "empty.xyz is empty"),
    Case(
        "a text without a table",
        "drift notes.txt",
        "notes.txt: the table has no rows of numbers below a header ('not a structure')",
    ),
    Case(
        "a binary file",
        "drift frames.npz",
        "frames.npz is no text; of a binary trajectory give the table of energies beside it as well (--energies)",
    ),
    Case(
        "a table without energies",
        "drift no-energy.csv",
        "no-energy.csv: the table has no total energy, only Time (ps), Temp; name the column (--column)",
    ),
    Case(
        "a table without the number of atoms",
        "drift no-atoms.csv",
        "no-atoms.csv: the table does not tell the number of atoms; pass it (--n-atoms)",
    ),
    Case(
        "a unit that nobody uses",
        "drift furlongs.csv",
        "the unit 'furlong' is unknown; say which it is (--units): eV, kJ/mol, kcal/mol, hartree",
    ),
    Case(
        "units that LAMMPS does not have",
        "drift lammps-melt.log --units metric",
        "there are no units 'metric'; there are metal, real, lj, electron, si, cgs, nano",
    ),
    Case(
        "a column that is not there",
        "drift ase-ethanol.log --column Econserved",
        "there is no column 'Econserved'; there are Time[ps], Etot[eV], Epot[eV], Ekin[eV], T[K]",
    ),
    Case(
        "a run that blew up",
        "drift blown-up.log",
        "blown-up.log: the energy is not a number at 1 ps (sample 500): the run blew up there; cut the file off before to judge what came first",
    ),
    Case(
        "a LAMMPS dump, which has no energies",
        "drift run.dump",
        "run.dump is a LAMMPS dump, which has no energies; give the log beside it as well (--energies log.lammps)",
    ),
    Case(
        "a structure instead of a trajectory",
        "drift ethanol.xyz",
        "ethanol.xyz has 1 frames: too few for a slope",
    ),
    Case("a folder without a run", "drift deck", "deck holds no raw data (run.json is missing)"),
    Case(
        "a folder with a report",
        "drift lammps-melt.log --out used",
        "used already holds a report; choose another --out or pass --force",
    ),
)
LAMMPS: Sequence[Case] = (
    Case(
        "no such deck",
        "lammps run absent.lmp",
        "cannot read the deck absent.lmp: No such file or directory",
    ),
    Case(
        "a LAMMPS that is not there",
        "lammps run deck/in.lmp --lmp /absent/lmp",
        "/absent/lmp cannot be run: No such file or directory",
    ),
    Case("no ranks", "lammps run deck/in.lmp --ranks 0", "ranks must be at least 1, not 0"),
    Case(
        "a deck that exists",
        "lammps deck ethanol.xyz --out deck",
        "deck already holds a deck; choose another --out or pass --force",
    ),
    Case(
        "an unknown element",
        "lammps deck gold.xyz",
        "pair_coeff: the student does not know 'Au'; it knows H C N O F P S Cl",
    ),
    Case(
        "an unknown student",
        "lammps deck ethanol.xyz --model tinny",
        "no student is called 'tinny'; did you mean tiny? (or give a .safetensors file)",
    ),
    Case(
        "no action",
        "lammps",
        "ACTION is missing; there are info, deck, run, parity (see mlff-md lammps --help)",
    ),
    Case(
        "an unknown action",
        "lammps rnu deck/in.lmp",
        "ACTION cannot be 'rnu'; did you mean run? (see mlff-md lammps --help)",
    ),
    Case(
        "a structure that is not there",
        "lammps parity absent.xyz",
        "there is no structure file absent.xyz...",
    ),
    Case(
        "elements in the wrong order",
        "lammps run order.lmp",
        "pair_style mlff: pair_coeff makes atom type 1 O, but its mass 1.008 is that of H; wrong order of elements? (if the mass is meant: masses any)",
        how="LAMMPS",
        code=1,
        leaves=("log.lammps",),
    ),
    Case(
        "units that the student does not have",
        "lammps run units.lmp",
        "pair_style mlff needs units metal or real, not lj",
        how="LAMMPS",
        code=1,
        leaves=("log.lammps",),
    ),
    Case(
        "an element that the student does not know",
        "lammps run element.lmp",
        "pair_style mlff: student gfn2-tiny-v2 does not know element Au, only H C N O F P S Cl",
        how="LAMMPS",
        code=1,
        leaves=("log.lammps",),
    ),
    Case(
        "a student with a typo",
        "lammps run student.lmp",
        "pair_style mlff: no student is called 'tinny'; did you mean tiny? (or give a .safetensors file)",
        how="LAMMPS",
        code=1,
        leaves=("log.lammps",),
    ),
)
EXPORT: Sequence[Case] = (
    Case(
        "an unknown format",
        "export mine.safetensors --format onyx",
        "--format cannot be 'onyx'; did you mean onnx? (see mlff-md export --help)",
    ),
    Case(
        "a suffix of another format",
        "export mine.safetensors --format onnx --out a.pt",
        "a.pt: files of the format onnx end in .onnx",
        needs="onnx",
    ),
    Case(
        "a file that exists",
        "export mine.safetensors --format onnx --out out.onnx",
        "out.onnx exists; choose another --out or pass --force",
        needs="onnx",
    ),
    Case(
        "an unknown student",
        "export tinny",
        "no student is called 'tinny'; did you mean tiny? (or give a .safetensors file)",
    ),
    Case(
        "calibration structures that are not there",
        "export mine.safetensors --format onnx-int8 --calibration absent.xyz",
        "there is no structure file absent.xyz...",
    ),
)
OTHERS: Sequence[Case] = (
    Case(
        "no such report",
        "report absent.json",
        "cannot read the report absent.json: No such file or directory; give the path of a report.json",
    ),
    Case(
        "a damaged report",
        "report cut.json",
        "cut.json: not an mlff-md report: not JSON (Expecting ',' delimiter: line 17 column 21 (char 500))",
    ),
    Case(
        "a report from a newer version",
        "report newer.json",
        "newer.json: report schema 9.0 cannot be read by this version (it reads 1.0); upgrade mlff-md",
    ),
    Case(
        "a file that is no report",
        "report ethanol.xyz",
        "ethanol.xyz: not an mlff-md report: not JSON (Extra data: line 2 column 1 (char 2))",
    ),
    Case(
        "a file in the way",
        "report used/report.json --out a-file",
        "cannot write the report to a-file: a file is in the way of the folder; choose another place",
    ),
    Case(
        "an unknown student",
        "check tinny",
        "no student is called 'tinny'; did you mean tiny? (or give a .safetensors file)",
    ),
    Case(
        "a folder with a report",
        "check mine.safetensors --out used",
        "used already holds a report; choose another --out or pass --force",
    ),
    Case(
        "an unknown engine",
        "bench mine.safetensors --engines nativ --atoms 9",
        "no engine is called 'nativ'; did you mean native?",
    ),
    Case(
        "a size that is no number",
        "bench mine.safetensors --atoms nine",
        "--atoms takes whole numbers, got 'nine'",
    ),
    Case(
        "no such size",
        "bench mine.safetensors --atoms 0",
        "the smallest structure has 9 atoms, not 0",
    ),
    Case(
        "a folder with a benchmark",
        "bench mine.safetensors --out bench",
        "bench holds a benchmark; choose another --out or pass --force",
    ),
    Case(
        "a shell that is not known",
        "completion tcsh",
        "shell cannot be 'tcsh'; there are bash, zsh, fish (see mlff-md completion --help)",
    ),
)
DISTILL: Sequence[Case] = (
    Case(
        "no such configuration",
        "distill absent.toml --out new",
        "cannot read absent.toml: No such file or directory",
    ),
    Case(
        "not TOML",
        "distill syntax.toml --out new",
        "syntax.toml is not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 9)",
    ),
    Case(
        "a table that is missing",
        "distill no-data.toml --out new",
        "no-data.toml lacks the table [data]",
    ),
    Case(
        "a key with a typo",
        "distill typo.toml --out new",
        "typo.toml [training]: unknown key 'learning_rat'; did you mean learning_rate?",
    ),
    Case(
        "words where a number belongs",
        "distill words.toml --out new",
        "words.toml [training]: steps = 'many' should be of type int",
    ),
    Case(
        "a negative number of steps",
        "distill negative.toml --out new",
        "[training] steps must be at least 1, got -5",
    ),
    Case(
        "a name that leads elsewhere",
        "distill path.toml --out new",
        "the student's name may hold letters, digits, '.', '_' and '-', got '../../x'",
    ),
    Case(
        "data that are not there",
        "distill missing.toml --out new",
        "[data] train: absent.npz does not exist",
    ),
    Case(
        "elements that are not in the list",
        "distill elements.toml --out new",
        "[data] train: frames.npz holds C, and the student knows only H; add what is missing to 'elements' in [student], or leave that data set out",
    ),
    Case(
        "frames larger than any bucket",
        "distill small.toml --out new",
        "a frame has 15 atoms, more than the largest bucket of 2; add a larger one to 'buckets'",
    ),
    Case(
        "a file in the way",
        "distill typo.toml --out a-file",
        "cannot make the folder a-file: a file is in the way of the folder; choose another place",
    ),
    Case(
        "no such list of molecules",
        "label --out new --molecules absent.smi",
        "molecule list absent.smi cannot be read: No such file or directory",
    ),
    Case(
        "a SMILES that is none",
        "label --out new --molecules bad.smi",
        "ethanol: RDKit cannot read the SMILES 'C1CC'",
        needs="rdkit",
    ),
    Case(
        "a name twice",
        "label --out new --molecules twice.smi",
        "twice.smi line 2: the name 'one' is used twice",
        needs="rdkit",
    ),
    Case("ions", "label --out new --molecules salt.smi", "salt: unknown element Na", needs="rdkit"),
    Case(
        "an unknown teacher",
        "label --out new --teacher gfn3",
        "unknown teacher 'gfn3'; did you mean gfn2-xtb or gfn1-xtb?",
    ),
    Case("no workers", "label --out new --workers 0", "workers must be at least 1, got 0"),
    Case(
        "a held-out file that exists",
        "label --split val --out frames.npz",
        "frames.npz exists; choose another --out",
    ),
    Case(
        "an option that would do nothing",
        "label --split val --workers 3 --out new.npz",
        "--workers does nothing for held-out splits; leave it out",
    ),
    Case(
        "a structure that is not there",
        "label --structure absent.xyz --out new",
        "there is no structure file absent.xyz...",
    ),
)
PLACES: Sequence[Case] = (
    Case(
        "a folder that may not be written",
        "md ethanol.xyz --steps 5 --out read-only/run.traj",
        "cannot make the folder read-only/run.traj.restart: no permission to write there; choose another place",
        how="read-only",
    ),
    Case(
        "the same for a report",
        "drift lammps-melt.log --out read-only/new",
        "cannot write the report to read-only/new: no permission to write there; choose another place",
        how="read-only",
    ),
    Case(
        "a full disk, trajectory",
        "md ethanol.xyz --steps 5000 --out disk/run.traj",
        "cannot write the trajectory disk/run.traj: a write was cut short; is the disk full?",
        how="full disk",
        leaves=("disk/run.traj*",),
    ),
    Case(
        "a full disk, report",
        "drift lammps-melt.log --out disk/new",
        "cannot write the report to disk/new: the disk is full; free some space or choose another place",
        how="full disk",
    ),
    Case(
        "a full disk, export",
        "export tiny --format onnx --out disk/tiny.onnx",
        "cannot write to disk: the disk is full; free some space or choose another place",
        needs="onnx",
        how="full disk",
    ),
    Case(
        "Ctrl-C",
        "md ethanol.xyz --steps 10000000 --out new.traj",
        "interrupted",
        how="interrupted",
        code=130,
        leaves=("new.traj*",),
    ),
    Case(
        "the queue's time is over (SIGTERM)",
        "md ethanol.xyz --steps 10000000 --out new.traj",
        "terminated",
        how="terminated",
        code=143,
        leaves=("new.traj*",),
    ),
)
# fmt: on

SECTIONS: Mapping[str, Sequence[Case]] = {
    "Every command": EVERYWHERE,
    "Structures": STRUCTURES,
    "Students, engines, teachers": STUDENTS,
    "`md`": RUNS,
    "`validate-nve`": VALIDATE,
    "`compare`": COMPARE,
    "`forces`": FORCES,
    "`drift`": DRIFT,
    "`lammps`": LAMMPS,
    "`export`": EXPORT,
    "`report`, `check`, `bench`, `completion`": OTHERS,
    "`label`, `distill`": DISTILL,
    "Places and interruptions": PLACES,
}
