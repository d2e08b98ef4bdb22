"""Errors that leave a call of a model have the tracebacks that they would have without us, whoever prints them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import REPOSITORY

PROGRAM = """\
import sys
import threading
import traceback
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x)


class OwnCall(Net):
    def __call__(self, x):
        return super().__call__(x)


class NoNumber(Net):
    def __init__(self):
        nn.Module.__init__(self, 1)


def in_a_thread(do):
    thread = threading.Thread(target=do)
    thread.start()
    thread.join()


net, own = Net(), OwnCall()
net(torch.ones(1, 4))
for hook in (threading.excepthook, lambda caught: traceback.print_tb(caught.exc_traceback)):
    threading.excepthook = hook
    for call in (net, own, net.forward, own.forward, lambda x: Net()(x), lambda x: NoNumber()):
        for width in (4, 4, 5, 6):
            in_a_thread(lambda: call(torch.ones(2, width)))
            try:
                call(torch.ones(2, width))
            except (RuntimeError, TypeError):
                traceback.print_exc()
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 puts the outermost frame back")
def test_a_traceback_in_a_thread_or_of_a_caught_error_has_no_frames_of_ours(tmp_path: Path) -> None:
    (tmp_path / "threads.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    commands = [[sys.executable, "threads.py"], [sys.executable, "-m", "fwdtrace", "exec", "threads.py"]]
    bare, traced = (
        subprocess.run(each, cwd=tmp_path, env=environment, capture_output=True, text=True) for each in commands
    )
    assert bare.stderr.count("in forward") >= 20
    assert traced.stderr.startswith(bare.stderr)
