"""The Trainer of transformers, which clips gradients and drives everything."""

from __future__ import annotations

import logging
import tempfile
import warnings
from typing import Any

from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from tests.helpers.trainings.batches import EXAMPLES, Examples, Net
from tests.helpers.trainings.common import arguments, report

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)


class Reports(TrainerCallback):
    """Print each step as the other programs do."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, model: Any = None, **more: Any) -> None:
        """Called after each step."""
        if "loss" in logs:
            report(state.global_step - 1, float(logs["loss"]), model)


def main() -> None:
    """Train it."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            per_device_train_batch_size=EXAMPLES,
            max_steps=options.steps,
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = Trainer(Net(), settings, train_dataset=Examples(options), callbacks=[Reports()])
        trainer.remove_callback(PrinterCallback)  # it prints times
        trainer.train()


if __name__ == "__main__":
    main()
