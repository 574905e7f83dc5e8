import torch

from bench.training import parts
from bench.training.facts import emptied
from methods import masking
from tests.tiny import tiny_run


def test_a_layer_that_keeps_a_single_weight_is_emptied_and_one_with_its_share_is_not() -> None:
    framework = parts.framework_for(tiny_run("simclr", "gradual"))
    assert emptied(framework.online)["emptied_layers"] == []
    masks = masking.read(framework.online)
    for mask in masks.values():
        mask.flatten()[5:].zero_() if mask.numel() < 100 else mask.flatten()[mask.numel() // 5 :].zero_()
    last = list(masks)[-1]
    masks[last] = torch.zeros_like(masks[last])
    masks[last].view(-1)[3] = 1.0
    masking.write(framework.online, masks)
    assert emptied(framework.online) == {"emptiest_layer_weights": 1, "emptied_layers": [last]}
