"""Prune torchvision's ResNet-18 while SimCLR trains it: plain PyTorch and Lightly, with ``methods`` as a library."""

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from torchvision.models import resnet18

from methods import METHODS, Branches, Setting, masking

STEPS = 6
torch.manual_seed(0)
encoder = resnet18()
encoder.fc = torch.nn.Identity()
masking.install(encoder)  # before the target is made: an EMA copy, or as here a second module on the same weights
branches = Branches(online=encoder, target=masking.twin(encoder, own_statistics=True), tied=True)
method = METHODS["synchronized"](Setting(density=0.10, gap=0.30, seed=0))
method.attach(branches, STEPS)  # before the optimizer is made
head = SimCLRProjectionHead(512, 128, 64)
optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.05, momentum=0.9)
criterion = NTXentLoss()
for step in range(STEPS):
    images = torch.rand(8, 3, 32, 32)  # yours, and views of these
    method.before_forward(step)
    loss = criterion(head(branches.online(images)), head(branches.target(images.flip(3)))) + method.penalty()
    loss.backward()
    if method.on_gradient(step, optimizer):
        optimizer.step()
    optimizer.zero_grad()  # an EMA target would move here
    method.on_step(step)
pruned = method.export(branches.online)  # a plain ResNet-18 again, with zeros
kept, of = sum(masking.counts(encoder).values()), sum(weight.numel() for weight in masking.latent(encoder).values())
print(f"density {kept / of:.4f} after mask updates at steps {method.facts().update_steps}")
