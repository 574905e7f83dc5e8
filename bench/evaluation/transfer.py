"""How well a trained encoder's features tell the classes of other data sets, by the linear probe of the small sizes."""

from collections.abc import Mapping

import torch

from bench.config.run import DataSpec, Run
from bench.data.dataset import Dataset
from bench.data.known import known_content
from bench.evaluation import features
from bench.evaluation.lbfgs_probe import LBFGS, linear_probe
from bench.ticks import Tick, silent
from bench.training.passes import told
from bench.views.recipes import normalise


def data_of(run: Run) -> dict[str, DataSpec]:
    """Return the other data sets that a run's encoder is probed on: as many train images as it learnt from, or all."""
    specs = {}
    for name in run.evaluation.transfers:
        there, images = known_content(name), run.data.train_images
        specs[name] = DataSpec(name=name, train_images=0 if there and there.train_images <= images else images)
    return specs


def transferred(
    encoder: torch.nn.Module, datasets: Mapping[str, Dataset], tick: Tick = silent
) -> dict[str, float | int | str]:
    """Return facts about each data set: how many of its scored images are classified correctly, and the percentage.

    The encoder is frozen, as in Chen et al. 2021 (lottery tickets), section 4.2; its probe is L-BFGS whatever the run's
    own is (deviation 42).

    Args:
        encoder: exported.
        datasets: name -> images; the probe is fitted on the train split, and scored on the test split.
        tick: called after every batch of images, and every iteration of a fit; may raise ``KeyboardInterrupt``.

    Raises:
        NotFiniteError: a feature is not finite.
    """
    found: dict[str, float | int | str] = {}
    for name, dataset in datasets.items():
        with told(encoder, tick, "scoring"):
            bank, queries = (
                features.features(encoder, split.seen, normalise=normalise) for split in (dataset.train, dataset.test)
            )
        features.require_finite(bank, f"the training images' features ({name})")
        features.require_finite(queries, f"the scored images' features ({name})")
        device = next(encoder.parameters()).device
        labels = dataset.train.labels, dataset.test.labels
        correct = linear_probe(bank, labels[0], queries, labels[1], device=device, tick=tick)
        found |= {
            f"transfer_{name}_correct": correct,
            f"transfer_{name}_images": len(queries),
            f"transfer_{name}_percent": 100 * correct / len(queries),
            f"transfer_{name}_fingerprint": dataset.fingerprint,
        }
    return found | ({"transfer_protocol": LBFGS.protocol} if found else {})
