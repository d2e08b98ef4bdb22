"""Small programs of different kinds that are ended while they work: what they leave shows how Python ended them.

Each calls `work()` when all is set up: it prints `ready` and, with `wait` as the argument, waits to be interrupted.
Nothing is printed after that but by what runs at the end.
"""

from __future__ import annotations

BEGIN = """\
import sys, time
import torch

torch.set_num_threads(1)
net = torch.nn.Linear(2, 2)
net(torch.ones(1, 2))


def work():
    print("ready", flush=True), sys.argv[1] == "wait" and time.sleep(3000)  # a line, wherever the signal comes


"""

STAND_IN = """\
class nn:
    class Linear:
        def __init__(self, *features): pass
        def __call__(self, x): pass


def set_num_threads(number): pass
def ones(*shape): pass
"""
"""What the programs call of torch before they work, as far as nobody can see what becomes of it."""

NEED_TORCH = ("workers of a DataLoader", "inside a call")

STAY = {"a command": 1, "forked daemons": 2, "a spawned daemon": 2}
"""How many processes a program that SIGTERM ends leaves behind: they sleep on, one beside what tracks its resources."""

PROGRAMS = {
    "exit handlers": """\
import atexit
atexit.register(print, "registered first")
atexit.register(lambda: 1 / 0)
atexit.register(sys.exit, 7)
atexit.register(print, "registered last")
work()
""",
    "files that are not closed": """\
log = open("log.txt", "w")
log.write("held back")
raw = open("raw.bin", "wb")
raw.write(b"held back")
work()
log.write(" and written at the end")
""",
    "logging": """\
import logging, logging.handlers
memory = logging.handlers.MemoryHandler(1000, target=logging.FileHandler("memory.txt"))
logging.basicConfig(level="INFO", handlers=[memory, logging.StreamHandler()])
logging.info("set up")
work()
logging.info("done")
""",
    "temporary folders": """\
import os, tempfile
forgotten = tempfile.TemporaryDirectory(dir=".")
named = tempfile.NamedTemporaryFile(dir=".")
with tempfile.TemporaryDirectory(dir=".") as folder:
    open(os.path.join(folder, "part"), "w").write("x")
    work()
""",
    "objects that say when they die": """\
import weakref
class Told:
    def __init__(self, name): self.name = name
    def __del__(self): print("gone:", self.name)
kept, cycle = Told("kept"), Told("in a cycle")
cycle.self = cycle
weakref.finalize(kept, print, "finalized")
def inner():
    local = Told("local")
    work()
inner()
""",
    "cleaning up": """\
import contextlib
with contextlib.ExitStack() as stack:
    stack.callback(print, "left the stack")
    try:
        work()
    finally:
        print("finally", sys.exc_info()[0])
""",
    "its own way with Ctrl-C": """\
try:
    work()
except KeyboardInterrupt:
    print("interrupted")
    sys.exit(130)
""",
    "its own handlers": """\
import os, signal
def end(number, frame):
    print("told to end by", signal.Signals(number).name)
    sys.exit(5)
print(signal.signal(signal.SIGTERM, end), signal.signal(signal.SIGINT, end) is signal.default_int_handler)
if not os.fork():
    os._exit(0)
os.wait()
work()
""",
    "an excepthook": """\
def hook(kind, error, traceback):
    open("crash.txt", "w").write(kind.__name__)
    print("hooked", sys.exc_info(), traceback.tb_frame.f_back)
sys.excepthook = hook
work()
1 / 0
""",
    "an excepthook that raises": """\
def hook(*_):
    raise LookupError("in the hook")
sys.excepthook = hook
work()
1 / 0
""",
    "threads": """\
import threading
def late():
    threading.main_thread().join()
    print("a thread that Python waits for")
threading.Thread(target=late).start()
threading.Thread(target=time.sleep, args=(3000,), daemon=True).start()
work()
""",
    "a pool of threads": """\
import threading
from concurrent.futures import ThreadPoolExecutor
pool, over = ThreadPoolExecutor(1), threading.Event()
jobs = [pool.submit(over.wait), pool.submit(print, "last job")]
try:
    work()
finally:
    over.set()
""",
    "asyncio": """\
import asyncio, signal
async def serve():
    try:
        print("ready", flush=True)
        if sys.argv[1] == "wait":
            await asyncio.sleep(3000)
    finally:
        print("closed", asyncio.current_task().cancelling() if sys.version_info > (3, 11) else "")
asyncio.run(serve())
""",
    "asyncio with a handler": """\
import asyncio, signal
async def serve():
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    print("ready", flush=True)
    if sys.argv[1] == "wait":
        await over.wait()
    print("over")
asyncio.run(serve())
""",
    "a command": """\
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3000)"])
try:
    work()
finally:
    child.terminate()
    print(child.wait())
""",
    "forked daemons": """\
import multiprocessing
fork = multiprocessing.get_context("fork")
for _ in range(2):
    fork.Process(target=time.sleep, args=(3000,), daemon=True).start()
short = fork.Process(target=time.sleep, args=(3000,))
short.start()
short.terminate()
short.join()
print(short.exitcode)
work()
""",
    "a spawned daemon": """\
if __name__ == "__main__":
    import multiprocessing
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(3000,), daemon=True)
    child.start()
    work()
""",
    "a queue": """\
import multiprocessing
queue = multiprocessing.get_context("fork").Queue()
queue.put(list(range(1000)))
print(sum(queue.get()))
work()
""",
    "workers of a DataLoader": """\
from torch.utils.data import DataLoader
rows = iter(DataLoader(range(1000), batch_size=2, num_workers=2, multiprocessing_context="fork"))
print(net(next(rows).float()).shape)
work()
""",
    "a replaced stdout": """\
first = sys.stdout
sys.stderr = open("err.txt", "w")
sys.stdout = open("out.txt", "w")
print("goes into a file")
print("ready", file=first, flush=True), sys.argv[1] == "wait" and time.sleep(3000)
""",
    "inside a call": """\
class Slow(torch.nn.Linear):
    def forward(self, x):
        work()
        return super().forward(x)
Slow(2, 2)(torch.ones(1, 2))
print("after the call")
""",
}

AT_THE_END = (
    *("exit handlers", "files that are not closed", "logging", "temporary folders", "cleaning up", "threads"),
    "a queue",
)
"""What only shows when Python ends: these programs work together as well, each where the one before would work."""
PROGRAMS["together"] = f"""\
alone, others = work, {[PROGRAMS[name] for name in AT_THE_END]!r}
def work():
    exec(compile(others.pop(0), "program.py", "exec"), globals()) if others else alone()
work()
"""
