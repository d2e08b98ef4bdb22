"""One cause of what is not finite is one event, whatever it goes on into."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.program.test_events import told, watched


class Cooled(nn.Linear):
    """A layer that divides by a temperature."""

    def forward(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        return torch.log_softmax(super().forward(x) / torch.tensor(temperature), -1)


def distilled(student: nn.Module, temperature: float, cut: float) -> None:
    """Train a student on what a teacher gives, with numbers that go wrong in step 3 where one of these is 0."""
    teacher, optimizer = Cooled(4, 3), torch.optim.SGD(student.parameters(), lr=0.1)
    for step in range(1, 6):
        x = torch.ones(2, 4)
        with torch.no_grad():
            target = teacher(x, temperature if step == 3 else 1.0).exp()
        factor = cut if step == 3 else 1.0
        loss = -(target * torch.log(student(x).exp() * factor)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_what_a_teacher_gave_is_no_event_of_the_student() -> None:
    with watched() as events:
        distilled(Cooled(4, 3), temperature=0.0, cut=1.0)
    lines = ["return torch.log_softmax(super().forward(x) / torch.tensor(temperature), -1)"]
    assert [told(event) for event in events] == [(None, 3, "exact", lines)]


def test_what_the_student_makes_is_an_event_of_its_own() -> None:
    with watched() as events:
        distilled(Cooled(4, 3), temperature=1.0, cut=0.0)
    assert [told(event)[:3] for event in events] == [(3, 3, "exact")]
