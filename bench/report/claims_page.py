"""Every claim of the works as one Markdown page: verdicts first, then every difference that they rest on."""

from collections.abc import Sequence

from bench.judging.book import Entry
from bench.judging.claim_judge import Pair
from bench.judging.sample_size import LEVEL
from bench.report.claims import OURS_LEGEND, OURS_TITLE, ModelledClaim, lead
from bench.report.grid import NOTHING, Column, grid
from bench.report.markdown import escaped, titled_grid
from bench.report.stored_runs import LEGEND as RUNS_LEGEND
from bench.report.stored_runs import stored_runs


def _size(entry: Entry) -> str:
    return f"{entry.profile}, {entry.data}"


def _gain(pair: Pair | None) -> str:
    if pair is None:
        return NOTHING
    low, high = pair.comparison.interval(LEVEL)
    return f"{pair.comparison.difference:+.2f} [{low:+.2f}, {high:+.2f}]"


def _found(entry: Entry) -> str:
    power = entry.judged.power
    return NOTHING if power is None else f"{power.smallest_gain:.2f}"


def _way_on(entry: Entry) -> str:
    return entry.way_on or entry.judged.judgement.reason


LEGEND = (
    "REPRODUCED: the claim holds in our runs of that size; DEVIATES: it does not; INCONCLUSIVE: the runs do not tell. "
    "A claim stands or falls with its smallest gain over an opponent, in percentage points, with its "
    f"{LEVEL:.0%} interval. Seeds: had, of those that the rule of sample sizes asks for. Found with 80 %: how far "
    "beyond the claimed gain a true one would have to lie. The rules are in `results/judging.md`."
)
JUDGED: tuple[Column[Entry], ...] = (
    Column(title="claim", show=lambda entry: entry.judged.claim.name),
    Column(title="work", show=lambda entry: entry.judged.claim.work),
    Column(title="size", show=_size),
    Column(title="verdict", show=lambda entry: entry.judged.judgement.verdict.value),
    Column(title="smallest gain", show=lambda entry: _gain(entry.judged.worst), is_number=True),
    Column(title="over", show=lambda entry: NOTHING if entry.judged.worst is None else entry.judged.worst.right),
    Column(title="claimed above", show=lambda entry: f"{entry.judged.claim.least_gain_points:+.2f}", is_number=True),
    Column(title="seeds", show=lambda entry: f"{entry.judged.seeds} of {entry.wanted}", is_number=True),
    Column(title="found with 80 %", show=_found, is_number=True),
)
DIFFERENCES: tuple[Column[tuple[Entry, Pair]], ...] = (
    Column(title="claim", show=lambda item: item[0].judged.claim.name),
    Column(title="size", show=lambda item: _size(item[0])),
    Column(title="row", show=lambda item: item[1].left),
    Column(title="opponent", show=lambda item: item[1].right),
    Column(title="less the same of", show=lambda item: item[0].judged.claim.beside or NOTHING),
    Column(title="gain", show=lambda item: _gain(item[1]), is_number=True),
    Column(title="seeds", show=lambda item: str(item[1].comparison.new_runs), is_number=True),
)
OPEN: tuple[Column[Entry], ...] = (
    Column(title="claim", show=lambda entry: entry.judged.claim.name),
    Column(title="size", show=_size),
    Column(title="why it is not judged", show=lambda entry: entry.judged.judgement.reason),
)


OURS: tuple[Column[Entry], ...] = (
    Column(title="claim", show=lambda entry: entry.judged.claim.name),
    Column(title="at equal", show=lambda entry: entry.judged.claim.match or NOTHING),
    *JUDGED[2:],
    Column(title="what makes the runs, or why none can tell", show=_way_on),
)


def claims_page(entries: Sequence[Entry], modelled: Sequence[ModelledClaim], ours: Sequence[Entry] = ()) -> str:
    """Return the page; the same evidence always gives the same text.

    Args:
        entries: every claim at every size.
        modelled: the claims that modelled machines decide.
        ours: every claim of our own at every size.
    """
    judged = [entry for entry in entries if entry.judged.judgement.verdict.is_judged]
    others = [entry for entry in entries if not entry.judged.judgement.verdict.is_judged]
    pairs = [(entry, pair) for entry in judged for pair in entry.judged.pairs]
    blocks = [
        "# What the works claim, and what our own runs say",
        escaped(lead(entries)),
        LEGEND,
        titled_grid(grid("Judged", JUDGED, judged)).rstrip(),
        titled_grid(grid("Every difference", DIFFERENCES, pairs)).rstrip(),
        titled_grid(grid("Not judged", OPEN, others)).rstrip(),
    ]
    if ours:
        blocks += [titled_grid(grid(OURS_TITLE, OURS, ours)).rstrip(), OURS_LEGEND]
    if modelled:
        blocks += ["## On modelled machines", "\n".join(f"- {item.name}: {escaped(item.verdict)}" for item in modelled)]
    blocks += [titled_grid(stored_runs()).rstrip(), RUNS_LEGEND]
    return "\n\n".join(blocks) + "\n"
