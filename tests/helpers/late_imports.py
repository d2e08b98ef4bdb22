"""Which imports may wait inside a function, with the reason why."""

from __future__ import annotations

LATE = {
    "no command pays for torch, or for what a program is watched with, before it needs it": {
        "cli/compare": "run/direct run/programs run/saved run/two trace/text",
        "cli/convert": "run/convert",
        "cli/exec": "cli/report program/children program/program program/python",
        "cli/notebook": "cli/report program/tracebacks",
        "cli/report": "cli/results program/observed program/program",
        "program/observed": "program/explanation program/ranks program/watch recorder/recorded",
        "program/startup/begin": "program/first_module",
        "program/late": "program/kept program/replays",
        "program/saved_step": "models/capsule",
        "program/watch": "program/events program/saved_step",
        "cli/run": "run/guess run/once",
        "models/sources/__init__": "torch",
        "pytest_plugin": "recorder/recorded recorder/recording torch trace/__init__ trace/files trace/text",
        "run/cold_start": "torch",
    },
    "Ctrl-C is handled before anything that takes long is imported": {
        "cli/__init__": "cli/ending",
    },
    "a command loads the one form that is asked for: to load all of them takes as long as a short command": {
        "cli/report": "render/kept_calls render/program trace/read",
        "program/observed": "compare/programs/saved_numbers",
        "cli/results": "compare/comparison render/direct_forward render/html render/ranking render/source render/tree "
        "render/two_traces trace/files trace/trace",
        "cli/show": "compare/ranks/ranks render/ranks trace/files trace/read",
        "cli/terminal": "rich",
        "run/once": "compare/programs/saved_numbers",
        "render/html": "render/two_traces",
    },
    "what explains a finding or a failure is loaded where there is something to explain": {
        "cli/completion": "findings/explained",
        "cli/fail_on": "findings/explained",
        "cli/rule": "findings/explained",
        "cli/ending": "cli/tracebacks",
        "program/caught": "program/crash",
        "cli/exec": "models/spec",
        "findings/__init__": "findings/rules",
        "findings/rules": "findings/forward_error/rule",
    },
    "typer takes a fifth of a second to import and to be given every option": {
        "cli/ending": "cli/commands",
    },
    "the sources of models are looked for by one command": {
        "cli/models": "models/sources/__init__",
    },
    "a library that may be missing": {
        "compare/programs/after_backward": "numpy",
        "compare/ranks/assembled": "numpy",
        "compare/ranks/examples": "numpy",
        "compare/ranks/pieces": "numpy",
        "compare/programs/saved_numbers": "numpy safetensors",
        "compare/programs/systematic": "numpy",
        "models/capsule": "safetensors",
        "run/convert": "safetensors",
        "models/inputs": "numpy safetensors",
        "models/weights": "safetensors",
    },
}
"""What files import inside functions, and why it has to wait."""


def late_imports_with_a_reason() -> dict[str, str]:
    """All of `LATE`, by file."""
    targets: dict[str, set[str]] = {}
    for files in LATE.values():
        for file, names in files.items():
            targets.setdefault(file, set()).update(names.split())
    return {file: " ".join(sorted(names)) for file, names in targets.items()}
