"""`fwdtrace exec` on programs that train with a library's own loop: results and output stay, and the model is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwdtrace import load_trace
from tests.helpers.commands import HANG, REPOSITORY
from tests.helpers.forks import printed_by
from tests.helpers.shares import one_in

START = """\
import hashlib, logging, os, warnings
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
import torch
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(0)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, 1)
    def forward(self, x):
        return self.last(self.drop(torch.relu(self.first(x))))

data = torch.utils.data.TensorDataset(torch.randn(12, 4), torch.randn(12, 1))
"""
END = """
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.state_dict().values())).hexdigest())
"""
TINY = "vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2"

PROGRAMS = {
    "lightning": """
import lightning
class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()
    def training_step(self, batch, index):
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        print(loss.item().hex())
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
model = Module()
trainer = lightning.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=4))
""",
    "accelerate": """
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer, loader = accelerator.prepare(model, optimizer, torch.utils.data.DataLoader(data, batch_size=4))
for x, y in loader:
    loss = nn.functional.mse_loss(model(x), y)
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    print(loss.item().hex())
""",
    "trainer": f"""
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainingArguments
model = LlamaForCausalLM(LlamaConfig({TINY}))
tokens = [dict(input_ids=row, labels=row) for row in torch.randint(0, 64, (8, 6))]
arguments = TrainingArguments(
    "out", per_device_train_batch_size=4, max_steps=3, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True
)
trainer = Trainer(model, arguments, train_dataset=tokens)
trainer.remove_callback(PrinterCallback)  # it prints times
print(trainer.train().training_loss.hex())
""",
    "peft": f"""
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
model = get_peft_model(LlamaForCausalLM(LlamaConfig({TINY})), LoraConfig(target_modules=["q_proj", "v_proj"]))
optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
for tokens in torch.randint(0, 64, (3, 2, 6)):
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(loss.item().hex())
""",
}

SEEN = {
    "lightning": ("Module", "net.first"),
    "accelerate": ("Net", "first"),
    "trainer": ("LlamaForCausalLM", "model.layers.1.mlp.down_proj"),
    "peft": ("PeftModel", "base_model.model.model.layers.1.self_attn.q_proj.lora_A.default"),
}


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    shim = str(REPOSITORY / "tests" / "torchvision_shim")
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=HANG, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((shim, str(REPOSITORY))), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("library", one_in(4, ("peft", "lightning", "accelerate", "trainer")))
def test_a_program_trains_as_it_does_untraced_and_its_model_is_seen(library: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(START + PROGRAMS[library] + END, encoding="utf-8")
    (bare,) = printed_by(["train.py"], tmp_path)
    traced = run(["-m", "fwdtrace", "exec", "-o", "t.json", "train.py"], tmp_path)
    assert (traced.returncode, traced.stdout) == (0, bare), traced.stderr
    assert traced.stderr.splitlines()[-1].startswith("fwdtrace: saved t.json")
    trace = load_trace(tmp_path / "t.json")
    root, inside = SEEN[library]
    assert trace.model.class_name.endswith(root)
    assert [call.entry for call in trace.at(inside)] == ["__call__"]
    assert trace.model.training
