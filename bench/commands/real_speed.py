"""``real-speed``: what every kind of zeros really buys on this machine, beside what the model says."""

import sys
from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import arg

from bench.commands.place import Out
from bench.errors import UsageError
from bench.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class RealSpeed:
    """Measure what every kind of zeros buys here, in inference and in a training step, beside the modelled speed-up.

    Everything takes turns with the dense encoder in one process, on one thread. Where nothing faster exists on this
    device, the row says so and why. Trains nothing: weights and images are random.

    Attributes:
        encoder: with the stem of small images.
        width: share of the channels of the published encoder.
        rounds: of turns; intervals need at least 6.
        place: where the table goes.
    """

    encoder: Literal["resnet-9", "resnet-18"] = "resnet-18"
    width: Annotated[float, arg(metavar="SHARE")] = 0.5
    rounds: Annotated[int, arg(metavar="NUMBER")] = 9
    place: Out = field(default_factory=Out)

    def act(self) -> int:
        """Print and write the table; return the exit code.

        Raises:
            UsageError: no rounds, or a width at which gates or patterns do not fit.
        """
        from bench.config.run import EncoderSpec
        from bench.speedup import real_speed, real_speed_page

        if self.rounds < 1:
            raise UsageError(f"--rounds {self.rounds}: at least 1 is needed, and 6 for intervals.")
        if self.width <= 0 or (64 * self.width) % 8:
            raise UsageError(
                f"--width {self.width:g}: the first stage's 64 x width channels must divide by 8, for patterns and "
                "gates. Use a multiple of 0.125."
            )
        found = real_speed.measured(
            EncoderSpec(name=self.encoder, width=self.width),
            rounds=self.rounds,
            tell=lambda line: print(line, file=sys.stderr),
        )
        text = real_speed_page.page(found)
        print(text, end="")
        for suffix, content in (("md", text), ("json", real_speed_page.payload(found))):
            path = self.place.tables_dir / f"real-speed.{suffix}"
            write_atomically(path, content.encode())
            print(f"wrote {path}", file=sys.stderr)
        return 0
