"""A linear layer trained by SGD on augmented views, as the papers do it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.config.views import ViewSpec
from bench.data.dataset import Split
from bench.evaluation.features import require_finite
from bench.evaluation.probe import Probe, Question
from bench.training.passes import told
from bench.views import recipes

SGD_EPOCHS = 100
_PICTURES = 128  # of a step of the SGD probe, which sees two views of each


def sgd_probe(
    encoder: nn.Module, train: Split, queries: Tensor, labels: Tensor, *, seed: int, epochs: int = SGD_EPOCHS
) -> int:
    """Return how many queries a linear layer, trained by SGD on augmented views, classifies correctly.

    As the papers do it, with the constants of Lightly's ``LinearClassifier``: learning rate 0.1 for a batch of 256,
    momentum 0.9, no weight decay, a cosine to zero; the encoder is frozen in evaluation mode. A step takes both views
    of 128 pictures, so that an epoch over the views is half an epoch over the pictures.

    Args:
        encoder: exported.
        train: pictures and classes to learn from.
        queries: features ``[Q, F]`` of un-augmented pictures.
        labels: classes ``[Q]``.
        seed: of the layer's first weights, of order and views.
        epochs: over the pictures; even.

    Raises:
        NotFiniteError: a view had features that are not finite.
    """
    encoder.eval()
    device = next(encoder.parameters()).device
    views = recipes.build(
        ViewSpec(pipeline="batched-v1", recipe="probe"),
        seed=seed,
        images=len(train.images),
        side=train.images.shape[-1],
        size=train.size,
    )
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(queries.shape[1], int(train.labels.max()) + 1)
    nn.init.normal_(layer.weight, std=0.01, generator=generator)
    nn.init.zeros_(layer.bias)
    layer.to(device)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    batches = math.ceil(len(train.images) / _PICTURES)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs // 2 * batches)
    for epoch in range(epochs // 2):
        for samples in torch.randperm(len(train.images), generator=generator).split(_PICTURES):
            with torch.no_grad():
                seen = [encoder(view) for view in views.views(train.images[samples].to(device), samples, epoch)]
            truth = train.labels[samples].to(device).repeat(2)
            loss = functional.cross_entropy(layer(torch.cat(seen).float()), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    require_finite(layer.weight.detach(), "the linear layer trained on augmented views")
    with torch.no_grad():
        predicted = layer(queries.to(device)).argmax(dim=1).cpu()
    return int((predicted == labels).sum())


def sgd_passes(images: int, epochs: int = SGD_EPOCHS) -> int:
    """Return how often ``sgd_probe`` calls the encoder: for each of two views of every batch."""
    return 2 * (epochs // 2) * math.ceil(images / _PICTURES)


def _correct(asked: Question) -> int:
    with told(asked.encoder, asked.tick, "probing", total=sgd_passes(len(asked.train.images))):
        return sgd_probe(asked.encoder, asked.train, asked.queries, asked.labels, seed=asked.seed)


SGD = Probe(
    protocol="SGD linear layer, 100 epochs of crops and flips, lr 0.1, momentum 0.9, batch 256, cosine, last epoch",
    correct=_correct,
)
