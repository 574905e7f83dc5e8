"""Nothing is pruned: the row that everything else is compared with."""

from methods.method import SparseMethod
from methods.setting import Setting, require_elementwise


class Dense(SparseMethod):
    """All masks stay ones. They are installed nevertheless, so that a dense run takes the same path.

    Raises:
        ValueError: if the setting asks for a density below 1, a gap, or a granularity.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        require_elementwise(setting, "dense")
        if setting.density != 1.0 or setting.gap:
            raise ValueError(
                f"dense keeps everything, but the setting asks for density {setting.density} and gap "
                f"{setting.gap}: use density 1 and gap 0, or another method."
            )
