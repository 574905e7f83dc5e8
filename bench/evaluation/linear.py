"""Scores of an exported encoder: weighted kNN and a linear probe on cached features.

Both use the encoder of the last epoch (never the best on test), the training images as they are (no
augmentation) as bank, and the whole evaluation split. Nothing is tuned on that split. Deviations 10 and 11 in
results/deviations.md.
"""

import math

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from bench.config.run import ViewSpec
from bench.data.dataset import Split
from bench.evaluation.features import require_finite
from bench.views import recipes

LBFGS_PROTOCOL = "L-BFGS logistic regression, C = 1, standardised cached features, last epoch"
SGD_EPOCHS = 100
_PICTURES = 128  # of a step of the SGD probe, which sees two views of each
SGD_PROTOCOL = "SGD linear layer, 100 epochs of crops and flips, lr 0.1, momentum 0.9, batch 256, cosine, last epoch"


def linear_probe(bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor) -> int:
    """Return how many queries a logistic regression on the bank's features classifies correctly.

    Features are standardised with the bank's statistics; L2 strength C = 1, solved to convergence by L-BFGS,
    so that the probe adds no seed and no schedule of its own.
    """
    scaler = StandardScaler().fit(bank.numpy().astype(np.float64))
    probe = LogisticRegression(C=1.0, solver="lbfgs", max_iter=2000, tol=1e-4)
    probe.fit(scaler.transform(bank.numpy().astype(np.float64)), bank_labels.numpy())
    predicted = probe.predict(scaler.transform(queries.numpy().astype(np.float64)))
    return int((predicted == labels.numpy()).sum())


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
