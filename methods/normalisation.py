"""A twin's batch normalisation: which of it belongs to the twin alone."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # the only common base of all batch normalisations


def own_scale(module: nn.Module) -> None:
    """Give a normalisation scale and shift of its own, with the present values, in place; leave other modules alone.

    A twin shares all parameters with its encoder; running statistics of its own it has by ``masking.twin``. Call it
    before the optimizer is made.
    """
    if isinstance(module, _BatchNorm) and module.affine:
        module.weight = nn.Parameter(module.weight.detach().clone(), requires_grad=module.weight.requires_grad)
        module.bias = nn.Parameter(module.bias.detach().clone(), requires_grad=module.bias.requires_grad)
