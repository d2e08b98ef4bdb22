"""All the tiny modules of the tests by name: those that call normally, those that do so awkwardly, those that fail."""

from __future__ import annotations

import inspect

from torch import nn

from tests.helpers import awkward_models, failing_models, models

SMALL_MODELS: dict[str, type[nn.Module]] = {
    name: model
    for file in (models, awkward_models, failing_models)
    for name, model in vars(file).items()
    if inspect.isclass(model) and issubclass(model, nn.Module)
}
