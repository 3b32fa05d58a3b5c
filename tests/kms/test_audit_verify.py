import random
import shutil
import tracemalloc

import msgspec
import pytest

from kms.test_audit_support import DOMAIN_ID, SigningHsm, build_trail, make_event, open_log, verify
from strongroom.kms.audit.chain import merged_digest
from strongroom.kms.audit.heads import HeadLog, HeadProposal
from strongroom.kms.audit.verify import _Verification, verify_directory


@pytest.fixture(scope="module")
def hsm():
    return SigningHsm()


@pytest.fixture(scope="module")
def whole_trail(tmp_path_factory, hsm):
    directory = tmp_path_factory.mktemp("trail")
    build_trail(directory, hsm)
    return directory


@pytest.fixture
def trail(whole_trail, tmp_path):
    return shutil.copytree(whole_trail, tmp_path / "copy")


def segments(trail):
    return sorted(trail.glob("audit-*"))


def edit(seeded: random.Random, data: bytes, *, is_heads: bool) -> tuple[str, bytes]:
    """One random edit. The last head line may be changed but not removed: nothing in the directory vouches for it."""
    lines = data.splitlines(keepends=True)
    kind = seeded.choice(("flip", "drop", "duplicate", "swap", "truncate", "insert"))
    place = seeded.randrange(len(lines))
    if kind == "flip":
        at = seeded.randrange(len(data))
        return f"flip {at}", data[:at] + bytes((data[at] ^ (1 << seeded.randrange(8)),)) + data[at + 1 :]
    if kind == "truncate":
        # Cutting whole head lines off the end is what `expected_digest` is for.
        at = seeded.randrange(len(data)) if not is_heads else len(data) - seeded.randrange(1, len(lines[-1]))
        return f"truncate to {at}", data[:at]
    if kind == "swap":
        other = seeded.choice([index for index in range(len(lines)) if index != place])
        lines[place], lines[other] = lines[other], lines[place]
        return f"swap {place} {other}", b"".join(lines)
    if kind == "drop" and not (is_heads and place == len(lines) - 1):
        del lines[place]
    else:
        lines.insert(seeded.randrange(len(lines) + 1) if kind == "insert" else place, lines[place])
    return f"{kind} {place}", b"".join(lines)


def test_a_thousand_random_edits_before_the_last_head_are_always_detected(trail, hsm):
    seeded = random.Random(16)
    files = [*segments(trail), trail / "heads.jsonl"]
    whole = {path: path.read_bytes() for path in files}
    undetected = []
    edits = 0
    while edits < 1000:
        path = seeded.choice(files)
        what, changed = edit(seeded, whole[path], is_heads=path.name == "heads.jsonl")
        if changed == whole[path]:
            continue
        edits += 1
        path.write_bytes(changed)
        if not verify(trail, hsm).problem_count:
            undetected.append((path.name, what))
        path.write_bytes(whole[path])
    assert undetected == []
    assert verify(trail, hsm).problems == []


def test_an_edit_is_reported_with_its_file_and_line(trail, hsm):
    path = segments(trail)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"user-", b"User-")
    path.write_bytes(b"".join(lines))
    (problem,) = verify(trail, hsm).problems
    assert (problem.file, problem.line) == (path.name, 4)


def test_every_missing_segment_is_noticed(trail, hsm):
    for path in segments(trail):
        data = path.read_bytes()
        path.unlink()
        assert verify(trail, hsm).problem_count
        path.write_bytes(data)


def test_a_writer_whose_files_are_all_gone_is_noticed(trail, hsm):
    for path in trail.glob("audit-w2-*"):
        path.unlink()
    assert [problem.what for problem in verify(trail, hsm).problems] == ["the chain of w2 ends at 0; 60 was signed for"]


def test_a_chain_rewritten_from_the_start_without_the_hsm_is_noticed(tmp_path, trail, hsm):
    forged = tmp_path / "forged"
    build_trail(forged, SigningHsm())
    shutil.copy(trail / "heads.jsonl", forged / "heads.jsonl")
    assert verify(forged, hsm).problems == []
    log = open_log(tmp_path / "other")
    log.append([make_event(7) for _ in range(200)])
    log.close()
    for path in forged.glob("audit-w1-*"):
        path.unlink()
    shutil.copy(segments(tmp_path / "other")[0], forged)
    problems = verify(forged, hsm).problems
    assert {problem.file for problem in problems} == {"heads.jsonl"}
    assert all("is not the one that was signed for" in problem.what for problem in problems)


def test_a_head_by_an_unknown_hsm_a_wrong_key_or_for_another_domain_vouches_for_nothing(trail, hsm):
    stranger = SigningHsm()
    for members, domains, words in (
        ({"hsm-2": hsm.public}, {DOMAIN_ID}, "unknown HSM"),
        ({"hsm-1": stranger.public}, {DOMAIN_ID}, "signature is wrong"),
        ({"hsm-1": hsm.public}, {bytes(16)}, "another domain"),
    ):
        report = verify_directory(trail, members, domains)
        assert report.heads == 0
        assert report.records_after_last_head == 120
        assert all(words in problem.what for problem in report.problems)
        assert len(report.problems) == 4


def test_records_after_the_last_head_are_counted_and_a_torn_last_record_is_no_problem(trail, hsm):
    log = open_log(trail)
    log.append([make_event(number) for number in range(3)])
    log.close()
    path = max(trail.glob("audit-w1-*"))
    path.write_bytes(path.read_bytes()[:-5])
    report = verify(trail, hsm)
    assert (report.problems, report.records_after_last_head) == ([], 2)
    assert report.torn_bytes > 100


def test_a_signed_head_that_goes_back_is_noticed(trail, hsm):
    heads = HeadLog(trail)
    older = tuple(msgspec.structs.replace(head, seq=head.seq - 1) for head in heads.last.heads)
    previous = heads.last.digest
    proposal = HeadProposal(older, previous, merged_digest(previous, older))
    signature = hsm.statement_signature(proposal, 7)
    heads.append(proposal, domain_id=DOMAIN_ID, hsm_id=hsm.hsm_id, signed_at_s=7, signature=signature)
    heads.close()
    (problem,) = verify(trail, hsm).problems
    assert "goes back from 60 to 59" in problem.what


@pytest.mark.parametrize("index", [0, 1])
def test_a_segment_that_starts_after_another_hash_is_noticed(trail, hsm, index):
    path = segments(trail)[index]
    start, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(start[:-3] + (b"0" if start[-3:-2] != b"0" else b"1") + start[-2:] + b"\n" + rest)
    problems = verify(trail, hsm).problems
    assert problems
    assert problems[0].file in {path.name, "audit-w1"}


def test_a_segment_under_another_name_is_noticed(trail, hsm):
    path = max(trail.glob("audit-w1-*"))
    path.rename(trail / f"audit-w1-{99:020d}.jsonl")
    (problem,) = verify(trail, hsm).problems
    assert "name" in problem.what


def test_head_lines_cut_off_the_end_are_noticed_by_whoever_kept_a_digest(trail, hsm):
    path = trail / "heads.jsonl"
    digest = verify(trail, hsm).last_digest
    assert verify(trail, hsm, expected_digest=digest).problems == []
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert verify(trail, hsm).problems == []
    (problem,) = verify(trail, hsm, expected_digest=digest).problems
    assert "expected digest" in problem.what


def test_a_head_line_that_appears_during_verification_is_left_for_the_next_one(trail, hsm):
    verification = _Verification(trail, {DOMAIN_ID}, None)
    verification.load_keys({hsm.hsm_id: hsm.public})
    verification.verify_heads()
    with (trail / "heads.jsonl").open("ab") as file:
        file.write(b"half a head li")
    verification.verify_writer("w1", [(int(path.stem[-20:]), path) for path in sorted(trail.glob("audit-w1-*"))])
    assert verification.report.problems == []


def test_first_head_lines_that_vanish_are_noticed(trail, hsm):
    path = trail / "heads.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    (problem,) = verify(trail, hsm).problems
    assert "missing" in problem.what


def test_an_unsigned_retention_record_explains_no_missing_segment(trail, hsm):
    log = open_log(trail)
    first = segments(trail)[0]
    start = segments(trail)[1].read_bytes().split(b'"previous":"')[1][:64].decode()
    seq = int(segments(trail)[1].stem[-20:])
    first.unlink()
    log.append([log._own_event("AuditRetention", {"writer": "w1", "first": seq, "previous": start})])
    log.close()
    assert verify(trail, hsm).problem_count == 1
    heads = HeadLog(trail)
    hsm.sign(heads, 9_999_999_999)
    heads.close()
    assert verify(trail, hsm).problems == []


def test_an_endless_line_and_an_endless_list_of_problems_do_not_fill_memory(tmp_path, hsm):
    log = open_log(tmp_path)
    log.append([make_event(0)])
    log.close()
    with segments(tmp_path)[0].open("ab") as file:
        file.writelines(b"x" * 1_000_000 for _ in range(60))
        file.write(b"\n" * 20_000)
    tracemalloc.start()
    report = verify(tmp_path, hsm)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.problem_count > 20_000
    assert len(report.problems) == 1000
    assert peak < 4_000_000


def test_a_member_whose_key_is_no_point_is_a_programmers_error(tmp_path):
    with pytest.raises(ValueError, match="not a point"):
        verify_directory(tmp_path, {"hsm-1": b"\x04" + bytes(96)}, {DOMAIN_ID})


def test_an_empty_directory_has_no_problems_and_nothing_else(tmp_path, hsm):
    report = verify(tmp_path, hsm)
    assert (report.problems, report.records, report.heads, report.first_time) == ([], 0, 0, "")
