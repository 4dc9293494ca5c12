"""Linear layers by oneDNN with packed weights, for encoding in fp32 on a processor.

torch computes `nn.Linear` on x86 in fp32 through MKL, which first writes the bias into every row of the result; oneDNN
adds it inside the product and its product is a little faster: encoding takes a tenth less time in all. torch has the
operator for its own compiler (`torch._inductor`, `mkldnn_fusion.py`); it is called here without compiling anything,
which would take 13 to 22 s. Results differ from `nn.Linear`'s by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def packed_linear_layers(module: nn.Module) -> Iterator[None]:
    """Inside, the fp32 linear layers of `module` on a processor compute by oneDNN; weights must not change meanwhile.

    Only for inference. Where the operator is missing nothing changes.
    """
    layers = [layer for layer in module.modules() if type(layer) is nn.Linear and _can_pack(layer)]
    layers = [layer for layer in layers if "forward" not in vars(layer)]  # somebody else's hook stays what it is
    for layer in layers:
        layer.forward = _packed(layer)  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own is seen again


def _can_pack(layer: nn.Linear) -> bool:
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
    )


def _packed(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
    bias = None if layer.bias is None else layer.bias.detach()

    def forward(rows: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return product

    return forward
