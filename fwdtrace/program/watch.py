"""Watch a whole program for the calls of its models, and record those that are wanted; nothing else is touched.

Only classes whose calls may be wanted are hooked. Once nothing new comes of a root for some calls, of its classes only
those are hooked by which it is called from outside, to count its calls.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
from collections.abc import Callable, Iterable, Iterator
from sys import _getframe
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fwdtrace.program.caught import CaughtErrors
from fwdtrace.program.endings import stop
from fwdtrace.program.holders import origin_of_now
from fwdtrace.program.hooked import HookedClasses, Thread
from fwdtrace.program.made import notice_modules, take_out
from fwdtrace.program.names import name_of_called
from fwdtrace.program.open_calls import OpenCalls
from fwdtrace.program.optimizers import StepWatch
from fwdtrace.program.reasons import why_nothing_was_kept
from fwdtrace.program.roots import BOTH, Root, Roots, is_torchs_own
from fwdtrace.program.signals import is_wished
from fwdtrace.program.wanted import Looks, Wanted
from fwdtrace.recorder.frames import frame_role, runs_in_a_call
from fwdtrace.recorder.session import changing, listen_for_changes
from fwdtrace.recorder.torch_internals import is_no_plain_run
from fwdtrace.trace import Trace
from fwdtrace.trace.called import Called, Origin

if TYPE_CHECKING:
    from fwdtrace.program.events import Events
    from fwdtrace.program.kept import KeptCall, Open
    from fwdtrace.program.saved_step import StepToSave
    from fwdtrace.recorder.recorded import Options


class Watch:
    """One watch over the program.

    `keep` is called with each recorded call when it has ended, with its backward if gradients are asked for; if it
    returns true, `stop` ends the program. `max_bytes` limits the copies of the numbers that are kept of a call. Where
    every call is looked at, `keep_event` is called with the trace of each event.
    """

    def __init__(
        self,
        wanted: Wanted,
        options: Options,
        keep: Callable[[KeptCall], bool],
        max_bytes: int | None = None,
        keep_event: Callable[[Trace], bool] = lambda trace: False,
        looks: Looks = Looks(),  # noqa: B008
    ) -> None:
        self._wanted, self._options, self._max_bytes = wanted, options, max_bytes
        self._keep_event, self._looks = keep_event, looks
        self._steps = StepWatch(self._before_step)
        self._roots = Roots(wanted, self._hook_what_is_wanted)
        self._thread = Thread()
        self.caught = CaughtErrors(self.top, self._unhooked_if_idle)
        self._classes = HookedClasses(self._thread, self._roots.known, self._called, self.caught.raised)
        self._calls = OpenCalls(self._roots, options, keep, keep_event, max_bytes)
        self._lock = threading.RLock()  # for all of this but what the program itself runs
        self._one_replay = threading.RLock()
        self._watches = False
        self._replays = False
        self._recordings = 0
        self._removals: list[Callable[[], None]] = []
        self._last_removals: list[Callable[[], None]] = []
        self.saves: StepToSave | None = None
        self.events: Events | None = None
        if looks.nonfinite or looks.slow is not None:
            from fwdtrace.program.events import Events
            from fwdtrace.program.saved_step import StepToSave

            self._calls.remembered = looks.last
            self.saves = StepToSave(looks.save_step)
            self.events = Events(looks, self._unhooked, lambda root, trace: keep_event(root.named(trace)), self.saves)

    def begin(self) -> None:
        """Learn of every module that is constructed, copied or unpickled from now on."""
        self._watches = True
        self._removals += notice_modules(self.learn_of, lambda each: self.learn_of(each, origin_of_now(_getframe(2))))
        # No recording may add or remove a hook of its own: a thread that builds a model may be going through them.
        self._last_removals = [
            register_module_module_registration_hook(self._tree_changed).remove,
            listen_for_changes(),
        ]
        if self.events is not None:
            self._last_removals.append(register_optimizer_step_pre_hook(self.events.before_step).remove)

    def learn_of_all(self) -> None:
        """Learn of the modules that are there already."""
        for each in [each for each in gc.get_objects() if issubclass(type(each), nn.Module)]:
            self.learn_of(each)

    def end(self, error: BaseException | None = None) -> None:
        """Leave everything as it was found; the recording of a call that is running goes on, and is kept.

        `error` is what ended the program: backward may have raised it, and a recording await its backward.
        """
        with self._lock:
            self._watches = False
            self._classes.unhook()
            take_out(self._removals)
            self._steps.notice(False)
            self._calls.end_awaiting(error)
        take_out(self._last_removals)

    def before_fork(self) -> None:
        """Wait for the threads that are changing something: they do not exist in the child."""
        self._lock.acquire()
        changing.acquire()

    def after_fork(self) -> None:
        """Let them go on."""
        changing.release()
        self._lock.release()

    def end_in_child(self) -> None:
        """Watch nothing in the child."""
        self.after_fork()
        self._calls.forget_awaiting()
        self.end()

    def go_on_in_child(self, keep: Callable[[KeptCall], bool]) -> Watch:
        """The watch over the child: it knows the modules that there are, and has counted no call."""
        self.end_in_child()
        watch = Watch(self._wanted, self._options, keep, self._max_bytes, self._keep_event, self._looks)
        watch._roots.holders = self._roots.holders
        watch.begin()
        watch._hook_what_is_wanted()
        return watch

    def keep_what_is_open(self) -> None:
        """Keep the recording that is open as far as it has come, for a program that is about to be killed."""
        with self._lock:
            self._calls.keep_as_far_as_they_are()
        if self.events is not None:
            self.events.keep_open()

    def called(self) -> list[Called]:
        """The roots of which a call was kept, in order of the first kept call."""
        with self._lock:
            return [root.called() for root in self._roots.kept]

    def model(self, number: int) -> nn.Module | None:
        """The model of which calls were kept under this number; None if it is gone."""
        with self._lock:
            return self._roots.kept[number].module()

    def top(self, module: nn.Module) -> tuple[nn.Module, str | None, int | None]:
        """The module at the top of what holds one that was called, its variable, and the number of the latest call."""
        with self._lock:
            return self._roots.latest_call(module)

    def why_nothing_was_kept(self) -> str:
        """The reason, if no call was kept."""
        with self._lock:
            roots, left = self._roots, self.events is not None and self.events.leaves_gradients
            return why_nothing_was_kept(self._wanted, roots.not_kept(), roots.names(), left, roots.holders.saw_script)

    def learn_of(self, module: nn.Module, origin: Origin | None = None) -> None:
        """Learn of a module that was made just now."""
        with self._lock:
            self._roots.holders.made(module, origin)
            if not self._calls.one_runs and not self._replays and not self._roots.is_full:
                self._hook(type(module), BOTH)

    def _tree_changed(self, module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        with self._lock:
            if self._removals and submodule is not None:
                self._roots.holders.placed(module, name, submodule)

    @frame_role("boundary")
    def _called(self, module: nn.Module, original: Callable[..., Any], entry: str, args: Any, kwargs: Any) -> Any:
        """A call from outside all modules that are watched: record it, or let it run as it would."""
        if not self._watches or is_no_plain_run() or module.__dict__.get("_is_replica"):
            self._roots.count_in_backward(module, entry)
            return original(module, *args, **kwargs)
        if self._thread.recordings != self._recordings and runs_in_a_call(_getframe(2)):
            return original(module, *args, **kwargs)  # in one that began when another thread's call was recorded
        self._thread.recordings = self._recordings
        with self._lock:
            root_and_path = self._roots.root_and_path(module)
            end_now = root_and_path is not None and self._calls.called_again(*root_and_path, entry)
            opened, number = self._begun(*root_and_path, module, entry) if root_and_path is not None else (None, 0)
        if end_now:
            raise stop()
        if root_and_path is None and not is_torchs_own(module):
            return original(module, *args, **kwargs)
        recorded = functools.partial(self._recorded, opened, module, entry) if opened is not None else None
        call = recorded or functools.partial(original, module)
        self._thread.inside = True
        try:
            if self.events is not None and root_and_path is not None and number:
                return self.events.run(root_and_path[0], number, module, entry, args, kwargs, call)
            return call(*args, **kwargs)
        except BaseException as error:
            self.caught.raised(module, error)
            raise
        finally:
            self._thread.inside = False

    def _begun(self, root: Root, path: str, module: nn.Module, entry: str) -> tuple[Open | None, int]:
        """Count a call, and if it is wanted and no other is being recorded, make the recording for it; its number."""
        round, count = self._roots.count(root, path, module, entry)
        event = "signal" if round is None and count and is_wished() else None
        round = (event, count) if event is not None else round
        if round is None or self._replays or not self._calls.may_begin(root):
            return None, count
        top = module if (top := root.module()) is None else top  # which may be false: a model may have a length
        if root.kept_as is None:
            root.name = name_of_called(top, module, _getframe(3))
        self._thread.inside = True  # the state of the model may be read by calls
        try:
            return self._calls.begin(root, top, (path, entry), module, round, count, event), count
        finally:
            self._thread.inside = False

    @frame_role("boundary")
    def _recorded(self, opened: Open, module: nn.Module, entry: str, /, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            # A call of another thread is seen all the time: by our hooks until the recording sees it, and after that.
            opened.recording.begin(self._classes.unhook, self._called_elsewhere)
        try:
            output = module(*args, **kwargs) if entry == "__call__" else module.forward(*args, **kwargs)
        except BaseException as error:
            self._is_over(opened, error)
            opened.hide_our_frames(error)
            raise
        if self._is_over(opened):
            raise stop()
        return output

    def _called_elsewhere(self, module: nn.Module, entry: str) -> None:
        """Count a call of another thread, which our hooks are not there to see, or were there for and have counted."""
        if not self._thread.inside:
            with self._lock:
                self._roots.count_elsewhere(module, entry)

    def _is_over(self, opened: Open, error: BaseException | None = None) -> bool:
        """A call that was being recorded has come to its end; whether the program is to be ended."""
        with self._lock:
            return self._calls.is_over(opened, error, self._hook_again)

    @contextlib.contextmanager
    def _unhooked(self) -> Iterator[None]:
        """A block in which models run without our hooks, to be recorded once more."""
        inside, self._thread.inside = self._thread.inside, True
        with self._one_replay:
            with self._lock:  # but not as long as the replay takes: who is to be killed meanwhile needs it
                self._replays = True
                self._classes.unhook()
            try:
                yield
            finally:
                with self._lock:
                    self._replays, self._thread.inside = False, inside
                    self._hook_again()

    def _unhooked_if_idle(self) -> contextlib.AbstractContextManager[None] | None:
        """That block; None while a recording is open, which would take in what runs there."""
        with self._lock:
            busy = self._calls.one_runs or self._calls.one_awaits_backward or self._replays
            return None if busy else self._unhooked()

    def look_no_more(self) -> None:
        """Let calls and steps that nobody wants to keep run as they would, from now on."""
        with self._lock:
            if self.events is None or not self.events.end():
                self.events = None
                self._calls.remembered = 0
                self._roots.look_no_more()

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        """End the recordings of the models whose parameters the optimizer is about to change."""
        with self._lock:
            end_now = self._calls.end_before_step(optimizer)
            self._steps.look_for_training(optimizer, self._roots)
            idle = not self._calls.one_runs and not self._calls.one_awaits_backward
            if idle and not self._replays and self._watches:
                self._hook_classes()  # those with a way in of their own were left alone while a backward was awaited
        if end_now:
            raise stop()

    def _hook_what_is_wanted(self) -> None:
        """Hook the classes of modules by which a wanted call may come, and no others."""
        if self._calls.one_runs or self._replays or not self._watches:
            return
        self._hook_classes()
        if self._roots.is_complete:
            take_out(self._removals)
        self._steps.notice(self._calls.one_awaits_backward or bool(self._roots.awaiting_a_step()))

    def _hook_again(self) -> None:
        self._recordings = self._thread.recordings = self._recordings + 1
        self._hook_what_is_wanted()

    def _hook_classes(self) -> None:
        self._classes.unhook()
        for cls, entries in self._roots.entries_to_watch().items():
            self._hook(cls, entries)

    def _hook(self, cls: type, entries: Iterable[str]) -> None:
        if self._roots.has_parameters(cls):  # and nobody must come between a recording that is open and a forward
            self._classes.hook(cls, entries, inherited_alone=self._calls.one_awaits_backward)
