"""Where each method comes from, what its zeros spare, and which shapes it prunes: an entry for each key.

Apart from ``METHODS`` and ``GATES``, because nothing here changes what a run computes.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Product = Literal["forward", "backward", "weights"]
"""The three products of a training step: of the output, of the input's gradient, of the weights' gradient."""

ALL: tuple[Product, ...] = get_args(Product)
SHAPES = ("element", "2:4", "block4x4", "filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The published work behind a method.

    Attributes:
        title: authors and title; what is ours is called so.
        year: of publication; ``None`` where nothing was published.
        source: address of the code or the text that the method was made from; empty where there is none.
        skips: the products of a training step that leave out what is masked or gated off, as training MACs count
            them. A method that needs the gradient of pruned weights in every step does not skip ``weights``; one
            that needs it only where it updates masks does, and those steps are counted dense.
        shapes: an example of each granularity that can be pruned; tests take the first.

    Raises:
        ValueError: there is a year without a source, or nothing that can be pruned.
    """

    title: str
    year: int | None = None
    source: str = ""
    skips: tuple[Product, ...] = ALL
    shapes: tuple[str, ...] = ("element",)

    def __post_init__(self) -> None:
        if (self.year is None) is not (not self.source):
            raise ValueError(f"{self.title}: give the year and the source of a work, or neither.")
        if not self.shapes:
            raise ValueError(f"{self.title}: name a granularity that it can prune; '-' where it prunes nothing.")


_RIGL = "https://github.com/google-research/rigl"
_GRANET = "https://github.com/Shiweiliuiiiiiii/GraNet"
_SYNCCP = "https://github.com/mengjian0502/solo-learn-sparse"
_LAMP = "Lee et al., Layer-adaptive sparsity for the magnitude-based pruning (LAMP)"
_LAMP_SOURCE = "https://github.com/jaeho-lee/layer-adaptive-sparsity"
_LOTTERY = "Evci et al., Rigging the lottery: making all tickets winners (RigL)"
_GMP = "Zhu and Gupta, To prune, or not to prune"
_BOOSTING = "Liu et al., Sparse training via boosting pruning plasticity with neuroregeneration (GraNet)"
_SYNCHRONIZED = "Meng et al., Synchronized contrastive pruning for efficient self-supervised learning (SyncCP)"
_IN_TIME = "Liu et al., Do we actually need dense over-parameterization? (ITOP)"
_ITOP = "https://github.com/Shiweiliuiiiiiii/In-Time-Over-Parameterization"
_SCRATCH = "Zhou et al., Learning N:M fine-grained structured sparse neural networks from scratch (SR-STE)"
_SCRATCH_SOURCE = "https://github.com/aojunzz/NM-sparsity"
_TRANSPOSABLE = "transposable masks of Hubara et al. 2021"
_ASP = "Mishra et al., Accelerating sparse deep neural networks (ASP)"
_ASP_SOURCE = "https://arxiv.org/abs/2104.08378"
_PATTERNS = ("2:4", "1:4")
_DUAL = "Meng et al., Contrastive dual gating: learning sparse features with contrastive learning (CDG)"
_DUAL_SOURCE = "https://github.com/mengjian0502/StructuredCG_RRAM"

WORKS: dict[str, Work] = {
    "dense": Work(title="nothing is pruned", skips=(), shapes=("-",)),
    "dense_narrow": Work(title="a narrower dense encoder (ours)"),
    "dense_small_images": Work(title="dense, trained on smaller images first (ours)", skips=()),
    "static_erk": Work(title=f"{_LOTTERY}, static", year=2020, source=_RIGL, shapes=("element", "block4x4")),
    "static_uniform": Work(title=f"{_LOTTERY}, static", year=2020, source=_RIGL, shapes=SHAPES),
    "set": Work(
        title="Mocanu et al., Scalable training of neural networks with adaptive sparse connectivity (SET)",
        year=2018,
        source="https://doi.org/10.1038/s41467-018-04316-3",
    ),
    "set_itop": Work(title=f"{_IN_TIME}, SET", year=2021, source=_ITOP),
    "rigl": Work(title=_LOTTERY, year=2020, source=_RIGL),
    "rigl_itop": Work(title=f"{_IN_TIME}, RigL", year=2021, source=_ITOP),
    "srigl": Work(
        title="Lasby et al., Dynamic sparse training with structured sparsity (SRigL)",
        year=2024,
        source="https://github.com/calgaryml/condensed-sparsity",
    ),
    "snfs": Work(
        title="Dettmers and Zettlemoyer, Sparse networks from scratch: faster training without losing performance",
        year=2019,
        source="https://github.com/TimDettmers/sparse_learning",
        skips=("forward", "backward"),
    ),
    "sparse_then_dense": Work(
        title="Thangarasa et al., Sparse pre-training and dense fine-tuning (SPDF); in one run (ours)",
        year=2023,
        source="https://arxiv.org/abs/2303.10464",
    ),
    "gradual": Work(title=_GMP, year=2017, source="https://arxiv.org/abs/1710.01878", shapes=SHAPES),
    "gradual_early": Work(
        title=f"{_GMP}; from the first step on", year=2017, source="https://arxiv.org/abs/1710.01878", shapes=SHAPES
    ),
    "gradual_erk": Work(title=f"{_GMP}; counts of RigL", year=2020, source=_RIGL, shapes=("element", "block4x4")),
    "gradual_lamp": Work(title=_LAMP, year=2021, source=_LAMP_SOURCE, shapes=("element", "block4x4")),
    "granet": Work(title=_BOOSTING, year=2021, source=_GRANET),
    "granet_erk": Work(title=f"{_BOOSTING}; counts of RigL", year=2021, source=_GRANET),
    "granet_lamp": Work(title=f"{_BOOSTING}; counts of LAMP", year=2021, source=_GRANET),
    "synchronized": Work(title=_SYNCHRONIZED, year=2023, source=_SYNCCP, shapes=SHAPES),
    "synchronized_active": Work(
        title=f"{_SYNCHRONIZED}; only active weights compete (ours)", year=2023, source=_SYNCCP, shapes=SHAPES
    ),
    "synchronized_erk": Work(
        title=f"{_SYNCHRONIZED}; counts of RigL (ours)", year=2023, source=_SYNCCP, shapes=("element", "block4x4")
    ),
    "synchronized_lamp": Work(
        title=f"{_SYNCHRONIZED}; counts of LAMP", year=2023, source=_SYNCCP, shapes=("element", "block4x4")
    ),
    "synchronized_as_published": Work(
        title=f"{_SYNCHRONIZED}; as its code does it", year=2023, source=_SYNCCP, shapes=("element", "2:4")
    ),
    "synchronized_lamp_as_published": Work(
        title=f"{_SYNCHRONIZED}; with LAMP, as its code does it", year=2023, source=_SYNCCP
    ),
    "one_shot": Work(
        title="Han et al., Learning both weights and connections for efficient neural networks",
        year=2015,
        source="https://arxiv.org/abs/1506.02626",
        shapes=SHAPES,
    ),
    "ticket": Work(
        title="Chen et al., The lottery tickets hypothesis for supervised and self-supervised pre-training",
        year=2021,
        source="https://github.com/VITA-Group/CV_LTH_Pre-training",
    ),
    "sdclr": Work(
        title="Jiang et al., Self-damaging contrastive learning (SDCLR)",
        year=2021,
        source="https://github.com/VITA-Group/SDCLR",
    ),
    "momentum_pruning": Work(
        title="Pan et al., Momentum contrastive pruning (MCP), our reading of its abstract",
        year=2022,
        source="https://doi.org/10.1109/CVPRW56347.2022.00298",
        shapes=("filter",),
    ),
    "sr_ste": Work(title=_SCRATCH, year=2021, source=_SCRATCH_SOURCE, skips=("forward", "backward"), shapes=_PATTERNS),
    "sr_ste_transposable": Work(
        title=f"{_SCRATCH}; {_TRANSPOSABLE}",
        year=2021,
        source="https://github.com/papers-submission/structured_transposable_masks",
        skips=("forward", "backward"),
        shapes=_PATTERNS,
    ),
    "asp": Work(title=_ASP, year=2021, source=_ASP_SOURCE, shapes=_PATTERNS),
    "asp_transposable": Work(title=f"{_ASP}; {_TRANSPOSABLE}", year=2021, source=_ASP_SOURCE, shapes=_PATTERNS),
    "group_lasso": Work(
        title="Meng et al., Structured pruning of RRAM crossbars for efficient in-memory computing (group lasso)",
        year=2021,
        source="https://github.com/mengjian0502/GroupLasso_Quant",
        shapes=("block4x4", "filter"),
    ),
    "dual_gate": Work(title=_DUAL, year=2022, source=_DUAL_SOURCE, shapes=("element", "slice4")),
    "dual_gate_averaged": Work(
        title=f"{_DUAL}; the target's gates averaged (ours)",
        year=2022,
        source=_DUAL_SOURCE,
        shapes=("element", "slice4"),
    ),
    "shared_gate": Work(
        title=f"{_DUAL}; one gate for both branches (ours)",
        year=2022,
        source=_DUAL_SOURCE,
        shapes=("element", "slice4"),
    ),
    "single_gate": Work(
        title=f"{_DUAL}; the first view gates both (ours)", year=2022, source=_DUAL_SOURCE, shapes=("element", "slice4")
    ),
    "ungated_target": Work(
        title=f"{_DUAL}; a dense target (ours)", year=2022, source=_DUAL_SOURCE, shapes=("element", "slice4")
    ),
    "channel_gate": Work(
        title="Hua et al., Channel gating neural networks (CGNet)",
        year=2019,
        source="https://github.com/cornell-zhang/dnn-gating",
    ),
    "feature_boosting": Work(
        title="Gao et al., Dynamic channel pruning: feature boosting and suppression (FBS)",
        year=2019,
        source="https://arxiv.org/abs/1810.05331",
    ),
    "group_gate": Work(
        title="Su et al., Dynamic group convolution for accelerating convolutional neural networks (DGC)",
        year=2020,
        source="https://github.com/zhuogege1943/dgc",
    ),
    "spatial_gate": Work(
        title="Verelst and Tuytelaars, Dynamic convolutions: exploiting spatial sparsity (DynConv)",
        year=2020,
        source="https://github.com/thomasverelst/dynconv",
    ),
    "unified_gate": Work(
        title="Krishna et al., Unifying synergies between self-supervised learning and dynamic computation",
        year=2023,
        source="https://github.com/KrishnaTarun/Unification",
    ),
}
