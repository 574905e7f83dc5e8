"""A folder of images of any size and mode, with ImageNet's stem and views: a whole run, made small."""

import dataclasses
from pathlib import Path

from bench.config.run import DataSpec, EncoderSpec
from bench.config.views import ViewSpec
from bench.runs import job
from bench.runs.context import Context
from bench.ticks import silent
from tests.images_on_disk import write_varied
from tests.tiny import tiny_run


def test_a_folder_of_any_images_trains_with_the_imagenet_stem(tmp_path: Path) -> None:
    write_varied(tmp_path / "data/mine", train=56, test=20)
    run = dataclasses.replace(
        tiny_run("byol", "gradual", epochs=3, batch=24),
        data=DataSpec(name="mine", train_images=0, image_size=72, crop_size=64),
        encoder=EncoderSpec(name="resnet-18", width=0.0625, stem="imagenet"),
        views=ViewSpec(pipeline="batched-v1", recipe="byol-imagenet"),
    )
    context = Context(runs_dir=tmp_path / "runs", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    record = job.perform(run, context, silent)
    assert record.facts["train_images"] == 56
    assert record.facts["optimizer_steps"] == 6
    assert record.metrics["linear_top1_percent"] > 70  # of two classes, one darker than the other
    stem = 32 * 32 * 64 * 3 * 49  # of views of 64 pixels, not of the stored 72
    assert stem < float(str(record.facts["dense_macs"])) < 2 * stem
