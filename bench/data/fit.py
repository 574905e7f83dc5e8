"""Fits a profile's run to the images that are there: classes, counts and sizes come from the data."""

import dataclasses

from bench.config.framework import SupervisedSpec
from bench.config.run import DataSpec, Run
from bench.data.known import KNOWN, OWN_PIXELS, Content


def fitted(run: Run, content: Content) -> Run:
    """Return the run on that data; one of the profiles' own data sets changes nothing.

    A classifier gets an output per class. Images that are no published data set are resized to what the CIFAR stem
    wants; where there are fewer than the profile takes, all are used.

    Args:
        run: as the profile has it, its data set's name included.
        content: of that data set.
    """
    data, framework = run.data, run.framework
    if isinstance(framework, SupervisedSpec):
        framework = dataclasses.replace(framework, output_dim=content.classes)
    if _needs_a_size(data):
        data = dataclasses.replace(data, image_size=OWN_PIXELS)
    if content.train_images < data.train_images:
        data = dataclasses.replace(data, train_images=0)
    return dataclasses.replace(run, data=data, framework=framework)


def remarks(before: DataSpec, content: Content) -> tuple[str, ...]:
    """Return, in words, what ``fitted`` changes about the images of a run."""
    said = []
    if _needs_a_size(before):
        said.append(
            f"{before.name}: images are made {OWN_PIXELS} x {OWN_PIXELS} pixels while they are loaded, and the files "
            "stay as they are; --set data.image_size=N sets another side."
        )
    if content.train_images < before.train_images:
        said.append(
            f"{before.name}: {content.train_images:,} train images, fewer than the profile's "
            f"{before.train_images:,}: all are used."
        )
    return tuple(said)


def _needs_a_size(data: DataSpec) -> bool:
    return data.name not in KNOWN and not data.image_size
