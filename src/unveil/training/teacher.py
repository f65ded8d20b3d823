"""A model and its slow copy, which says what the model learns to say."""

import copy

import torch
from torch import nn

from unveil.slots.smtc import SmtcModel


class Taught(nn.Module):
    """A model that is trained, and its teacher: the exponential moving average of its parameters.

    Both are of the module's state, so that a run goes on as if nothing had happened.
    """

    def __init__(self, student: SmtcModel) -> None:
        super().__init__()
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """The teacher comes 1 - momentum of the way to the student."""
        pairs = zip(self.student.parameters(), self.teacher.parameters(), strict=True)
        for new, old in pairs:
            old.lerp_(new, 1 - momentum)
