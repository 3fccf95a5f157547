"""The SOAP optimiser."""

from __future__ import annotations

import copy

import pytest
import torch

from mlff_md.distill.soap import SOAP


def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An ill-conditioned least-squares problem whose axes are not those of the weights."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=generator))[0]
    inputs = torch.randn(200, 12, generator=generator) * torch.logspace(0, -2, 12) @ turn
    return inputs, torch.randn(12, 5, generator=generator), torch.zeros(12, 5)


def final_loss(kind: str, steps: int = 300) -> float:
    inputs, wanted, start = problem()
    weight = start.clone().requires_grad_(True)
    optimizer: torch.optim.Optimizer
    optimizer = SOAP([weight], lr=3e-2) if kind == "soap" else torch.optim.Adam([weight], lr=3e-2)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-2 * (1.0 - step / steps)
        loss = ((inputs @ (weight - wanted)) ** 2).mean()
        (weight.grad,) = torch.autograd.grad(loss, weight)
        optimizer.step()
    return ((inputs @ (weight - wanted)) ** 2).mean().item()


def test_beats_adam_where_the_axes_are_turned() -> None:
    assert final_loss("soap") < 0.5 * final_loss("adam")


def test_the_basis_turns_to_where_the_gradients_point() -> None:
    """The first gradient has other axes than all that follow."""
    generator = torch.Generator().manual_seed(1)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    weight = torch.zeros(6, 4, requires_grad=True)
    optimizer = SOAP([weight], betas=(0.95, 0.99), every=5)
    weight.grad = torch.randn(6, 4, generator=generator)
    optimizer.step()

    def misaligned() -> float:
        """Share of the second moments between different directions of the basis."""
        state = optimizer.state[weight]
        seen = state["basis_left"].t() @ state["moment_left"] @ state["basis_left"]
        return ((seen - torch.diag(seen.diag())).norm() / seen.norm()).item()

    for _ in range(300):
        noise = torch.randn(6, 4, generator=generator) * torch.logspace(0, -2, 6)[:, None]
        weight.grad = turn @ noise
        optimizer.step()
    assert misaligned() < 0.02


def test_state_resumes_to_the_bit() -> None:
    inputs, wanted, start = problem()

    def steps(weight: torch.Tensor, optimizer: SOAP, count: int) -> None:
        for _ in range(count):
            loss = ((inputs @ (weight - wanted)) ** 2).mean()
            (weight.grad,) = torch.autograd.grad(loss, weight)
            optimizer.step()

    weight = start.clone().requires_grad_(True)
    optimizer = SOAP([weight])
    steps(weight, optimizer, 25)
    resumed = weight.detach().clone().requires_grad_(True)
    other = SOAP([resumed])
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(weight, optimizer, 25)
    steps(resumed, other, 25)
    assert torch.equal(weight, resumed)


def test_vectors_get_adam() -> None:
    bias = torch.ones(4, requires_grad=True)
    twin = torch.ones(4, requires_grad=True)
    ours = SOAP([bias], lr=1e-2, betas=(0.9, 0.99))
    theirs = torch.optim.Adam([twin], lr=1e-2, betas=(0.9, 0.99))
    for step in range(5):
        bias.grad = twin.grad = torch.linspace(-1.0, 1.0, 4) * (step + 1)
        ours.step()
        theirs.step()
    assert torch.allclose(bias, twin, atol=1e-6)


def test_closures_are_refused() -> None:
    with pytest.raises(ValueError, match="no closure"):
        SOAP([torch.ones(2, 2, requires_grad=True)]).step(lambda: 0.0)
