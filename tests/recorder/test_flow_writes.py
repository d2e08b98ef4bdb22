"""Who wrote into a tensor where its version does not say it: in inference mode, and where memory has two versions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fwdtrace
from fwdtrace.recorder.memories import Memories
from tests.helpers.flows import Net, flow, recorded


class Data(Net):
    """Two activations write in place, the second by way of `data`, which has a version of its own."""

    def __init__(self, *, is_known_before: bool) -> None:
        super().__init__()
        self.first, self.second = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.is_known_before = is_known_before

    def forward(self, x: Tensor) -> Any:
        y = self.layer(x)
        data = y.data
        if self.is_known_before:
            data + 1.0
        self.first(y)
        self.second(data)
        return data + 1.0


@pytest.mark.parametrize("is_known_before", [False, True])
def test_who_wrote_into_memory_with_two_versions_is_told_apart(is_known_before: bool) -> None:
    lines = flow(recorded(Data(is_known_before=is_known_before), torch.ones(2, 4)))
    first, second, added = lines[-3:]
    assert first.endswith("-> 1.0 !" + first.split()[0])
    assert second.endswith("-> 2.0 !" + second.split()[0])
    assert added.split(" +")[1].startswith("(2.0 !" + second.split()[0])


def test_an_op_that_writes_by_way_of_data_after_a_module_did_is_named() -> None:
    class Adds(Net):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            self.act(y)
            data = y.data
            data.add_(1.0)
            return data + 1.0

    assert flow(recorded(Adds(), torch.ones(2, 4)))[4:] == ["4 Tensor.add_(3.0) -> 3.0 !4", "5 +(3.0 !4) -> 5.0"]


def test_what_writes_no_numbers_has_changed_nothing_in_inference_mode() -> None:
    class HandsOn(Net):
        def forward(self, x: Tensor) -> Any:
            y = F.dropout(self.layer(x), 0.5, training=False)
            y.detach_()
            return y + 1.0

    with torch.inference_mode():
        assert flow(recorded(HandsOn(), torch.ones(2, 4)))[2:] == [
            "2 F.dropout(1.0) -> 1.0",
            "3 Tensor.detach_(1.0) -> 1.0",
            "4 +(1.0) -> 4.0",
        ]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_who_sets_items_is_seen(mode: type) -> None:
    class Sets(Net):
        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            y[0] = x[1]
            return y + 1.0

    with mode():
        assert flow(recorded(Sets(), torch.ones(2, 4)))[2:] == [
            "2 [](argument x) -> 2.0",
            "3 []=(1.0, 2.0) -> ",
            "4 +(1.0 !3) -> 4.0",
        ]


def double(x: Tensor) -> None:
    x.mul_(2.0)


def test_an_op_that_gives_nothing_and_writes_has_a_row() -> None:
    library = torch.library.Library("fwdtrace_tests", "FRAGMENT")
    library.define("doubles(Tensor(a!) x) -> ()")
    library.impl("doubles", double, "CompositeImplicitAutograd")

    class Writes(Net):
        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            torch.ops.fwdtrace_tests.doubles(y)
            torch._assert(True, "")
            return y + 1.0

    with torch.no_grad():
        lines = flow(recorded(Writes(), torch.ones(2, 4)))
    assert lines[2].endswith("(1.0) -> ") and "doubles" in lines[2]
    assert lines[3:] == ["3 +(1.0 !2) -> 3.0"]


MODES = [torch.enable_grad, torch.no_grad, torch.inference_mode]


@pytest.mark.parametrize("mode", MODES)
def test_other_data_is_a_write_into_the_tensor_that_has_it_now(mode: Any) -> None:
    class Replaces(Net):
        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            z = x * 2.0
            y.data = z
            self.layer.weight.data = torch.zeros(4, 4)
            return y @ self.layer.weight + z

    with mode():
        assert flow(recorded(Replaces(), torch.ones(2, 4)))[1:] == [
            "1 layer(argument x) -> 1.0",
            "2 *(argument x) -> 2.0",
            "3 Tensor.data=(1.0, 2.0) -> ",
            "4 torch.zeros() -> 4.0",
            "5 Tensor.data=(parameter layer.weight, 4.0) -> ",
            "6 @(1.0 !3, parameter layer.weight !5) -> 6.0",
            "7 +(6.0, 2.0) -> 7.0",
        ]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_a_write_by_way_of_data_is_seen_at_all_that_share_the_memory(mode: Any) -> None:
    class Writes(Net):
        def forward(self, x: Tensor) -> Any:
            y, z = self.layer(x), x * 2.0
            first = y[0]
            y.data.add_(1.0)
            self.layer.weight.data.copy_(torch.ones(4, 4))
            total = y + first + self.layer.weight[0]
            z.data = x
            z.add_(1.0)
            return total + x

    with mode():
        assert flow(recorded(Writes(), torch.ones(2, 4)))[4:] == [
            "4 Tensor.data(1.0) -> 4.0",
            "5 Tensor.add_(4.0) -> 4.0 !5",
            "6 Tensor.data(parameter layer.weight) -> 6.0",
            "7 torch.ones() -> 7.0",
            "8 Tensor.copy_(6.0, 7.0) -> 6.0 !8",
            "9 +(1.0 !5, 3.0 !5) -> 9.0",
            "10 [](parameter layer.weight !8) -> 10.0",
            "11 +(9.0, 10.0) -> 11.0",
            "12 Tensor.data=(2.0, argument x) -> ",
            "13 Tensor.add_(2.0 !12) -> 2.0 !13",
            "14 +(11.0, argument x !13) -> 14.0",
        ]


def test_what_somebody_unknown_wrote_into_has_no_source() -> None:
    class Sets(Net):
        def forward(self, x: Tensor) -> Any:
            y, z = self.layer(x), x * 2.0
            y.set_(z)  # torch shows it to no mode
            total = y + 1.0
            y.add_(1.0)
            return total + y + z

    with torch.no_grad():
        assert flow(recorded(Sets(), torch.ones(2, 4)))[3:] == [
            "3 +(?) -> 3.0",
            "4 Tensor.add_(?) -> ? !4",
            "5 +(3.0, ? !4) -> 5.0",
            "6 +(5.0, 2.0 !4) -> 6.0",
        ]


def test_what_a_call_gives_was_not_written_by_it_if_it_may_have_been_before() -> None:
    class Keeps(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(4))

        def forward(self) -> Any:
            return self.state

    model = Keeps()
    with fwdtrace.record(model, ops=True) as recording, torch.no_grad():
        model()
        model.state.add_(1.0)
        model()
    assert flow(recording.trace) == ["0 Keeps() -> buffer state", "1 Keeps() -> buffer state"]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_write_through_a_view_is_seen_at_its_base_and_at_other_views_in_every_mode(mode: Any) -> None:
    class Through(Net):
        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            first = y[:, 0]
            first.zero_()
            y.view(-1)[3] = 1.0
            y.t().mul_(2.0)
            torch.add(x, x, out=y[:])
            F.relu(y.view(-1), True)
            self.act(y[0])
            return y + first.sum() + x

        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU(inplace=True)

    with mode():
        assert flow(recorded(Through(), torch.ones(2, 4)))[2:] == [
            "2 [](1.0) -> 2.0",
            "3 Tensor.zero_(2.0) -> 2.0 !3",
            "4 Tensor.view(1.0 !3) -> 4.0",
            "5 []=(4.0) -> ",
            "6 Tensor.t(1.0 !5) -> 6.0",
            "7 Tensor.mul_(6.0) -> 6.0 !7",
            "8 [](1.0 !7) -> 8.0",
            "9 torch.add(argument x, argument x, 8.0) -> 8.0 !9",
            "10 Tensor.view(1.0 !9) -> 10.0",
            "11 F.relu(10.0) -> 10.0 !11",
            "12 [](1.0 !11) -> 12.0",
            "13 act(12.0) -> 12.0 !13",
            "14 Tensor.sum(2.0 !13) -> 14.0",
            "15 +(1.0 !13, 14.0) -> 15.0",
            "16 +(15.0, argument x) -> 16.0",
        ]


def test_dropout_in_place_that_is_off_has_changed_nothing_in_inference_mode() -> None:
    class HandsOn(Net):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(inplace=True)

        def forward(self, x: Tensor) -> Any:
            y = self.drop(self.layer(x))
            return F.dropout(y, 0.5, False, True) + 1.0

    with torch.inference_mode():
        assert flow(recorded(HandsOn().eval(), torch.ones(2, 4)))[2:] == [
            "2 drop(1.0) -> 1.0",
            "3 F.dropout(1.0) -> 1.0",
            "4 +(1.0) -> 4.0",
        ]


def test_what_writes_into_memory_that_no_other_holds_does_not_look_at_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Alone(Net):
        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            y.relu_()
            y.data.relu_()
            return y + 1.0 if x[0, 0] else y[0].relu_()

    looked: list[int] = []
    monkeypatch.setattr(Memories, "known_in", lambda *_: looked.append(1) or [])
    with torch.inference_mode():
        recorded(Alone(), torch.ones(2, 4))
        assert len(looked) == 1
        recorded(Alone(), torch.zeros(2, 4))
        assert len(looked) == 3


def test_views_that_stay_where_a_tensor_was_are_not_written_by_who_writes_into_its_other_data() -> None:
    class Leaves(Net):
        def forward(self, x: Tensor) -> Any:
            y, z = self.layer(x), x * 2.0
            stays = y.t()
            stays.mul_(3.0)
            y.data = z
            y.add_(1.0)
            stays.add_(1.0)
            return stays.t() + y + z

    with torch.no_grad():
        assert flow(recorded(Leaves(), torch.ones(2, 4)))[4:] == [
            "4 Tensor.mul_(3.0) -> 3.0 !4",
            "5 Tensor.data=(1.0 !4, 2.0) -> ",
            "6 Tensor.add_(1.0 !5) -> 1.0 !6",
            "7 Tensor.add_(3.0 !4) -> 3.0 !7",
            "8 Tensor.t(3.0 !7) -> 8.0",
            "9 +(8.0, 1.0 !6) -> 9.0",
            "10 +(9.0, 2.0 !6) -> 10.0",
        ]


def test_a_tensor_of_a_class_of_the_users_does_not_see_us_look_at_its_memory() -> None:
    class Watches(Tensor):
        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(getattr(function, "__name__", ""))
            return super().__torch_function__(function, types, args, kwargs or {})

    class Writes(Net):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Any:
            self.act(x)
            x[0] = 1.0
            x.data.add_(1.0)
            return x + 1.0

    seen: list[str] = []
    model, x = Writes(), torch.ones(2, 4).as_subclass(Watches)
    model(x)
    without, seen[:] = list(seen), []
    trace = recorded(model, x)
    assert seen == without
    assert flow(trace)[-1] == "5 +(argument x !4) -> 5.0"


def test_a_view_that_counts_together_with_tensors_of_other_memory_has_no_source_rather_than_a_wrong_one() -> None:
    class Counts(Net):
        def forward(self, x: Tensor) -> Any:
            y, z = self.layer(x), x * 2.0
            stays = y.t()
            y.data = z
            view = y[:]
            stays += 1.0
            return view

    with torch.no_grad():
        assert flow(recorded(Counts(), torch.ones(2, 4)))[0] == "0 Counts(argument x) -> ?"
