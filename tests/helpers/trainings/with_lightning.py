"""The Trainer of Lightning, around a module whose model returns its loss."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning
import torch
from torch import Tensor

from tests.helpers.trainings.batches import EXAMPLES, Examples, Net
from tests.helpers.trainings.common import arguments, report

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)


class Module(lightning.LightningModule):
    """The net, and how to train it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """The loss of a batch."""
        return self.net(**batch)["loss"]  # type: ignore[no-any-return]

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        """Print each step as the other programs do."""
        report(index, outputs["loss"], self.net)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain steps."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main() -> None:
    """Train it."""
    options = arguments()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(Module(), torch.utils.data.DataLoader(Examples(options), batch_size=EXAMPLES))


if __name__ == "__main__":
    main()
