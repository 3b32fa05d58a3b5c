"""Requests made from the API model, over the records that they make: nothing breaks, nothing is lost."""

from __future__ import annotations

import re

import pytest

from fuzz import campaign
from strongroom.kms.operations.table import TABLE
from strongroom.kms.wire.shapes import ERRORS
from testkit.installation import Installation
from testkit.planting import plant

# Four runs, so that the test workers share them: 20,000 requests in all.
RUNS = [(seed, workers) for seed, workers in ((1, 1), (2, 1), (3, 2), (4, 2))]
REQUESTS = 5_000
CAMPAIGN_REQUESTS = 250_000


def _require_nothing_breaks(seed: int, workers: int, requests: int) -> None:
    installation = Installation("--workers", str(workers))
    try:
        installation.start()
        campaign.wait_for_workers(installation, workers)
        before = campaign.processes(installation)
        assert len(before) == workers + 1
        tally = campaign.run(installation, seed, requests)
        campaign.require_listed(installation, tally)
        assert campaign.processes(installation) == before
        installation.stop()
        campaign.require_trail(installation, tally)
        campaign.require_all_workers_served(installation, workers)
        installation.start()
        campaign.require_listed(installation, tally)
        campaign.look_again(installation, tally)
        assert campaign.complaints(installation) == []
    finally:
        installation.destroy()
    told = f"{tally.requests} requests, {len(tally.key_ids)} keys, {len(tally.outcomes)} outcomes"
    print(f"seed {seed}, {workers} worker(s): {told}")
    # The fuzzing reaches further than the first check: every operation has succeeded, and been refused.
    assert {operation for operation, code in tally.outcomes if not code} >= set(TABLE)
    refused = {code for _, code in tally.outcomes} & set(ERRORS)
    assert refused >= {
        "NotFoundException",
        "InvalidCiphertextException",
        "KMSInvalidStateException",
        "DisabledException",
    }


@pytest.mark.parametrize(("seed", "workers"), RUNS)
def test_no_request_made_from_the_model_breaks_the_service_or_loses_a_record(seed: int, workers: int) -> None:
    _require_nothing_breaks(seed, workers, REQUESTS)


@pytest.mark.campaign
@pytest.mark.parametrize(("seed", "workers"), [(seed + 100, workers) for seed, workers in RUNS])
def test_a_million_requests_made_from_the_model_break_nothing(seed: int, workers: int) -> None:
    _require_nothing_breaks(seed, workers, CAMPAIGN_REQUESTS)


# ── the check itself ────────────────────────────────────────────────────────────────────────────────────────────────

_TAGGED = "    await change_key(service, call, tags=add_tags(entry.record.tags, request.Tags, service.limits))\n"
# Workers, module, what it says, what it says with the fault in it, and what must be found.
FAULTS = {
    "an exception for one odd value": (
        1,
        "kms/operations/update_key_description.py",
        "    (admission,) = call.admissions\n",
        '    (admission,) = call.admissions\n    assert "\\0" not in request.Description\n',
        "UpdateKeyDescription was answered 500",
    ),
    "a commit that is left out now and then": (
        1,
        "kms/storage/writer.py",
        '                self._connection.execute("COMMIT")\n',
        '                self._connection.execute("COMMIT" if self.stats.commits % 20 else "ROLLBACK")\n',
        "and acknowledged was",
    ),
    "a rule of the key states that is missing": (
        1,
        "kms/keys/lifecycle.py",
        "_ANNOTATE: Final = _row(pending=_I)",
        "_ANNOTATE: Final = _row()",
        "must be refused with one of ['KMSInvalidStateException'], and succeeded",
    ),
    "a change that happens before it is refused": (
        1,
        "kms/operations/tag_resource.py",
        f"    require_state(entry, call.operation)\n{_TAGGED}",
        f"{_TAGGED}    require_state(entry, call.operation)\n",
        "ListResourceTags shows",
    ),
    "a change that another worker does not see": (
        2,
        "kms/keys/directory.py",
        "            elif changes:\n",
        "            elif len(changes or ()) > 1:\n",
        "and acknowledged was",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_breaks_or_loses_something_is_caught(fault: str) -> None:
    workers, module, right, wrong, finding = FAULTS[fault]
    installation = Installation("--workers", str(workers))
    try:
        plant(installation, module, right, wrong)
        installation.start()
        campaign.wait_for_workers(installation, workers)
        with pytest.raises(AssertionError, match=re.escape(finding)):
            campaign.run(installation, seed=1, requests=REQUESTS)
    finally:
        installation.destroy()


def test_what_is_told_of_a_finding_is_only_what_it_takes() -> None:
    assert campaign.shorten(range(1, 201), lambda steps: {7, 150, 151} <= set(steps)) == [7, 150, 151]
    assert campaign.shorten(range(1, 201), lambda _: True) == []
