"""Dense training on smaller images: the control that saves pixels where sparse training saves weights."""

from methods.method import SparseMethod
from methods.setting import Setting, require_elementwise, require_no_ramp, require_one_mask


class SmallImages(SparseMethod):
    """Nothing is pruned. Whoever trains reduces the views of the first steps until the run is as cheap as a sparse one.

    Source: ours. Papers on sparse training compare with dense training on whole images, and leave out dense training
    at the cost of theirs (deviation 41).

    Args:
        setting: ``density`` is that of the sparse rows whose training MACs it shall take; all weights are kept.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        require_elementwise(setting, "dense_small_images")
        require_one_mask(setting, "dense_small_images")
        require_no_ramp(setting, "dense_small_images")

    @property
    def ends_dense(self) -> bool:
        """True, as it is dense all along."""
        return True
