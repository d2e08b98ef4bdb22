"""What each file of the package may import at its top, in one table."""

from __future__ import annotations

TABLE = """
__init__: version
__main__: cli
cli/__init__: run
cli/commands: .compare .convert .declared .exec .models .now .panels .rule .run .sets .show typer version
cli/compare: .declared .fail_on .options .progress .results .terminal .tracebacks errors run
cli/completion: models
cli/convert: .declared .terminal run
cli/declared: errors run
cli/ending: .declared .fail_on .mistaken .plain .terminal errors
cli/exec: .declared .fail_on .options .results errors models program
cli/fail_on: .terminal errors
cli/models: .declared errors models
cli/notebook: .declared .options .results .sets .terminal errors typer
cli/now: .declared .terminal errors program
cli/options: .completion .declared errors program
cli/panels: .declared typer
cli/plain: .declared errors
cli/report: .fail_on .terminal errors program trace
cli/results: .pager .terminal errors
cli/rule: .completion .declared .terminal errors
cli/run: .declared .fail_on .options .progress .results .terminal .tracebacks run
cli/sets: .declared .options typer
cli/show: .declared .options .pager .results .terminal
cli/tracebacks: errors models
compare/__init__: .traces
compare/after_backward: .align .saved_backward
compare/agreement: .align .distance .leaves trace
compare/align: .by_content .names trace
compare/around: trace
compare/assembled: .assembled_values .distance .examples .pieces .replicas .saved_backward .saved_step trace
compare/assembled_values: trace
compare/between_ranks: .around .assembled .comparison .difference .replicas .saved_backward trace
compare/buffers: .difference .tensors .weight_map torch
compare/by_content: trace
compare/by_steps: .comparison .contents .leaves .parting .reasons .steps .traces recorder trace
compare/candidates: .contents .known .matrices .units .whole_units torch
compare/comparison: .around .difference .distance .document .outputs_value .weight_map trace
compare/contents: torch
compare/difference: .document
compare/differences: .agreement .align .difference .leaves .outputs_value .weight_map trace
compare/direct/comparison: .difference .document trace
compare/direct/copies: .direct/leaves errors models torch
compare/direct/differences: .difference .direct/leaves .direct/step .direct/words .tensors torch trace
compare/direct/enter: torch
compare/direct/experiment: .difference .direct/comparison .direct/copies .direct/differences .direct/enter
  .direct/inventory .direct/measurements .direct/seen .direct/step .direct/verdict errors models torch trace
compare/direct/inventory: .direct/comparison .direct/enter recorder torch trace
compare/direct/leaves: .tensors recorder torch
compare/direct/measurements: .direct/comparison .direct/leaves .direct/step .direct/words
compare/direct/seen: .difference .direct/comparison .direct/enter .direct/step recorder torch trace
compare/direct/step: .direct/leaves .tensors models recorder torch
compare/direct/verdict: .difference .direct/comparison trace
compare/direct/words: .direct/step .tensors torch trace
compare/distance: .tolerances trace
compare/document: trace
compare/examples: .pieces .saved_backward trace
compare/gradients: .difference .tolerances trace
compare/kept_numbers: .agreement .distance .tensors recorder trace
compare/known: .contents .name_parts .units .weight_map .weight_values torch
compare/leaves: trace
compare/left_over: .name_parts .weight_map .weight_values torch
compare/light_copy: torch
compare/lively: torch
compare/matrices: .contents .known .name_parts .units .weight_map .whole_units torch
compare/modules: .tensors torch
compare/moving: .candidates .contents .known .light_copy .runs .units .watched .weight_map .weight_values models
  recorder torch
compare/names: errors
compare/origin: .agreement .align .comparison .leaves trace
compare/outputs: .distance .outputs_value .tensors torch
compare/outputs_value: .distance .document
compare/parting: .contents .steps trace
compare/pieces: .saved_numbers
compare/program_steps: .after_backward .agreement .align .around .comparison .difference .distance .leaves
  .program_verdict .saved_backward .saved_numbers .tolerances .traces trace
compare/program_verdict: .around .comparison .difference .distance .saved_backward trace
compare/quantized: .comparison torch trace
compare/rank_differences: .leaves trace
compare/rank_gradients: .assembled .between_ranks .examples .pieces .saved_backward trace
compare/ranked: .after_backward .assembled .between_ranks .comparison .difference .program_steps .rank_gradients
  .replicas .saved_backward .traces trace
compare/ranks: .document .rank_differences errors trace
compare/reasons: .leaves .parting trace
compare/replicas: .pieces .saved_backward .saved_step
compare/rounding: .light_copy .outputs .outputs_value .watched models recorder torch trace
compare/runs: .align .buffers .by_steps .comparison .differences .kept_numbers .light_copy .modules .outputs
  .outputs_value .quantized .rounding .traces .watched models recorder torch trace
compare/saved_backward: .align .comparison .difference .distance .saved_numbers .saved_step trace
compare/saved_numbers: .agreement .by_content .distance .saved_step errors trace
compare/saved_step: trace
compare/steps: .contents recorder torch
compare/tensors: .distance torch
compare/together: .assembled .assembled_values .examples .pieces .saved_backward .saved_step trace
compare/traces: .agreement .align .around .by_content .comparison .difference .differences .gradients .origin
  .outputs_value .verdict .weight_map trace
compare/units: .contents .light_copy .name_parts .rounding .runs .watched .weight_map models recorder torch trace
compare/unwrapped: .saved_step trace
compare/verdict: .agreement .align .around .comparison .difference .differences .distance .leaves .outputs_value
  .tolerances trace
compare/watched: .light_copy .steps models recorder torch trace
compare/weight_map: .document errors trace
compare/weight_values: .weight_map torch
compare/weights: .known .left_over .light_copy .moving .names .outputs .rounding .runs .units .weight_map
  .weight_values models torch trace
compare/whole_units: .contents .known .units .weight_map torch
findings/backward_error: .domains .flow trace
findings/direct: .places .readers trace
findings/domains: trace
findings/faults: .domains trace
findings/flow: trace
findings/forward_error/arguments: .forward_error/changes .forward_error/failure .forward_error/origins trace
findings/forward_error/changes: trace
findings/forward_error/failure: .forward_error/changes .forward_error/makers .forward_error/origins trace
findings/forward_error/feature_maps: .forward_error/changes .forward_error/failure .forward_error/origins trace
findings/forward_error/inputs: .forward_error/changes .forward_error/failure .forward_error/feature_maps
  .forward_error/origins trace
findings/forward_error/layers: .forward_error/changes .forward_error/failure trace
findings/forward_error/losses: .forward_error/changes .forward_error/failure trace
findings/forward_error/makers: .forward_error/origins trace
findings/forward_error/origins: trace
findings/forward_error/products: .forward_error/changes .forward_error/failure trace
findings/forward_error/rearranged: .forward_error/changes .forward_error/failure trace
findings/forward_error/reshapes: .forward_error/changes .forward_error/failure trace
findings/forward_error/rule: .forward_error/arguments .forward_error/changes .forward_error/failure
  .forward_error/inputs .forward_error/layers .forward_error/losses .forward_error/products
  .forward_error/rearranged .forward_error/reshapes .forward_error/sequences .forward_error/sizes
  .forward_error/squeezed trace
findings/forward_error/sequences: .forward_error/arguments .forward_error/changes .forward_error/failure
  .forward_error/products trace
findings/forward_error/sizes: .forward_error/changes .forward_error/failure .forward_error/feature_maps
  .forward_error/origins trace
findings/forward_error/squeezed: .forward_error/changes .forward_error/failure trace
findings/gradients: .backward_error .faults .flow .places trace
findings/modules: .places .readers trace
findings/non_finite: .domains .faults trace
findings/places: trace
findings/readers: trace
findings/rules: .backward_error .direct .forward_error/rule .gradients .modules .non_finite .unseen .values
  .wrappers
findings/unseen: .places trace
findings/values: trace
findings/wrappers: .places trace
models/capsule: .randomness .spec errors torch trace
models/devices: .meta errors torch
models/guess: .spec torch trace
models/imports: .spec errors
models/inputs: .memory .spec errors torch
models/load: .guess .imports .meant .sources/__init__ .spec .zoo/__init__ errors torch trace
models/meant: .sources/__init__ .spec .zoo/__init__ errors
models/meta: torch
models/randomness: torch
models/sources/__init__: .spec errors
models/sources/exported: .sources/exported_code .spec errors torch
models/sources/exported_code: torch
models/sources/libraries: .memory .meta errors torch
models/sources/script: errors torch
models/sources/timm: .sources/libraries .spec errors torch
models/sources/torchvision: .sources/libraries .spec errors torch
models/sources/transformers: .sources/libraries .sources/transformers_inputs .spec errors torch
models/sources/transformers_inputs: torch
models/spec: errors
models/weights: errors torch trace
models/zoo/calls: torch
models/zoo/hooks: torch
models/zoo/lenet: torch
models/zoo/lenets: .zoo/lenet torch
models/zoo/mechanisms: torch
models/zoo/structure: torch
program/backward_again: .crash .part .replay .state .traces models recorder torch trace
program/block: .crash .signals .wanted .watch recorder trace
program/caught: .tracebacks torch trace
program/causes: .moment .passes .replay .roots .steps torch
program/children: trace
program/crash: .moment .replay .state .statement .tracebacks models recorder torch trace trials
program/device_clock: .passes recorder torch
program/endings: .tracebacks
program/events: .causes .device_clock .endings .loss .moment .passes .replay .replays .roots .saved_step .steps
  .together .wanted recorder torch
program/explanation: .backward_again .crash .traces .watch recorder trace trials
program/first_module: .tracebacks torch
program/holders: torch trace
program/hooked: .roots .tracebacks .wanted recorder torch
program/kept: .optimizers .roots .wanted recorder torch trace
program/loss: .moment .replay .statement recorder torch trace
program/made: .tracebacks recorder torch
program/moment: models recorder torch
program/names: recorder torch
program/observed: .children .endings .program .python .rank_files .reasons .traces .wanted errors trace
program/optimizers: .roots recorder torch trace
program/part: .statement recorder torch
program/passes: .moment .roots recorder torch
program/python: .tracebacks errors
program/rank_files: errors
program/ranks: .rank_files compare errors trace
program/reasons: .children .wanted trace
program/replay: .moment .passes .state .together .traces models recorder torch trace
program/replays: .loss .names .passes .replay .roots .saved_step .steps recorder torch trace
program/roots: .holders .moment .skipped .slow .wanted recorder torch trace
program/saved_step: .passes models recorder torch
program/skipped: torch
program/startup/begin: .endings .python .signals
program/startup/sitecustomize: .startup/begin sitecustomize
program/state: recorder torch
program/statement: torch
program/steps: .roots recorder torch trace
program/together: recorder torch
program/tracebacks: errors
program/traces: .wanted findings trace
program/watch: .caught .endings .holders .hooked .kept .made .names .optimizers .reasons .roots .signals .wanted
  recorder torch trace
pytest_plugin: pytest
recorder/__init__: .notes .recording
recorder/accelerators: torch trace
recorder/around: .measures/keeper .torch_internals torch trace
recorder/boundaries: .code_exchange .frames .hooks .modules .notes .outside .session .torch_internals torch
recorder/code_exchange: .frames errors torch
recorder/describe: .objects .parts torch trace
recorder/drafts: trace
recorder/earlier: torch trace
recorder/finish: .around .finished_calls .hooks .measures/gradients .notes .session .torch_internals .tree findings
  torch trace version
recorder/finished_calls: .describe .drafts .frames .measures/costs .measures/device_time .measures/finiteness
  .measures/gradients .measures/ops .measures/peak_memory .measures/statistics .notes .session .sources .tree trace
recorder/flow: .earlier .leaves .notes .session .torch_internals torch
recorder/frames: .torch_internals errors torch trace
recorder/hooks: .frames .measures/values .notes .session .torch_internals torch
recorder/leaves: .describe .drafts .notes .objects .parts .torch_internals torch trace
recorder/measures/backward_errors: .measures/backward_graph .measures/writes .notes .torch_internals torch trace
recorder/measures/backward_graph: .measures/operands .measures/values .notes .torch_internals torch trace
recorder/measures/costs: .notes .session .torch_internals torch
recorder/measures/device_time: .accelerators .notes .session .tree
recorder/measures/finiteness: .describe .measures/operands .measures/values .notes .session .torch_internals torch
  trace
recorder/measures/gradients: .describe .frames .measures/backward_errors .measures/backward_graph .measures/values
  .measures/writes .notes .session .torch_internals .tree torch trace
recorder/measures/keeper: .describe .measures/values .notes .torch_internals torch trace
recorder/measures/operands: .measures/values .torch_internals torch trace
recorder/measures/ops: .flow .frames .notes .operators .outside .session .torch_internals torch
recorder/measures/peak_memory: .measures/device_time .notes .session
recorder/measures/statistics: .describe .measures/values .notes .session trace
recorder/measures/training_keeper: .measures/keeper .measures/values .notes .torch_internals .tree torch
recorder/measures/values: .torch_internals torch trace
recorder/measures/writes: .describe .measures/values .notes .torch_internals torch
recorder/modules: .code_exchange .frames .hooks .notes .session .torch_internals .tree torch
recorder/notes: .accelerators .frames .torch_internals torch trace
recorder/objects: .parts torch
recorder/outside: .torch_internals torch trace
recorder/parts: torch
recorder/recording: .boundaries .earlier .finish .hooks .measures/costs .measures/device_time .measures/finiteness
  .measures/gradients .measures/ops .measures/peak_memory .measures/statistics .modules .notes .session
  .torch_internals errors torch trace
recorder/session: .leaves .notes torch
recorder/sources: .drafts .earlier .flow .notes .tree torch trace
recorder/torch_internals: torch
recorder/tree: torch
render/calls: .fold .sheet .words trace
render/cells: .words rich
render/chart: .calls .fold .only .rows .shapes .sheet .words rich trace
render/closing: .calls .findings .happened .lines .sheet .summary .totals .words rich trace
render/columns: .calls .cells .numbers .rows .shapes .sheet .words trace
render/compared_page: .growth .side_by_side .words compare trace
render/compared_steps: .lines compare trace
render/csv: .marks .numbers .words trace
render/details: .calls .words trace
render/direct_forward: .direct_rounds .lines compare rich trace
render/direct_rounds: .lines compare trace
render/dot: .chart .sheet .summary .totals .words trace
render/findings: .paths trace
render/fold: .marks .shapes trace
render/frame: .csv errors trace
render/growth: .words rich
render/happened: .growth .words trace
render/html: .calls .compared_page .details .findings .fold .happened .marks .numbers .page_rows .sheet
  .side_by_side .summary .totals .words compare trace
render/kept_calls: .happened .words trace
render/layout: .cells .columns .words rich
render/lines: .words rich
render/markdown: .calls .columns .findings .fold .numbers .only .rows .shapes .sheet .summary .totals .words trace
render/marks: trace
render/mermaid: .chart .sheet .summary .totals .words trace
render/names: .cells .rows .words rich trace
render/notebook: .svg .tree trace
render/numbers: .totals trace
render/only: .fold .marks trace
render/page_rows: .calls .details .numbers .shapes .sheet .words trace
render/program: .kept_calls .lines .sheet .tree rich trace
render/ranking: .closing .lines .numbers .only .sheet .summary .totals .words rich trace
render/ranks: .lines .sheet .tree .words compare rich trace
render/rows: .fold trace
render/shapes: .cells .sheet .words trace
render/sheet: .cells .words trace
render/side_by_side: .details compare trace
render/source: .calls .closing .lines .only .shapes .sheet .words rich trace
render/summary: .shapes .sheet .words trace
render/svg: .tree rich trace
render/timeline: .calls .shapes .sheet .summary .words trace
render/totals: .words trace
render/tree: .calls .cells .closing .columns .fold .layout .lines .marks .names .numbers .only .rows .sheet .summary
  .words rich trace
render/two_traces: .compared_steps .lines .words compare rich trace
render/words: rich
run/backward: errors recorder torch
run/convert: compare errors models torch trace
run/direct: compare errors models torch
run/guess: errors findings models torch trace trials
run/once: .backward .guess .warm errors models recorder torch trace trials
run/programs: .saved compare errors trace
run/saved: .saved_calls .saved_ranks compare errors trace
run/saved_calls: compare errors trace
run/saved_ranks: .saved_calls compare errors trace
run/two: compare errors models torch
run/warm: errors models recorder torch trace
trace/__init__: .backward .flow .info .trace .values
trace/backward: .values
trace/flow: .values
trace/head: .info .json_stream .rows .trace
trace/info: .values
trace/magnitudes: .info .trace .values
trace/mechanisms: .values
trace/raw: .head .rows .trace
trace/read: .json_stream .rows .trace .values errors
trace/rows: .backward .info .values
trace/text: .values
trace/trace: .backward .files .flow .info .rows .values .views
trials/apply: findings recorder torch trace
trials/calls_in: models recorder torch
trials/conversions: .apply findings torch
trials/copies: .apply .calls_in findings models recorder torch trace
trials/failed: .calls_in .search findings recorder torch trace
trials/record: .failed recorder torch
trials/same_crash: .apply .copies findings models torch trace
trials/search: .apply .conversions .copies .same_crash .time_left findings models torch trace
"""
"""What each file may import at its top: `.name` is a file of its own room, `name` another room or a library.

The standard library is free, and so are imports for type checkers alone. A file that is not there imports nothing.
"""
