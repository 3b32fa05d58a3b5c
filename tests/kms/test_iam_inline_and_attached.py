"""Policies of users, groups and roles, inline and attached, boundaries and tags: one mechanism, tried on each kind.

Wordings that are AWS's: "The role policy with name …" moto's tests from AWS; sizes "Maximum policy size of 2048 bytes
exceeded for user …" and quotas "Cannot exceed quota for PoliciesPerRole: 10" users' reports; "does not exist or is not
attachable" and "Scope ARN: …" Terraform's and ROSA's users; tags github-aws-runners/terraform-aws-github-runner#1346, the
number of tags versitygw's tests. The word for AWS's own tag keys is that of AWS's other services.
"""

from __future__ import annotations

from typing import Any

import pytest

from testkit.identities import (
    ADMINISTRATOR,
    arn_of,
    document,
    fresh,
    pages,
    refused,
    statement,
    text_of,
    trust,
    without_metadata,
)

TEXT = document(statement("kms:Decrypt"))


class Kind:
    """One kind of identity, through a client's methods."""

    def __init__(self, iam: Any, noun: str, inline_max: int) -> None:
        self._iam, self.noun, self.inline_max = iam, noun, inline_max
        self.name = fresh(noun)
        more = {"AssumeRolePolicyDocument": trust()} if noun == "role" else {}
        getattr(iam, f"create_{noun}")(**self.who, **more)

    @property
    def who(self) -> dict[str, str]:
        return {f"{self.noun.capitalize()}Name": self.name}

    def __call__(self, operation: str, **more: Any) -> Any:
        """`put_{}_policy` and the like."""
        return getattr(self._iam, operation.format(self.noun))(**self.who, **more)


@pytest.fixture(params=[("user", 2048), ("group", 5120), ("role", 10240)], ids=lambda param: param[0])
def kind(iam: Any, request: pytest.FixtureRequest) -> Kind:
    return Kind(iam, *request.param)


@pytest.fixture(params=[("user", 2048), ("role", 10240)], ids=lambda param: param[0])
def bounded(iam: Any, request: pytest.FixtureRequest) -> Kind:
    """A kind that can have a boundary and tags."""
    return Kind(iam, *request.param)


def make_policy(iam: Any, **more: Any) -> str:
    return str(iam.create_policy(PolicyName=fresh("policy"), PolicyDocument=TEXT, **more)["Policy"]["Arn"])


# ── inline ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        document(statement("kms:*"), indent=9) + "\n",
        document(statement("kms:*"), separators=(",", ":")),
        "\t" + document(statement("kms:*", Condition={"StringEquals": {"kms:EncryptionContext:a": "\u00e4&<%+ =/"}})),
        document({"Effect": "Deny", "Action": "*", "Resource": "*"}, ensure_ascii=False) + " " * 3000,
    ],
)
def test_an_inline_policy_comes_back_to_the_byte(kind: Kind, text: str) -> None:
    kind("put_{}_policy", PolicyName="p=1,a@b", PolicyDocument=text)
    answer = without_metadata(kind("get_{}_policy", PolicyName="p=1,a@b"))
    assert text_of(answer.pop("PolicyDocument")) == text
    assert answer == {**kind.who, "PolicyName": "p=1,a@b"}


def test_inline_policies_are_listed_replaced_and_deleted_by_name(kind: Kind) -> None:
    for name in ("b", "a", "c"):
        kind("put_{}_policy", PolicyName=name, PolicyDocument=TEXT)
    other = document(statement("kms:Encrypt"))
    kind("put_{}_policy", PolicyName="b", PolicyDocument=other)
    assert text_of(kind("get_{}_policy", PolicyName="b")["PolicyDocument"]) == other
    found = pages(lambda **more: kind("list_{}_policies", **more), "PolicyNames", 2)
    assert found == [["a", "b"], ["c"]]
    kind("delete_{}_policy", PolicyName="b")
    assert kind("list_{}_policies")["PolicyNames"] == ["a", "c"]
    for operation in ("get_{}_policy", "delete_{}_policy"):
        for missing in ("b", "A"):
            with refused("NoSuchEntity", f"The {kind.noun} policy with name {missing} cannot be found."):
                kind(operation, PolicyName=missing)


def test_all_inline_policies_together_have_a_size_without_their_white_space(kind: Kind) -> None:
    def padded(chars: int) -> str:
        text = document(statement("kms:*", Sid=""), indent=4)
        return text.replace('"Sid": ""', '"Sid": "' + "a" * (chars - len("".join(text.split()))) + '"')

    half = kind.inline_max // 2
    kind("put_{}_policy", PolicyName="first", PolicyDocument=padded(half))
    with refused(
        "LimitExceeded", f"Maximum policy size of {kind.inline_max} bytes exceeded for {kind.noun} {kind.name}"
    ):
        kind("put_{}_policy", PolicyName="second", PolicyDocument=padded(kind.inline_max - half + 1))
    assert kind("list_{}_policies")["PolicyNames"] == ["first"]
    kind("put_{}_policy", PolicyName="second", PolicyDocument=padded(kind.inline_max - half))
    kind("put_{}_policy", PolicyName="first", PolicyDocument=padded(half))


# ── attached ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_attached_is_listed_until_it_is_detached(iam: Any, kind: Kind) -> None:
    first, second = sorted(
        [make_policy(iam, Path="/x/"), make_policy(iam, Path="/x/y/")], key=lambda a: a.split("/")[-1]
    )
    for arn in (second, first, ADMINISTRATOR, first):
        kind("attach_{}_policy", PolicyArn=arn)

    def listed(**more: Any) -> list[str]:
        policies = kind("list_attached_{}_policies", **more)["AttachedPolicies"]
        assert all(policy["PolicyName"] == policy["PolicyArn"].rsplit("/", 1)[1] for policy in policies)
        return [policy["PolicyArn"] for policy in policies]

    assert listed() == [ADMINISTRATOR, first, second]
    assert listed(PathPrefix="/x/") == [first, second]
    assert listed(PathPrefix="/x/y/") == [arn for arn in (first, second) if "/y/" in arn]
    found = pages(lambda **more: kind("list_attached_{}_policies", **more), "AttachedPolicies", 1)
    assert [policy["PolicyArn"] for (policy,) in found] == [ADMINISTRATOR, first, second]
    kind("detach_{}_policy", PolicyArn=first)
    assert listed() == [ADMINISTRATOR, second]
    with refused("NoSuchEntity", f"Policy {first} was not found."):
        kind("detach_{}_policy", PolicyArn=first)


def test_markers_of_attached_policies_fit_whatever_their_paths(iam: Any, kind: Kind) -> None:
    """A marker of more than 320 characters could not be sent back."""
    arns = {make_policy(iam, Path=f"/{'p' * 500}/{place}/") for place in range(3)}
    for arn in arns:
        kind("attach_{}_policy", PolicyArn=arn)
    found = pages(lambda **more: kind("list_attached_{}_policies", **more), "AttachedPolicies", 1)
    assert {policy["PolicyArn"] for (policy,) in found} == arns


def test_only_what_exists_in_the_account_or_is_awss_can_be_attached(kind: Kind) -> None:
    for arn in (
        arn_of("policy", fresh("none")),
        "arn:aws:iam::aws:policy/NoSuchAccess",
        "arn:aws:iam::aws:policy/service-role/AdministratorAccess",
        arn_of("policy", "any", account="111122223333"),
    ):
        with refused("NoSuchEntity", f"Policy {arn} does not exist or is not attachable."):
            kind("attach_{}_policy", PolicyArn=arn)
    assert kind("list_attached_{}_policies")["AttachedPolicies"] == []


def test_ten_policies_can_be_attached(iam: Any, kind: Kind) -> None:
    arns = [make_policy(iam) for _ in range(11)]
    for arn in arns[:10]:
        kind("attach_{}_policy", PolicyArn=arn)
    with refused("LimitExceeded", f"Cannot exceed quota for PoliciesPer{kind.noun.capitalize()}: 10"):
        kind("attach_{}_policy", PolicyArn=arns[10])
    kind("attach_{}_policy", PolicyArn=arns[0])
    kind("detach_{}_policy", PolicyArn=arns[0])
    kind("attach_{}_policy", PolicyArn=arns[10])


# ── boundaries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def boundary_of(kind: Kind) -> str | None:
    shown = kind("get_{}")[kind.noun.capitalize()].get("PermissionsBoundary")
    assert shown is None or shown["PermissionsBoundaryType"] == "PermissionsBoundaryPolicy"
    return None if shown is None else str(shown["PermissionsBoundaryArn"])


def test_a_boundary_is_put_shown_replaced_and_taken_away(iam: Any, bounded: Kind) -> None:
    assert boundary_of(bounded) is None
    own = make_policy(iam, Path="/b/")
    for arn in (own, own, ADMINISTRATOR):
        bounded("put_{}_permissions_boundary", PermissionsBoundary=arn)
        assert boundary_of(bounded) == arn
    for _ in range(2):
        bounded("delete_{}_permissions_boundary")
        assert boundary_of(bounded) is None


def test_a_boundary_must_exist(bounded: Kind) -> None:
    for arn in (arn_of("policy", fresh("none")), "arn:aws:iam::aws:policy/NoSuchAccess"):
        with refused("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable."):
            bounded("put_{}_permissions_boundary", PermissionsBoundary=arn)
    assert boundary_of(bounded) is None


# ── tags ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class TaggedPolicy:
    """A managed policy, by the methods of which the other kinds have the like."""

    noun = "policy"

    def __init__(self, iam: Any) -> None:
        self._iam, self.arn = iam, make_policy(iam)

    def __call__(self, operation: str, **more: Any) -> Any:
        return getattr(self._iam, operation.format("policy"))(PolicyArn=self.arn, **more)


@pytest.fixture(params=["user", "role", "policy"])
def tagged(iam: Any, request: pytest.FixtureRequest) -> Any:
    return TaggedPolicy(iam) if request.param == "policy" else Kind(iam, request.param, 0)


def tags(**values: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def test_tags_are_put_changed_and_taken_away_whatever_the_case_of_their_keys(tagged: Any) -> None:
    tagged("tag_{}", Tags=tags(Team="a", cost=""))
    assert tagged("list_{}_tags")["Tags"] == tags(Team="a", cost="")
    tagged("tag_{}", Tags=tags(team="b", Zone="z"))
    assert tagged("list_{}_tags")["Tags"] == tags(Zone="z", cost="", team="b")
    assert sorted(tag["Key"] for tag in tagged("get_{}")[tagged.noun.capitalize()]["Tags"]) == ["Zone", "cost", "team"]
    tagged("untag_{}", TagKeys=["TEAM", "nothing"])
    tagged("untag_{}", TagKeys=["nothing"])
    assert tagged("list_{}_tags")["Tags"] == tags(Zone="z", cost="")


def test_tags_come_in_pages_however_long_their_keys(tagged: Any) -> None:
    put = [{"Key": "\u00e9" * 126 + f"{place:02}", "Value": "\u00fc" * 256} for place in range(5)]
    tagged("tag_{}", Tags=put)
    found = pages(lambda **more: tagged("list_{}_tags", **more), "Tags", 2)
    assert [tag for page in found for tag in page] == put
    assert max(map(len, found)) == 2


def test_a_key_cannot_occur_twice_nor_be_awss(tagged: Any) -> None:
    for put in (tags(a="1") * 2, tags(a="1", A="2"), [{"Key": "\u00e4", "Value": ""}, {"Key": "\u00c4", "Value": ""}]):
        with refused("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive."):
            tagged("tag_{}", Tags=put)
    for key in ("aws:x", "AWS:x"):
        with refused("InvalidInput", "aws: prefixed tag key names are not allowed for external use."):
            tagged("tag_{}", Tags=[{"Key": key, "Value": ""}])
    assert tagged("list_{}_tags")["Tags"] == []


def test_fifty_tags_and_no_more(tagged: Any) -> None:
    tagged("tag_{}", Tags=[{"Key": f"k{place:02}", "Value": "v"} for place in range(50)])
    with refused("LimitExceeded", "The number of tags has reached the maximum limit."):
        tagged("tag_{}", Tags=tags(one="more"))
    with refused("ValidationError"):
        tagged("tag_{}", Tags=[{"Key": f"k{place:02}", "Value": "v"} for place in range(51)])
    tagged("tag_{}", Tags=tags(K00="changed"))
    assert len(tagged("list_{}_tags")["Tags"]) == 50


@pytest.mark.parametrize(
    "tag", [{"Key": "", "Value": ""}, {"Key": "k" * 129, "Value": ""}, {"Key": "k", "Value": "v" * 257}]
)
def test_a_tag_that_is_too_long_or_has_no_key_is_refused(tagged: Any, tag: dict[str, str]) -> None:
    with refused("ValidationError"):
        tagged("tag_{}", Tags=[tag])


def test_what_is_made_with_tags_obeys_the_same_rules(iam: Any) -> None:
    twice = tags(a="1", A="2")
    for call in (
        lambda: iam.create_user(UserName=fresh("user"), Tags=twice),
        lambda: iam.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=trust(), Tags=twice),
        lambda: make_policy(iam, Tags=twice),
    ):
        with refused("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive."):
            call()
