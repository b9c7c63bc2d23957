"""Attention of segments to themselves, beside torch's own with an explicit mask."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from jobs.training.attention import Segments, attend, block_mask

BOUNDS = (0, 5, 70, 70, 71, 100)
STARTS = torch.tensor(BOUNDS, dtype=torch.int32)
LENGTH, SIZE = 100, 16


def segments(device="cpu"):
    return Segments(STARTS.to(device), 65)


def heads(number, groups, device="cpu", dtype=torch.float32):
    torch.manual_seed(0)
    return [
        torch.randn(1, count, LENGTH, SIZE, device=device, dtype=dtype, requires_grad=True)
        for count in (number, groups, groups)
    ]


def seen(window):
    """Which token sees which, spelt out."""
    mask = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
    for start, end in pairwise(BOUNDS):
        for to in range(start, end):
            first = start if window is None else max(start, to - window + 1)
            mask[to, first : to + 1] = True
    return mask


def expected(query, key, value, window):
    mask = seen(window).to(query.device)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True
    ).transpose(1, 2)


def check(inputs, window, tolerance):
    found = attend(*inputs, segments(inputs[0].device), scale=0.3, window=window)
    wanted = expected(*[one.float() for one in inputs], window)
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    weights = weights.to(wanted.device)
    torch.testing.assert_close(found.float(), wanted, atol=tolerance, rtol=0)
    for mine, theirs in zip(
        torch.autograd.grad((found.float() * weights).sum(), inputs),
        torch.autograd.grad((wanted * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine.float(), theirs.float(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("window", [None, 1, 9, 65])
@pytest.mark.parametrize("number, groups", [(4, 4), (4, 2), (4, 1)])
def test_segments_attend_as_with_a_mask_of_blocks(number, groups, window):
    check(heads(number, groups), window, 1e-5)


@pytest.mark.parametrize("window", [None, 9])
def test_the_mask_of_blocks_is_the_one_spelt_out(window):
    assert torch.equal(block_mask(STARTS, LENGTH, window)[0, 0], seen(window))


def test_bfloat16_is_within_its_rounding():
    check(heads(4, 2, dtype=torch.bfloat16), None, 0.1)


def test_gradients_in_bfloat16_are_rounded_once_only():
    coarse = heads(4, 2, dtype=torch.bfloat16)
    exact = [one.detach().double().requires_grad_() for one in coarse]
    weights = torch.randn(1, LENGTH, 4, SIZE, dtype=torch.bfloat16)

    found = attend(*coarse, segments(), scale=0.3)
    wanted = expected(*exact, None)

    for mine, true in zip(
        torch.autograd.grad(found, coarse, weights),
        torch.autograd.grad(wanted, exact, weights.double()),
        strict=True,
    ):
        assert (mine.double() - true).norm() < 2**-8 * true.norm() * 2 / 3


def test_a_change_in_one_segment_changes_no_bit_of_another():
    query, key, value = heads(4, 2)
    before = attend(query, key, value, segments(), scale=0.3)
    with torch.no_grad():
        for one in (query, key, value):
            one[:, :, 5:70] += 1

    after = attend(query, key, value, segments(), scale=0.3)

    assert not torch.equal(before[:, 5:70], after[:, 5:70])
    assert torch.equal(before[:, :5], after[:, :5])
    assert torch.equal(before[:, 70:], after[:, 70:])


def test_the_operator_keeps_the_rules_of_torch_for_compiling():
    inputs = heads(4, 2)

    torch.library.opcheck(
        torch.ops.codeladder.segmented.default, (*inputs, STARTS, 0.3, 9), raise_exception=True
    )


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.1), (torch.float32, 1e-4)])
def test_a_gpu_attends_as_with_a_mask_of_blocks(dtype, tolerance, window):
    check(heads(4, 2, "cuda", dtype), window, tolerance)
