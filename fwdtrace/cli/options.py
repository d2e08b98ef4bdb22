"""The options of the commands: each is written once, those that belong together are one set, a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from fwdtrace.cli import completion
from fwdtrace.cli.declared import MEASURE, SAVE, SHOW, argument, option
from fwdtrace.errors import FwdtraceError
from fwdtrace.program.wanted import what_is_wrong

Spec = Annotated[
    str,
    argument(
        metavar="SPEC",
        completion=completion.specs,
        help="A built-in name, file.py:Name or package.module:Name.",
    ),
]
Inputs = Annotated[
    list[str] | None,
    option(
        "-i",
        "--input",
        metavar="INPUT",
        help="1x3x32x32, NAME=SHAPE, SHAPE:int64:0..100, or a .pt, .npy or .safetensors file; repeatable.",
    ),
]
Seed = Annotated[int, option(metavar="N", min=0, max=2**32 - 1, help="The seed of weights and inputs.")]
Json = Annotated[bool, option("--json", help="Print the result as JSON, and nothing else.")]
MaxBytes = Annotated[
    int, option(metavar="N", min=0, help="Keep at most N bytes of values; of the rest, digests and statistics alone.")
]
Trust = Annotated[bool, option("--trust", help="Open a .pt2 file that would run code, such as a pickle.")]
FailOn = Annotated[
    str,
    option(
        metavar="CODES",
        completion=completion.codes_in_a_list,
        panel=SHOW,
        help="Exit with 1 on these findings: FT001,FT010 or any.",
    ),
]
ColorChoice = Literal["auto", "always", "never"]
Color = Annotated[
    ColorChoice,
    option(metavar="WHEN", panel=SHOW, help="Use colours: auto (only on a terminal), always or never."),
]

Repeat = Annotated[
    int,
    option(metavar="N", min=0, help="Run N times more from the same state, and show the times of these warm runs."),
]
FullTraceback = Annotated[
    bool,
    option(
        "--full-traceback",
        panel=SHOW,
        help="Show torch's frames too in the traceback of a model that raised.",
    ),
]

Ops = Annotated[bool, option("--ops/--no-ops", help="Show the functional ops between the calls.")]
CheckFinite = Annotated[bool, option("--check-finite", help="Find where NaN and infinities first come up (FT005).")]
Stats = Annotated[bool, option("--stats", help="Keep mean, std, min, max and zeros of every output.")]

Depth = Annotated[int | None, option(metavar="N", min=0, help="Show calls down to depth N only.")]
NoFold = Annotated[bool, option("--no-fold", help="Show each of several equal blocks, not one for all.")]
Key = Literal[
    "time", "self", "self-time", "flops", "params", "parameters", "memory", "mean", "std", "min", "max", "nan", "grad"
]
COLUMN_KEYS = (
    *("called", "input", "output", "params", "time", "self", "flops", "memory"),
    *("mean", "std", "min", "max", "nan", "grad", "from-row", "from"),
)


def _known_columns(text: str | None) -> str | None:
    """The text itself, if all keys in it are known; FwdtraceError else."""
    for key in text.split(",") if text is not None else ():
        if key.strip() not in COLUMN_KEYS:
            raise FwdtraceError(
                f"--columns {text}: there is no column {key.strip()!r}; there are {','.join(COLUMN_KEYS)}"
            )
    return text


Columns = Annotated[
    str | None,
    option(
        metavar="LIST",
        callback=_known_columns,
        completion=completion.keys_in_a_list(COLUMN_KEYS),
        help=f"Show these columns: {', '.join(COLUMN_KEYS)}; from-row is where inputs came from.",
    ),
]
Only = Annotated[
    list[str] | None,
    option(
        metavar="PATTERN", help="Show only what this glob matches: the end of a path, a class or an op; repeatable."
    ),
]


@dataclass(frozen=True)
class Measured:
    """What is measured beside the calls and their shapes."""

    ops: Ops = True
    check_finite: CheckFinite = False
    stats: Stats = False
    costs: Annotated[
        bool, option("--costs", help="Count the floating-point operations of every call; on a GPU, memory too.")
    ] = False
    backward: Annotated[
        bool, option("--backward", help="Measure backward too, and name the parameters without gradient (FT008).")
    ] = False
    save_values: Annotated[
        Path | None, option(metavar="FILE", help="Save the numbers of every call, .safetensors, for compare.")
    ] = None
    max_bytes: MaxBytes = 2**30


@dataclass(frozen=True)
class Shown:
    """How a trace is shown to a person: as a tree, cut and folded or not, as source code, or as a ranking."""

    columns: Columns = None
    only: Only = None
    source: Annotated[bool, option("--source", help="Show the code, with the shapes beside each line.")] = False
    sort: Annotated[
        Key | None,
        option(
            metavar="KEY",
            help="Rank the modules in a table by time, self, flops, params, memory, mean, std, min, max, nan or grad.",
        ),
    ] = None
    top: Annotated[int, option(metavar="N", min=1, help="With --sort: how many modules to show.")] = 20
    depth: Depth = None
    no_fold: NoFold = False
    color: Color = "auto"

    def __post_init__(self) -> None:
        if self.source and self.sort:
            raise FwdtraceError("--source and --sort are different views; give one of them")

    @property
    def column_keys(self) -> list[str]:
        """The columns to show, none if nobody says."""
        return [key.strip() for key in self.columns.split(",")] if self.columns else []

    @property
    def patterns(self) -> list[str]:
        """The patterns for what to show, none for all of it."""
        return self.only or []

    @property
    def fold(self) -> bool:
        """Whether one of several equal blocks is shown for all of them."""
        return not self.no_fold


def _known_events(names: list[str] | None) -> list[str] | None:
    """The names themselves, if all are known; FwdtraceError else."""
    for name in names or ():
        wrong = what_is_wrong(name)
        if wrong:
            raise FwdtraceError(f"--on {name}: {wrong}")
    return names


@dataclass(frozen=True)
class Chosen:
    """Which calls of a program's models are recorded, in which processes, and how many before the program is ended."""

    first: Annotated[
        int | None, option(metavar="N", min=1, help="Keep the first N calls of each model, in whatever mode.")
    ] = None
    call: Annotated[int | None, option(metavar="N", min=1, help="Keep only the Nth call of each model.")] = None
    every: Annotated[
        int | None,
        option(
            metavar="K",
            min=1,
            help="Keep the first call and every Kth; with --on, measure every Kth.",
        ),
    ] = None
    train: Annotated[
        bool, option("--train", help="Keep only the first call of each model in training with gradients.")
    ] = False
    model: Annotated[
        str | None,
        option(
            metavar="CLASS_OR_PATH", help="Keep the calls of these modules, not those of whole models; * is any text."
        ),
    ] = None
    stop_after: Annotated[
        int | None, option(metavar="N", min=1, help="End the program, with status 0, after N kept calls.")
    ] = None
    on: Annotated[
        list[str] | None,
        option(
            "--on",
            metavar="EVENT",
            callback=_known_events,
            help="Keep the call in which this happens: nonfinite, the first NaN or infinity; signal, after kill -USR1; "
            "slow, or slow=K, K times the usual; error, which is always kept. Repeatable.",
        ),
    ] = None
    keep: Annotated[int, option(metavar="N", min=1, help="Keep at most N events.")] = 10
    save_step: Annotated[
        Path | None,
        option(metavar="DIR", help="With --on: save the first of these calls there, and say how to run it again."),
    ] = None
    last: Annotated[int, option(metavar="N", min=0, help="With --on: show the last N steps before the event.")] = 5
    children: Annotated[
        bool, option("--children", help="Follow the processes that the program starts; each saves its own file.")
    ] = False


@dataclass(frozen=True)
class Programs:
    """That two programs are compared, and by which calls of their models."""

    programs: Annotated[
        bool, option("--programs", help="Both are programs, 'train.py --lr 1e-3': run each, compare a call.")
    ] = False
    call: Annotated[
        int | None, option(metavar="N", min=1, help="With --programs: the Nth call in place of the first.")
    ] = None
    first: Annotated[int | None, option(metavar="N", min=1, help="With --programs: the first N calls, one by one.")] = (
        None
    )
    model: Annotated[str | None, option(metavar="CLASS_OR_PATH", help="With --programs: the calls of this module.")] = (
        None
    )


@dataclass(frozen=True)
class Result:
    """Where the result goes beside the screen, or in its place."""

    json: Json = False
    no_pager: Annotated[
        bool, option("--no-pager", panel=SHOW, help="Print at once, also what is longer than the screen.")
    ] = False
    output: Annotated[
        list[Path] | None,
        option("-o", "--output", metavar="FILE", help="Save it; the suffix picks the format; repeatable."),
    ] = None

    @property
    def files(self) -> list[Path]:
        """The files to write."""
        return self.output or []


@dataclass(frozen=True)
class Directly:
    """Which modules to run by their `forward` alone."""

    direct_forward: Annotated[bool, option("--direct-forward", help="Compare model(x) with model.forward(x).")] = False
    at: Annotated[
        list[str] | None,
        option("--at", metavar="PATH", help="Run this submodule directly, not the model; repeatable."),
    ] = None
    each: Annotated[bool, option("--each", help="Run every submodule directly, one at a time.")] = False


@dataclass(frozen=True)
class Pairing:
    """Which part of the second model belongs to which of the first, and what the second gets from the first."""

    map: Annotated[
        list[str] | None,
        option(
            "--map",
            metavar="OLD=NEW",
            help="Names, 'encoder.{i}.attn=blocks.{i}.attention', or a file of --save-map; repeatable.",
        ),
    ] = None
    same_init: Annotated[
        bool,
        option("--same-init", help="Give both the same random weights: drawn for the first, copied to the second."),
    ] = False
    weights: Annotated[
        Path | None, option(metavar="FILE", help="Weights for the first, copied into the second as well.")
    ] = None
    weights_of_second: Annotated[
        Path | None, option(metavar="FILE", help="With --weights: those of the second, such as converted ones.")
    ] = None
    save_map: Annotated[
        Path | None, option(metavar="FILE", help="Save which weight of the second is which of the first, .json.")
    ] = None


@dataclass(frozen=True)
class Variation:
    """How the second run of a comparison is to differ from the first."""

    train: Annotated[
        bool, option("--train", help="Run in training mode; with one SPEC, compare it with eval mode.")
    ] = False
    dtype: Annotated[str | None, option(metavar="DTYPE", help="Run the second in this type, such as bfloat16.")] = None
    device: Annotated[str | None, option(metavar="DEVICE", help="Run the second on this device, such as cuda.")] = None
    fused: Annotated[
        bool,
        option(
            "--fused/--no-fused", help="Let torch run its encoder layers as one op; off where only one model has them."
        ),
    ] = True
    compile: Annotated[bool, option("--compile", help="Run the second compiled.")] = False
    batch: Annotated[
        int, option(metavar="N", min=1, help="Give the second N times the examples, the same ones first.")
    ] = 1


PANELS: dict[type, str] = {
    **{Measured: MEASURE, Shown: SHOW, Result: SAVE, Chosen: "Choose the calls"},
    **{
        Programs: "Compare two programs",
        Directly: "Run directly",
        Pairing: "Pair two models",
        Variation: "Run the second otherwise",
    },
}
"""The part of the help that a set of options stands in."""


def with_what_is_shown(measured: Measured, shown: Shown) -> Measured:
    """What is measured, and beside it what the columns and the order that were asked for need."""
    keys = {*shown.column_keys, shown.sort}
    return replace(
        measured,
        costs=measured.costs or "flops" in keys,
        stats=measured.stats or bool(keys & {"mean", "std", "min", "max"}),
        check_finite=measured.check_finite or "nan" in keys,
        backward=measured.backward or "grad" in keys,
    )
