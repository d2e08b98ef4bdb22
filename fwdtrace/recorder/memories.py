"""Which of the tensors that are known are in one memory: asked for at each write that no version tells of."""

from __future__ import annotations

from torch import Tensor

from fwdtrace.recorder.notes import Known, Note, OpenCall, OpenOp
from fwdtrace.recorder.session import Session
from fwdtrace.recorder.torch_internals import holders_of_memory, memory_of, without_torch_function


class Memories:
    """The identities of tensors by their memory. What was noted since the last question is read at the next one."""

    __slots__ = ("_by_memory", "_known", "_open", "_read", "_session", "_unread")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[int, Known] = session.leaves.known
        self._by_memory: dict[int, dict[int, None]] = {}
        self._unread: dict[int, None] = {}
        self._open: list[Note] = []
        self._read = len(session.log)
        """So much of the log was read; the calls in it that had not given anything are open."""

    def met(self, tensor: Tensor) -> None:
        """Note a tensor that is no result in the log, or that may be in another memory now."""
        self._unread[id(tensor)] = None

    def known_in(self, memory: int) -> list[tuple[Tensor, Known]]:
        """The tensors that are known in a memory, with what is known."""
        with without_torch_function():  # one of them may be of a class of the user's
            self._read_on()
            found = []
            for key in self._by_memory.get(memory, ()):
                entry = self._known.get(key)
                tensor = entry() if entry is not None else None
                if entry is not None and tensor is not None and id(tensor) == key and memory_of(tensor) == memory:
                    found.append((tensor, entry))
            self._by_memory[memory] = {id(tensor): None for tensor, _ in found}
            return found

    def forget(self) -> None:
        """Let go of all."""
        self._by_memory.clear()
        self._unread.clear()
        self._open.clear()

    def _read_on(self) -> None:
        notes = [*self._open, *self._session.log[self._read :]]
        self._read = len(self._session.log)
        self._open = [note for note in notes if _may_give(note)]
        made = (note if type(note) is OpenOp else getattr(note, "given", None) for note in notes)
        tensors = [entry() for entry in made if isinstance(entry, Known)]
        tensors += [entry() for key in self._unread if (entry := self._known.get(key)) is not None]
        self._unread.clear()
        for tensor in tensors:
            if tensor is not None:
                self._by_memory.setdefault(memory_of(tensor), {})[id(tensor)] = None


def is_shared(tensor: Tensor) -> bool:
    """Whether somebody else has the memory of a tensor, too."""
    try:
        storage = tensor.untyped_storage()  # which must live while its holders are counted
        return holders_of_memory(storage._cdata) > 2
    except (RuntimeError, NotImplementedError):  # as in `memory_of`
        return False


def _may_give(note: Note) -> bool:
    """Whether a call has not given anything yet, and has not raised."""
    is_open = isinstance(note, OpenCall) and getattr(note, "given", None) is None
    return is_open and (note.rare is None or note.rare.error is None)  # type: ignore[union-attr]
