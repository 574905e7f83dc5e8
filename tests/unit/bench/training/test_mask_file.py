"""Which masks a run keeps, and that they are in the file as they were."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.training import parts
from bench.training.mask_file import Snapshots, maps, packed, written
from methods import masking
from methods.method import GateFacts
from tests.tiny import dataset_of, tiny_run


@pytest.mark.parametrize(
    ("total", "window", "steps"),
    [(10, (0.0, 1.0), [0, 2, 5, 8, 9]), (100, (0.2, 0.6), [20, 30, 40, 50, 60]), (1, None, [0]), (0, None, [0])],
)
def test_points_are_spread_evenly_over_the_window_and_lie_within_the_run(
    total: int, window: tuple[float, float] | None, steps: list[int]
) -> None:
    assert Snapshots(tiny_run("simclr", "gradual"), total, window).steps == steps


def test_points_that_share_a_step_are_all_kept_and_other_steps_keep_none() -> None:
    run = tiny_run("simclr", "gradual")
    framework, snapshots = parts.framework_for(run), Snapshots(run, 3, (0.0, 1.0))
    names = [{key.partition("/")[0] for key in snapshots.after(step, framework)} for step in range(4)]
    assert names == [{"point0"}, {"point1"}, {"point2", "point3", "point4"}, set()]


def test_masks_of_both_branches_come_out_of_the_file_bit_by_bit() -> None:
    framework, generator = parts.framework_for(tiny_run("byol", "gradual")), torch.Generator().manual_seed(0)
    masks = [
        {name: (torch.rand(mask.shape, generator=generator) < 0.3).float() for name, mask in masking.read(each).items()}
        for each in (framework.online, framework.target)
    ]
    framework.branches.write(masks[0], target=masks[1])
    with np.load(io.BytesIO(written(packed("final", framework)))) as file:
        assert len(file.files) == 2 * len(masks[0])
        for branch, of_branch in zip(("online", "target"), masks, strict=True):
            for name, mask in of_branch.items():
                bits = np.unpackbits(file[f"final/{branch}/{name}"], count=mask.numel())
                assert np.array_equal(bits, mask.flatten().numpy())


def test_maps_of_gates_are_bytes_beside_the_images_they_belong_to(tmp_path: Path) -> None:
    images = dataset_of(tiny_run("simclr", "dense"), tmp_path)
    assert maps(None, images) == {}
    shares = torch.tensor([0.0, 0.25, 1.0])[:, None, None]
    gates = GateFacts(
        online_share=1.0, target_share=1.0, facts={}, features=torch.empty(0), maps={"online/layer1": shares}
    )
    found = maps(gates, images)
    assert found["gates/online/layer1"].flatten().tolist() == [0, 64, 255]
    assert torch.equal(found["gates/images"], images.test.seen[:3])
