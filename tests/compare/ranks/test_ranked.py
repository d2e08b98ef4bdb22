"""One process against many: equal where they are, and what is wrong is named with its rank and its layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from fwdtrace.compare.comparison import TraceComparison
from fwdtrace.compare.ranks.ranked import normalized_in_parts
from fwdtrace.errors import FwdtraceError
from fwdtrace.run.saved import compare_saved
from tests.helpers.forks import run_ranks
from tests.helpers.ranked_training import rank_main, saved, train
from tests.helpers.traces import trace

EQUAL = "No difference found: the ranks together are the first, within rounding."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    saved(folder, "single", lambda: train("single", "", 0, 1))
    return folder


def one_by_one(
    folder: Path, fault: str, monkeypatch: pytest.MonkeyPatch, size: int = 2, name: str = "alone"
) -> TraceComparison:
    """Ranks that run one after the other here; gradients are not summed up, which comes after all else."""
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: None)
    for rank in range(size):
        monkeypatch.setenv("RANK", str(rank))
        saved(folder, f"{name}.rank{rank}", lambda rank=rank: train("by hand", fault, rank, size))  # type: ignore[misc]
    return compare_saved(str(folder / "single.json"), str(folder / f"{name}.rank*.json"))


@pytest.mark.parametrize(
    ("fault", "where", "said"),
    [
        ("other weights", ("layers.0.up", "weights"), "Rank 1 has another layers.0.up.weight than the other"),
        ("other buffer", ("", "weights"), "Rank 1 has another scale than the other ranks before call 1."),
        ("same data", ("", "forward"), "The ranks were given other examples at call 1: 4 of 8 are missing"),
        ("other activation", ("layers.1.act", "forward"), "the first at layers.1.act (GELU): its inputs agree,"),
        ("no sum of gradients", ("head", "backward"), "Forward agrees; the ranks do not have the same gradient of"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str, where: tuple[str, str], said: str
) -> None:
    found = one_by_one(folder, fault, monkeypatch)
    assert said in found.verdict
    assert found.origin is not None and found.origin.call == 1
    assert (found.origin.path, found.origin.which) == where
    assert fault != "other activation" or found.verdict.endswith("It is so on rank 1.")


def test_ranks_of_two_programs_are_compared_one_with_its_like(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one(folder, "", monkeypatch, name="before")
    one_by_one(folder, "other activation", monkeypatch)
    pattern = str(folder / "before.rank*.json")
    assert compare_saved(pattern, pattern).equal
    found = compare_saved(pattern, str(folder / "alone.rank*.json"))
    assert found.verdict.startswith("Rank 1: The second run leaves the first at layers.1.act (GELU)")


def test_ranks_of_two_programs_with_another_number_of_ranks_are_put_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one(folder, "", monkeypatch)
    one_by_one(folder, "other activation", monkeypatch, 4, "four")
    found = compare_saved(str(folder / "alone.rank*.json"), str(folder / "four.rank*.json"))
    assert found.verdict == (
        "The second run leaves the first at layers.1.act (GELU): its inputs agree, its output does not. It is so on "
        "rank 1."
    )
    note = "the 2 ranks of the first were put together, and compared with the 4 together"
    assert note in found.notes


def test_what_no_rank_has_whole_is_said_not_to_be_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one(folder, "same data, other activation", monkeypatch, name="two")
    one_by_one(folder, "same data, other activation", monkeypatch, 4, "four")
    found = compare_saved(str(folder / "two.rank*.json"), str(folder / "four.rank*.json"))
    said = "layers.1.act first, could not be put together from the ranks, and was not compared"
    assert any(note.endswith(said) for note in found.notes), found.notes


def test_another_mode_of_a_rank_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = one_by_one(folder, "evaluation", monkeypatch)
    assert found.verdict == (
        "The ranks do not have the same layers.0.norm.weight before call 2 (13 more parameters or buffers likewise)."
    )
    assert "the model is in evaluation mode on rank 1" in found.notes


def test_a_call_that_a_rank_lacks_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one(folder, "", monkeypatch, name="short")
    (folder / "short.rank1.call3.json").unlink()
    found = compare_saved(str(folder / "single.json"), str(folder / "short.rank*.json"))
    assert "rank 1 has no call 3, which others have" in found.notes


def test_the_process_that_is_alone_may_be_given_second(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one(folder, "other activation", monkeypatch)
    found = compare_saved(str(folder / "alone.rank*.json"), str(folder / "single.json"))
    assert found.verdict.endswith("its output does not. It is so on rank 1.")
    assert "the process that is alone was taken as the first" in found.notes


def test_what_is_said_of_a_normalization_in_parts_speaks_of_ranks_only_where_there_are_ranks() -> None:
    alone = trace()
    rank = replace(alone, run=replace(alone.run, rank=1))
    assert normalized_in_parts([rank, rank]).startswith("each rank normalizes by its own examples alone")
    assert normalized_in_parts([alone, alone]) == "each small batch of a step is normalized by its own examples alone"


def test_a_name_of_ranks_that_no_file_has_is_refused(folder: Path) -> None:
    with pytest.raises(FwdtraceError, match="there is no trace of a rank of that name"):
        compare_saved(str(folder / "single.json"), str(folder / "gone.rank*.json"))


EQUAL_ON_TWO = [("ddp", ""), ("ddp", "interleaved"), ("by hand", ""), ("fsdp", ""), ("tp", ""), ("tp", "dropout")]
WRONG = {
    ("ddp", "scaled loss"): "all gradients are 2 times those of the first",
    ("ddp", "same data"): "4 of 8 are missing, while rank 1 has others or the same twice",
    ("ddp", "other activation"): "at layers.1.act (GELU): its inputs agree, its output does not. It is so on rank 1.",
    ("by hand", "other buffer"): "Rank 1 has another scale than the other ranks before call 1.",
    ("by hand", "other weights"): "Rank 1 has another layers.0.up.weight than the other ranks before call 1",
    ("by hand", "no sum of gradients"): "the ranks do not have the same gradient of head.weight after call 1",
    (
        "by hand",
        "one not summed",
    ): "the ranks do not have the same gradient of layers.1.down.weight after call 1: it is",
    ("by hand", "frozen"): "rank 1 has no gradient of layers.0.up.bias, which the other ranks have after call 1",
    (
        "ddp",
        "scaled loss of one",
    ): "that comes to the model is 2 times as large on rank 1 as on the others.",
    ("ddp", "other targets"): "the gradient that comes to the model differs on all ranks: the loss or its targets are",
    ("ddp", "evaluation dropout"): "It is so on rank 1; the model is in evaluation mode there.",
    ("ddp", "statistics"): "Each rank normalizes by its own examples alone, which SyncBatchNorm does by all.",
    ("fsdp", "other rate"): "are on rank 1. After the call before, optimizer lr is 0.2 on rank 1, 0.1 on the others.",
    ("tp", "other dropout"): "Rank 1 gets another result of layers.0.drop (Dropout) than the other ranks, though they",
    ("fsdp", "dropped shard"): "The wrong elements of layers.0.up.weight are on rank 1.",
    ("fsdp", "other element"): "The weight layers.0.up.weight differs at [24, 1], on rank 1.",
    ("tp", "no sum"): "What layers.1.down gives on each rank is a part of a sum.",
}


def trained(folder: Path, size: int, variants: list[tuple[str, str]]) -> None:
    store = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    run_ranks(rank_main, size, size, str(folder), store.port, variants)


def against(folder: Path, way: str, fault: str) -> TraceComparison:
    name = f"{way} {fault}".strip().replace(" ", "-")
    alone = {"statistics": "single-statistics", "dropout": "single-dropout", "other dropout": "single-dropout"}
    alone["evaluation dropout"] = "single-dropout"
    return compare_saved(str(folder / f"{alone.get(fault, 'single')}.json"), str(folder / f"{name}.rank*.json"))


@pytest.mark.sweep
def test_two_processes_are_one_or_are_wrong_in_the_way_that_was_planted(folder: Path) -> None:
    torch.set_num_threads(1)
    for fault in ("statistics", "dropout"):
        saved(folder, f"single-{fault}", lambda fault=fault: train("single", fault, 0, 1))  # type: ignore[misc]
    trained(folder, 2, [*EQUAL_ON_TWO, *WRONG])
    for way, fault in EQUAL_ON_TWO:
        assert against(folder, way, fault).verdict == EQUAL, (way, fault)
    for (way, fault), said in WRONG.items():
        assert said in against(folder, way, fault).verdict, (way, fault)
    parts, copies = str(folder / "tp.rank*.json"), str(folder / "ddp.rank*.json")
    assert compare_saved(copies, parts).verdict == EQUAL
    assert compare_saved(parts, copies).verdict == (
        f"{EQUAL} What 4 calls give, layers.0.up first, could not be put together from the ranks, and was not compared."
    )


@pytest.mark.sweep
def test_four_processes_of_sharded_and_parallel_tensors_are_one_and_each_other(folder: Path) -> None:
    trained(folder, 4, [("ddp", ""), ("fsdp", ""), ("fsdp-tp", ""), ("fsdp-tp", "dropped shard")])
    assert against(folder, "fsdp", "").verdict == EQUAL
    assert against(folder, "fsdp-tp", "").verdict == EQUAL
    wrong = "The wrong elements of layers.0.up.weight are on rank 1."
    assert wrong in against(folder, "fsdp-tp", "dropped shard").verdict
    copies, parts = str(folder / "ddp.rank*.json"), str(folder / "fsdp-tp.rank*.json")
    assert compare_saved(copies, parts).verdict == EQUAL
    assert wrong in compare_saved(copies, str(folder / "fsdp-tp-dropped-shard.rank*.json")).verdict
