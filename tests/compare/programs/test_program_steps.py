"""Two runs of one training, saved call by call: the verdict names what parts first, and in which pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.run.saved import compare_saved
from fwdtrace.run.saved_calls import calls_of_program
from tests.helpers.small_gpt import Way, saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    saved(folder, "usual", Way())
    return folder


def compared(folder: Path, way: Way, to: str = "usual", first: int = 3) -> TraceComparison:
    return compare_saved(str(folder / f"{to}.json"), saved(folder, "other", way, first))


def origin(found: TraceComparison) -> tuple[str | None, str, int | None] | None:
    """Where the runs part: the module, the pass and the call."""
    return None if found.origin is None else (found.origin.path, found.origin.which, found.origin.call)


def test_a_run_that_is_repeated_is_bit_identical_in_weights_forward_and_backward(folder: Path) -> None:
    found = compared(folder, Way())
    assert found.equal and [step.call for step in found.steps] == [1, 2, 3]
    assert found.verdict == (
        "No difference found: weights, forward and backward of 3 calls of the model are bit-identical."
    )


def test_another_attention_is_named_and_all_that_follows_is_rounding(folder: Path) -> None:
    found = compared(folder, Way(attention="sdpa"))
    assert origin(found) == ("h.0.attn", "forward", 1)
    assert "became F.scaled_dot_product_attention, small_gpt.py:" in found.verdict
    assert ". All of it is rounding, up to " in found.verdict
    assert ", and so is backward, up to " in found.verdict
    assert not {each.severity for each in found.differences} - {"rounding", "structure"}


def test_autocast_is_named_and_its_rounding_is_that_of_its_precision(folder: Path) -> None:
    found = compared(folder, Way(dtype=torch.bfloat16))
    assert origin(found) == ("h.0.attn.q_proj", "forward", 1)
    assert "its output does not: float32 became bfloat16. All of it is rounding, up to " in found.verdict
    assert ("autocast on cpu", "off", "torch.bfloat16") in [(a.name, a.first, a.second) for a in found.around]


@pytest.mark.parametrize(
    ("fault", "where", "said"),
    [
        ("more attention", "h.0", "what h.0.attn gives goes on 1.01 times as large, in the mean over all elements"),
        ("more loss", "h.0.attn.q_proj", "the gradient that comes to it differs, 1.01 times as large in the mean"),
    ],
)
def test_a_percent_is_no_rounding_of_bfloat16(folder: Path, fault: str, where: str, said: str) -> None:
    found = compared(folder, Way(dtype=torch.bfloat16, fault=fault), first=1)
    assert origin(found) == (where, "forward", 1)
    assert said in found.verdict
    assert "All of it is rounding" not in found.verdict
    assert ("Forward is apart by rounding alone" in found.verdict) == (fault == "more loss")


def test_what_is_more_than_rounding_leads_behind_what_is_rounding_alone(folder: Path) -> None:
    found = compared(folder, Way(attention="sdpa", smoothing=0.1), first=1)
    assert origin(found) == ("", "forward", 1)
    assert "label_smoothing=0.0 became 0.1, small_gpt.py:" in found.verdict
    assert " Before that they are apart by rounding alone, from h.0.attn (Attention) on: " in found.verdict


def test_small_batches_in_bfloat16_are_the_large_batch(folder: Path) -> None:
    saved(folder, "coarse", Way(dtype=torch.bfloat16, steps=2), first=2)
    found = compared(folder, Way(dtype=torch.bfloat16, accumulate=2, steps=2), "coarse", first=4)
    assert found.verdict == "No difference found: the calls of each step together are the first, within rounding."


@pytest.mark.sweep
def test_a_compiled_model_has_the_weights_and_the_gradients_of_the_model(folder: Path) -> None:
    found = compared(folder, Way(compile=True))
    assert found.equal
    assert [(step.weights, step.forward is not None, step.backward is not None) for step in found.steps] == [
        ((), True, True)
    ] * 3


def test_another_optimizer_parts_between_the_calls(folder: Path) -> None:
    found = compared(folder, Way(fused=True))
    assert found.verdict.startswith(
        "Call 1 agrees. Then the weights part, by rounding alone, between call 1 and call 2, where the optimizer steps"
    )
    where = origin(found)
    assert where is not None and where[1:] == ("weights", 2)
    assert found.steps[0].weights == () and found.steps[1].weights


def test_a_fault_of_backward_alone_is_named_with_the_parameter(folder: Path) -> None:
    found = compared(folder, Way(fault="no gradient of values"))
    assert origin(found) == ("h.1.attn", "backward", 1)
    assert found.verdict.startswith(
        "Forward agrees bit for bit (with 2 differences in what runs); backward parts at h.1.attn (Attention): "
        "gradient of v_proj.weight, up to "
    )
    assert found.verdict.endswith("nothing became Tensor.detach, *, +.")
    first = next(each for each in found.differences if each.kind == "gradient")
    assert (first.path, first.severity) == ("h.1.attn.v_proj.weight", "gradients")


@pytest.mark.parametrize(
    ("way", "where", "said"),
    [
        (Way(fault="clipped"), ("lm_head", "backward", 1), "agree: they were scaled after backward, as clipping does."),
        (Way(fault="not set to zero"), ("lm_head", "backward", 2), "gradients of call 1 are still in those of one run"),
        (Way(fault="no decay"), ("wte", "weights", 2), " There, optimizer weight_decay: 0.01 became 0.0."),
        (Way(smoothing=0.1), ("", "forward", 1), "in F.cross_entropy: label_smoothing=0.0 became 0.1, small_gpt.py:"),
        (Way(fault="one element", steps=1), ("h.1.mlp.0", "weights", 1), "1 of 37 parameters and buffers, "
            "h.1.mlp.0.weight (in elements that are not among those sampled of it, so it is not known how far)."),
        (Way(fault="float64", steps=1), ("wte", "forward", 1), "float32 became float64. All of it is rounding, up to "),
        (Way(fault="tied"), ("lm_head", "forward", 1), "not: lm_head.weight is held by the first only."),
    ],
)  # fmt: skip
def test_what_explains_the_difference_is_said(folder: Path, way: Way, where: tuple[str, str, int], said: str) -> None:
    found = compared(folder, way)
    assert origin(found) == where
    assert said in found.verdict


def test_a_model_that_is_left_in_evaluation_mode_is_said_where_it_shows(folder: Path) -> None:
    saved(folder, "dropped", Way(dropout=0.1))
    found = compared(folder, Way(dropout=0.1, fault="evaluation"), "dropped")
    assert origin(found) == ("h.0.mlp.3", "forward", 1)
    assert found.verdict.endswith("its output does not: training mode became evaluation mode.")


def test_a_loss_whose_scale_is_taken_back_from_the_gradients_is_no_difference(folder: Path) -> None:
    found = compared(folder, Way(fault="scaled back"))
    assert found.equal
    assert found.notes[0] == (
        "the gradients that came to each call are 1,024 times those of the first, as those of a scaled loss are; those "
        "of the parameters were scaled back"
    )


def test_other_dropout_is_named_with_the_random_state(folder: Path) -> None:
    saved(folder, "dropped", Way(dropout=0.1))
    found = compared(folder, Way(dropout=0.1, dropout_seed=4), "dropped")
    assert origin(found) == ("h.0.mlp.3", "forward", 1)
    assert "the random generator was in another state" in found.verdict
    assert ("torch.initial_seed()", "0", "4") in [(each.name, each.first, each.second) for each in found.around]


def test_a_dropout_layer_that_drops_another_share_is_said(folder: Path) -> None:
    saved(folder, "dropped", Way(dropout=0.1, steps=1), 1)
    found = compared(folder, Way(dropout=0.3, steps=1), "dropped", 1)
    assert origin(found) == ("h.0.mlp.3", "forward", 1)
    assert "its output does not: it drops 0.1 of the elements in the first, 0.3 in the second." in found.verdict


def test_other_weights_at_the_beginning_lead(folder: Path) -> None:
    found = compared(folder, Way(seed=1))
    assert origin(found) == ("wte", "weights", 1)
    assert found.verdict.startswith(
        "The weights differ before call 1 already: 27 of 37 parameters and buffers, first wte."
    )


def test_other_data_leads(folder: Path) -> None:
    assert compared(folder, Way(data_seed=1)).verdict.startswith("The two runs were given other inputs")


def test_calls_that_one_side_alone_has_are_not_compared(folder: Path) -> None:
    found = compared(folder, Way(), first=2)
    assert [step.call for step in found.steps] == [1, 2]
    assert found.notes[0] == "only one side has call 3, which was not compared"


def test_the_calls_of_another_run_that_are_left_in_the_folder_are_no_calls_of_this_one(folder: Path) -> None:
    (folder / "usual.call9.json").write_bytes((folder / "other.json").read_bytes())
    try:
        assert sorted(calls_of_program(str(folder / "usual.json"))) == [1, 2, 3]
    finally:
        (folder / "usual.call9.json").unlink()


def test_small_batches_that_are_added_up_are_the_large_batch(folder: Path) -> None:
    saved(folder, "large", Way(steps=2))
    found = compare_saved(str(folder / "large.json"), saved(folder, "small", Way(steps=2, accumulate=2), first=4))
    assert found.equal, found.verdict
    assert found.verdict == "No difference found: the calls of each step together are the first, within rounding."
    assert [(step.call, step.other) for step in found.steps] == [(1, 1), (2, 3)]
    assert found.notes[0] == "a step of the second has 2 calls, which were put together along their examples"


def test_a_loss_that_is_not_divided_by_the_small_batches_is_said(folder: Path) -> None:
    saved(folder, "large", Way(steps=2))
    way = Way(steps=2, accumulate=2, fault="loss not divided")
    found = compare_saved(str(folder / "large.json"), saved(folder, "small", way, first=4))
    assert found.verdict == (
        "Forward agrees; all gradients are 2 times those of the first: the loss or the mean is scaled so."
    )
