"""``mlff-md models``: which students there are, what is known of each, and measuring it."""

from __future__ import annotations

import argparse
import json
import sys

from mlff_md.cli.model import refuse_teachers
from mlff_md.cli.output import say
from mlff_md.cli.parser import Parser, add_options, chosen

EXAMPLE = "mlff-md models show tiny"


def configure(parser: Parser) -> None:
    """Add the command's options."""
    from mlff_md.cards import measure_card

    parser.add_argument(
        "words",
        nargs="*",
        metavar="show|measure STUDENT",
        help="nothing to list the shipped students; 'show' and a name or file for its card; "
        "'measure' and a name or file to measure what the card says",
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    group = parser.add_argument_group("measure: what, and where to write the student that says so")
    group.add_argument("--out", metavar="FILE", help="student file to write (.safetensors)")
    group.add_argument("--force", action="store_true", help="replace the file")
    group.add_argument(
        "--nve", nargs="+", metavar="STRUCTURE", default=[], help="structures for the NVE protocol"
    )
    add_options(group, measure_card, skip=("nve", "overwrite", "tell"))  # type: ignore[arg-type]


def run(arguments: argparse.Namespace) -> int:
    """Print the list or the card."""
    from mlff_md.errors import ConfigError
    from mlff_md.student import zoo

    if arguments.words in ([], ["list"]):
        return _list(arguments.json)
    if len(arguments.words) == 1 and arguments.words[0] in zoo.names():
        raise ConfigError(f"did you mean 'mlff-md models show {arguments.words[0]}'?")
    if len(arguments.words) != 2 or arguments.words[0] not in ("show", "measure"):
        raise ConfigError("write 'mlff-md models', '... models show STUDENT' or '... measure ...'")
    if arguments.words[0] == "show":
        return _show(arguments.words[1], arguments.json)
    if not arguments.out:
        raise ConfigError("measuring writes a new student file: give --out FILE.safetensors")
    return _measure(arguments)


def _list(as_json: bool) -> int:
    from mlff_md.student import load_student, zoo

    aliases = {full: alias for alias, full in zoo.ALIASES.items()}
    rows = []
    for name in zoo.shipped():
        student = load_student(name)
        accuracy = student.manifest.accuracy.get("test", {}).get("all", {})
        rows.append(
            {
                "name": aliases.get(name, name),
                "full_name": name,
                "parameters": student.manifest.architecture.num_parameters,
                "elements": list(student.elements),
                "cutoff_A": student.cutoff_A,
                "teacher": student.manifest.teacher.get("name"),
                "force_r2": accuracy.get("r2"),
                "force_mae_eV_per_A": accuracy.get("mae_eV_per_A"),
            }
        )
    if as_json:
        say(json.dumps(rows, indent=2))
        return 0
    width = 2 + max([len("elements"), *(len(" ".join(row["elements"])) for row in rows)])
    say(
        f"{'name':<12}{'parameters':>11}  {'force R2':>8}  {'MAE eV/Å':>8}  "
        f"{'elements':<{width}}teacher"
    )
    for row in rows:
        say(
            f"{row['name']:<12}{row['parameters']:>11,}  {_number(row['force_r2'], 4):>8}  "
            f"{_number(row['force_mae_eV_per_A'], 3):>8}  "
            f"{' '.join(row['elements']):<{width}}{row['teacher'] or ''}"
        )
    say("'mlff-md models show NAME' prints the card of one")
    return 0


def _show(name: str, as_json: bool) -> int:
    from mlff_md.student import load_student
    from mlff_md.student.card import card

    refuse_teachers(name)
    student = load_student(name)
    if as_json:
        content = {"sha256": student.sha256, **json.loads(student.manifest.to_json())}
        say(json.dumps(content, indent=2))
    else:
        say(card(student))
    return 0


def _measure(arguments: argparse.Namespace) -> int:
    from mlff_md.cards import measure_card
    from mlff_md.student.card import card

    refuse_teachers(arguments.words[1])
    student = measure_card(
        arguments.words[1],
        arguments.out,
        **chosen(arguments, measure_card),
        overwrite=arguments.force,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    say(card(student))
    say(f"student: {arguments.out}")
    return 0


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) else "-"
