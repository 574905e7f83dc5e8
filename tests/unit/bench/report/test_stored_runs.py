"""What stands at the end of the claims' page: what the stored runs took."""

from bench.report.stored_runs import COLUMNS, Stored
from tests.made_up_tables import made_up_record, made_up_run


def test_a_row_adds_up_what_its_runs_took() -> None:
    """Hours are summed; days, machines and commits are each named once."""
    records = [
        made_up_record(
            made_up_run(seed=seed),
            40.0,
            provenance={
                "started": f"2026-11-{day}T10:00:00+00:00",
                "env_class": "x86_64/AMD EPYC/AVX2/onednn-default/torch2",
                "git_commit": commit,
                "cpu_seconds": 1800.0,
            },
        )
        for seed, day, commit in ((0, "26", "c0ffee0000"), (1, "24", "c0ffee0000"), (1, "25", "beef000000"))
    ]
    item = Stored(table="cifar10", size="cpu, cifar10", records=records)
    assert {column.title: column.show(item) for column in COLUMNS} == {
        "table": "cifar10",
        "size": "cpu, cifar10",
        "runs": "3",
        "seeds": "2",
        "begun": "2026-11-24 to 2026-11-26",
        "machine": "AMD EPYC/AVX2",
        "core-hours": "1.5",
        "commits": "beef000, c0ffee0",
    }
    one_day = Stored(table="nm", size="smoke, digits", records=records[:1])
    assert {column.title: column.show(one_day) for column in COLUMNS}["begun"] == "2026-11-26"
