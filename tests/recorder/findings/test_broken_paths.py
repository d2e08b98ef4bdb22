"""FT008 on small models in which the path from a parameter to the loss breaks: at which op, on which line, and why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.helpers.training import Forward, findings, images, layer, net


def compares(model: Any, x: Tensor) -> Tensor:
    gate = (torch.sigmoid(model.a(x)) > 0.5).float()
    return model.out(x * gate)


def looks_up_the_nearest(model: Any, x: Tensor) -> Tensor:
    distances = torch.cdist(model.a(x), model.codes.weight)
    nearest = distances.argmin(-1)
    return model.out(model.codes(nearest))


def makes_one_hot(model: Any, x: Tensor) -> Tensor:
    best = model.a(x).argmax(-1)
    return model.out(F.one_hot(best, 4).float())


def takes_the_places_alone(model: Any, x: Tensor) -> Tensor:
    places = model.a(x).topk(4).indices
    return model.out(x.gather(1, places))


def casts_to_integers(model: Any, x: Tensor) -> Tensor:
    ids = model.a(x).abs().long()
    return model.out(model.codes(ids.clamp(max=4)).sum(1))


def samples(model: Any, x: Tensor) -> Tensor:
    chosen = torch.multinomial(torch.softmax(model.a(x), -1), 1)
    return model.out(model.codes(chosen[:, 0]))


def copies_into_a_tensor(model: Any, x: Tensor) -> Tensor:
    h = torch.tensor(model.a(x))
    return model.out(h)


def takes_numbers(model: Any, x: Tensor) -> Tensor:
    scale = model.a(x).mean().item()
    return model.out(x * scale)


def takes_lists(model: Any, x: Tensor) -> Tensor:
    h = model.a(x).tolist()
    return model.out(torch.tensor(h))


def takes_a_float(model: Any, x: Tensor) -> Tensor:
    scale = float(model.a(x).mean())
    return model.out(x * scale)


def reads_data(model: Any, x: Tensor) -> Tensor:
    h = model.a(x).data
    return model.out(h)


def detaches(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    h = h.detach()
    return model.out(h)


def detaches_in_place(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    h.detach_()
    return model.out(h)


def goes_through_numpy(model: Any, x: Tensor) -> Tensor:
    h = model.a(x).detach().numpy()
    return model.out(torch.from_numpy(h * 2))


def detaches_what_is_set(model: Any, x: Tensor) -> Tensor:
    buffer = torch.zeros(3, 4)
    buffer[:] = model.a(x).detach()
    return model.out(buffer)


def detaches_all_of_a_straight_through(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    rounded = torch.round(h)
    return model.out((h + rounded - h).detach())


def encodes_without_grad(model: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        h = model.a(x)
    return model.out(h)


def infers(model: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        h = model.a(x)
    return model.out(h.clone())


def checkpoints(model: Any, x: Tensor) -> Any:
    h = checkpoint(model.a, x, use_reentrant=True)
    return model.out(h)


def forgets(model: Any, x: Tensor) -> Tensor:
    model.a(x)
    return model.out(x)


def logs_a_comparison_and_forgets(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    model.share = (h > 0).float().mean()
    return model.out(x)


CUTS: list[tuple[Forward, str, str]] = [
    (compares, "> gives booleans, which have no gradient", "gate = (torch.sigmoid(model.a(x)) > 0.5).float()"),
    (looks_up_the_nearest, "Tensor.argmin gives integers, which have no gradient", "nearest = distances.argmin(-1)"),
    (makes_one_hot, "Tensor.argmax gives integers, which have no gradient", "best = model.a(x).argmax(-1)"),
    (
        takes_the_places_alone,
        "of what Tensor.topk gave, only what has no gradient was used",
        "places = model.a(x).topk(4).indices",
    ),
    (casts_to_integers, "Tensor.long gives integers, which have no gradient", "ids = model.a(x).abs().long()"),
    (
        samples,
        "torch.multinomial gives integers, which have no gradient",
        "chosen = torch.multinomial(torch.softmax(model.a(x), -1), 1)",
    ),
    (copies_into_a_tensor, "torch.tensor copied the numbers without the graph", "h = torch.tensor(model.a(x))"),
    (takes_numbers, "Tensor.item took a number out of the graph", "scale = model.a(x).mean().item()"),
    (takes_lists, "Tensor.tolist took numbers out of the graph", "h = model.a(x).tolist()"),
    (takes_a_float, "float() took a number out of the graph", "scale = float(model.a(x).mean())"),
    (reads_data, "Tensor.data cut the graph", "h = model.a(x).data"),
    (detaches, "Tensor.detach cut the graph", "h = h.detach()"),
    (detaches_in_place, "Tensor.detach_ cut the graph", "h.detach_()"),
    (goes_through_numpy, "Tensor.detach cut the graph", "h = model.a(x).detach().numpy()"),
    (detaches_what_is_set, "Tensor.detach cut the graph", "buffer[:] = model.a(x).detach()"),
    (
        detaches_all_of_a_straight_through,
        "Tensor.detach cut the graph",
        "return model.out((h + rounded - h).detach())",
    ),
    (encodes_without_grad, "a ran under torch.no_grad()", "h = model.a(x)"),
    (infers, "a ran under torch.inference_mode()", "h = model.a(x)"),
    (
        checkpoints,
        "a ran in torch.utils.checkpoint(use_reentrant=True), and no tensor that was given to it requires a gradient,"
        " so backward never comes to it",
        "h = checkpoint(model.a, x, use_reentrant=True)",
    ),
    (forgets, "nothing that was observed used what a gave", "model.a(x)"),
    (logs_a_comparison_and_forgets, "> gives booleans, which have no gradient", "model.share = (h > 0).float().mean()"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("forward", "reason", "line"), CUTS, ids=[case[0].__name__ for case in CUTS])
def test_the_op_at_which_the_path_breaks_is_named(forward: Forward, reason: str, line: str) -> None:
    model = net(forward, a=layer(), codes=nn.Embedding(5, 4), out=layer())
    first = next(found for found in findings(model, images()) if found[1].startswith("a ("))
    assert first == ("FT008", f"a (20 parameters) got no gradient: {reason}", line)


def straight_through(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    return model.out(h + (torch.round(h) - h).detach())


def logs_and_goes_on(model: Any, x: Tensor) -> Tensor:
    h = model.a(x)
    model.share = (h > 0).float().mean().item() + h.detach().mean().item() + h.mean().item()
    return model.out(h)


def sets_a_part(model: Any, x: Tensor) -> Tensor:
    buffer = torch.zeros(3, 4)
    buffer[:, :2] = model.a(x)[:, :2]
    return model.out(buffer)


def checkpoints_behind_a_layer(model: Any, x: Tensor) -> Any:
    return checkpoint(model.out, model.a(x), use_reentrant=True)


def checkpoints_without_reentering(model: Any, x: Tensor) -> Any:
    return model.out(checkpoint(model.a, x, use_reentrant=False))


@pytest.mark.parametrize(
    "forward",
    [straight_through, logs_and_goes_on, sets_a_part, checkpoints_behind_a_layer, checkpoints_without_reentering],
)
def test_a_path_that_goes_on_is_no_finding(forward: Forward) -> None:
    assert findings(net(forward, a=layer(), out=layer()), images()) == []


def test_a_break_behind_a_checkpoint_is_not_taken_for_the_checkpoint() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        h = checkpoint(model.b, model.a(x), use_reentrant=True)
        return model.out(h.detach())

    assert findings(net(forward, a=layer(), b=layer(), out=layer()), images()) == [
        (
            "FT008",
            "a and b (40 parameters) got no gradient: Tensor.detach cut the graph",
            "return model.out(h.detach())",
        )
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_checkpoints_one_after_the_other_are_each_named() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        for block in (model.a, model.b):
            x = checkpoint(block, x, use_reentrant=True)
        return model.out(x)

    ((_, message, line),) = findings(net(forward, a=layer(), b=layer(), out=layer()), images())
    assert message.startswith("a and b (40 parameters) got no gradient: a and b ran in torch.utils.checkpoint(")
    assert line == "x = checkpoint(block, x, use_reentrant=True)"


def test_an_output_that_the_loss_does_not_use_is_named() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return {
            "logits": model.out(x),
            "quality": model.a(x.detach()),
        }

    found = findings(net(forward, a=layer(), out=layer()), images(), loss=lambda output: output["logits"].sum())
    assert found == [
        (
            "FT008",
            "a (20 parameters) got no gradient: backward did not come back through the output quality",
            '"quality": model.a(x.detach()),',
        )
    ]


def test_two_breaks_are_both_named_with_their_lines() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        h = model.a(x)
        first = h.detach()
        second = (h > 0).float()
        return model.out(first + second)

    assert findings(net(forward, a=layer(), out=layer()), images()) == [
        (
            "FT008",
            "a (20 parameters) got no gradient: Tensor.detach cut the graph"
            " and > gives booleans, which have no gradient (second = (h > 0).float())",
            "first = h.detach()",
        )
    ]


def test_a_parameter_of_the_model_itself_is_followed_too() -> None:
    def forward(model: Any, x: Tensor) -> Tensor:
        return model.out(x + model.bias.detach())

    ((code, message, _),) = findings(net(forward, bias=nn.Parameter(torch.ones(4)), out=layer()), images())
    assert (code, message) == ("FT008", "bias (4 parameters) got no gradient: Tensor.detach cut the graph")


def test_a_teacher_under_no_grad_is_told_from_the_student() -> None:
    def forward(model: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = model.teacher(x)
        return (model.student(x) - target).pow(2)

    teacher = nn.Sequential(layer(), nn.ReLU(), layer())
    assert findings(net(forward, teacher=teacher, student=layer()), images()) == [
        (
            "FT008",
            "teacher (40 parameters) got no gradient: teacher ran under torch.no_grad()",
            "target = model.teacher(x)",
        )
    ]


class Straight(torch.autograd.Function):
    """A rounding whose backward forgets to hand the gradient on."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> None:
        return None


def test_a_function_of_ones_own_whose_backward_gives_none_is_named() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return model.out(Straight.apply(model.a(x)))

    ((code, message, _),) = findings(net(forward, a=layer(), out=layer()), images())
    assert code == "FT008"
    assert message == (
        "a (20 parameters) got no gradient: the backward of Straight, a torch.autograd.Function in the model, gave None"
    )


def test_a_break_in_the_loss_of_a_program_is_not_taken_for_one_in_the_model() -> None:
    def forward(model: Any, x: Tensor) -> Any:
        return model.a(x), model.out(x)

    def loss(output: Any) -> Tensor:
        return (output[0].argmax(-1) * output[1].mean()).sum()

    ((code, message, _),) = findings(net(forward, a=layer(), out=layer()), images(), loss=loss)
    assert (code, message) == (
        "FT008",
        "a (20 parameters) got no gradient: backward did not come back through the output [0]",
    )
