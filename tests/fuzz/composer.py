"""Requests for an account: what is asked, and what must come of it.

A member is drawn together with the reasons for which it must be refused: a key of another region brings NotFoundException,
a key that waits for its deletion KMSInvalidStateException. A request with reasons must be refused for one of them; one
without must succeed. So the order in which a service checks is left to it, and nothing else is.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from fuzz import policies
from fuzz.records import CRYPTOGRAPHIC, Account, Blob, Key, Policy
from fuzz.values import ODD_TEXTS, Values, b64
from strongroom.kms.wire.model import Member, structure_rule
from strongroom.kms.wire.shapes import OPERATIONS
from testkit.installation import ACCOUNT, REGION
from testkit.raw import alias_arn, key_arn

# The members that say which key, alias or ciphertext a request is about.
_REFERENCES: Final = frozenset(
    {"AliasName", "CiphertextBlob", "DestinationKeyId", "EncryptionContext", "KeyId", "SourceEncryptionContext"}
    | {"SourceKeyId", "TargetKeyId"}
)
_TAKE_ALIASES: Final = CRYPTOGRAPHIC | {"DescribeKey"}
# What is not there yet, or is there for somebody else: drawn seldom, because it hides everything behind it.
_SELDOM: Final = frozenset(
    {"CustomKeyStoreId", "CustomerMasterKeySpec", "DryRun", "DryRunModifiers", "GrantId", "GrantTokens", "KeyUsage"}
    | {"GranteeServicePrincipal", "KeySpec", "MultiRegion", "Origin", "Recipient", "RetiringServicePrincipal"}
    | {"BypassPolicyLockoutSafetyCheck", "EncryptionAlgorithm", "XksKeyId", "PolicyName"}
    | {"SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm"}
)
# The model calls these optional, and the service does not.
_ALL_BUT_REQUIRED: Final = frozenset({"CiphertextBlob", "RetiringPrincipal"})
_ALL_TYPED: Final = frozenset({"SerializationException", "ValidationException"})


@dataclass
class Request:
    """`reasons`: the codes it may be refused with, all of them if `is_exact`; `firm`: those that hold if it is not."""

    operation: str
    members: dict[str, Any] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)
    firm: set[str] = field(default_factory=set)
    is_exact: bool = True
    key: Key | None = None
    other: Key | None = None
    blob: Blob | None = None
    policy: Policy | None = None
    grant_id: str = ""
    was_refused: bool = False

    def refuse(self, *codes: str) -> None:
        self.reasons.update(codes)


class Composer:
    """Makes requests; the same random numbers and the same account give the same ones."""

    def __init__(self, account: Account, random: Random) -> None:
        self._account = account
        self._random = random
        self._values = Values(random)

    # ── the kinds of requests ───────────────────────────────────────────────────────────────────────────────────

    def valid(self, operation: str, key: Key | None = None) -> Request:
        """One that the model allows; `key` says which key it is about."""
        request = Request(operation)
        for member in structure_rule(OPERATIONS[operation].request).members:
            if member.required or self._random.random() < self._share(operation, member.name):
                self._draw(request, member, key)
        _RULES.get(operation, Composer._no_rules)(self, request)
        request.firm |= request.reasons
        if self._random.random() < 0.1:
            # Names are case-sensitive, and what is unknown says nothing.
            unknown = self._random.choice(("keyid", "KEYID", "dryRun", "policy", "X", "\U0001f511", "__type"))
            request.members[unknown] = self._random.choice((None, "x", [], {"KeyId": None}, 10**18))
        return request

    def broken(self, operation: str) -> Request:
        """One with a single fault that the model forbids."""
        request = self.valid(operation)
        rule = structure_rule(OPERATIONS[operation].request)
        request.members = self._values.break_one(rule, request.members)
        request.reasons, request.is_exact = set(_ALL_TYPED), True
        return request

    def spoilt(self, operation: str) -> Request:
        """One of which nothing is known but what the key's state and policy forbid."""
        request = self.valid(operation)
        before = dict(request.members)
        request.members = self._values.spoil(before, structure_rule(OPERATIONS[operation].request).members)
        request.is_exact = False
        changed = {name for name in {*before, *request.members} if before.get(name) != request.members.get(name)}
        if changed & _REFERENCES - self._harmless(request):
            request.firm.clear()
            request.key = request.other = request.blob = None
        else:
            # An alias may leave a key in any state.
            keys = [request.key, request.other if operation == "ReEncrypt" else None]
            request.firm = {code for key in keys if key for code in key.refusals(operation)}
        if "Policy" in changed:
            request.policy = None
        return request

    @staticmethod
    def _harmless(request: Request) -> set[str]:
        """Members whose change leaves the request about what it was about."""
        if request.operation not in {"Decrypt", "ReEncrypt"}:
            return {"EncryptionContext"}
        members, context = request.members, request.blob.context if request.blob else {}
        absent = {name for name in ("KeyId", "SourceKeyId") if members.get(name) is None}
        contexts = ("EncryptionContext", "SourceEncryptionContext")
        return absent | {name for name in contexts if (members.get(name) or {}) == context}

    # ── members ─────────────────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def _share(operation: str, name: str) -> float:
        """How often an optional member is there."""
        if name in _ALL_BUT_REQUIRED or (operation, name) == ("GenerateRandom", "NumberOfBytes"):
            return 0.97
        if name == "KeySpec" and operation != "CreateKey":
            return 0.5
        return 0.04 if name in _SELDOM else 0.4

    def _draw(self, request: Request, member: Member, key: Key | None) -> None:
        name, random = member.name, self._random
        match name:
            case "KeyId" | "SourceKeyId" | "TargetKeyId" | "DestinationKeyId":
                self._draw_key(request, name, key)
            case "CiphertextBlob":
                self._draw_blob(request)
            case "AliasName":
                self._draw_alias(request)
            case "Policy":
                self._draw_policy(request)
            case "Tags":
                self._draw_tags(request)
            case "TagKeys":
                known = [*(request.key.tags if request.key else ()), "no such tag"]
                request.members[name] = [random.choice((*known, self._values.odd_text())) for _ in range(3)]
            case "Description":
                request.members[name] = random.choice(("", "a key", "a" * 8192, *ODD_TEXTS))
            case "EncryptionContext" if request.blob is None:
                request.members[name] = self._context(request)
            case "DestinationEncryptionContext":
                request.members[name] = self._context(request)
            case "EncryptionContext" | "SourceEncryptionContext":
                pass  # Comes with the blob.
            case "Marker":
                self._draw_marker(request)
            case "PendingWindowInDays":
                days = random.choice((7, 30, random.randint(7, 30), 1, 6, 31, 365))
                request.members[name] = days
                if not 7 <= days <= 30:
                    request.refuse("ValidationException")
            case "RetiringPrincipal" if request.operation == "ListRetirableGrants":
                self._draw_retiring_principal(request)
            case "GranteePrincipal" | "RetiringPrincipal":
                request.members[name] = random.choice(_PRINCIPALS)
            case "Operations":
                request.members[name] = random.choices(_GIVEN, k=random.randint(1, 5))
            case "Constraints":
                request.members[name] = self._constraints(request)
            case "Name":
                request.members[name] = random.choice(("once", "twice", f"n-{uuid.uuid4()}"))
            case "GrantId":
                self._draw_grant_id(request)
            case "GrantToken" | "GrantTokens":
                self._draw_tokens(request, name)
            case "PolicyName":
                request.members[name] = random.choice(("default", "default", "Default", "AWS_RAM", "x"))
            case _:
                request.members[name] = self._values.valid(member.rule)

    def _draw_key(self, request: Request, name: str, key: Key | None) -> None:
        """A reference of any form that names the key, or one that names nothing."""
        random, operation = self._random, request.operation
        key = key or random.choice(self._account.keys)
        takes_aliases = operation in _TAKE_ALIASES
        names = [alias for alias, target in self._account.aliases.items() if target is key]
        forms = [key.key_id] * 6 + [key_arn(key.key_id)] * 3
        if names and takes_aliases:
            alias = random.choice(names)
            forms += [alias, alias_arn(alias)] * 3
        draw = random.random()
        if draw > 0.12:
            request.members[name] = random.choice(forms)
            self._note_key(request, name, key)
            return
        refs = _STRANGE_REFERENCES if draw > 0.02 else _ALIAS_REFERENCES
        make, codes = random.choice(refs)
        request.members[name] = make(key.key_id, names[0] if names else f"alias/{uuid.UUID(int=1)}")
        if refs is _ALIAS_REFERENCES and not takes_aliases:
            codes = ("ValidationException",) if name == "TargetKeyId" else ("InvalidArnException", "NotFoundException")
        request.refuse(*codes)

    @staticmethod
    def _note_key(request: Request, name: str, key: Key) -> None:
        if name == "DestinationKeyId":
            request.other = key
        elif request.blob is None:
            request.key = key
        elif key is not request.blob.key:
            action = "kms:ReEncryptFrom" if request.operation == "ReEncrypt" else "kms:Decrypt"
            request.refuse("IncorrectKeyException", *key.refusals("", action))

    def _draw_blob(self, request: Request) -> None:
        """A ciphertext with its context, or one of the two bent."""
        random = self._random
        context_name = "SourceEncryptionContext" if request.operation == "ReEncrypt" else "EncryptionContext"
        if not self._account.blobs or random.random() < 0.05:
            junk = random.choice((b"x", bytes(100), b"SRCB\x01" + bytes(100), random.randbytes(200)))
            request.members["CiphertextBlob"] = b64(junk)
            request.refuse("InvalidCiphertextException", "AccessDeniedException")
            return
        blob = random.choice(self._account.blobs)
        request.blob, request.key = blob, blob.key
        context, text = dict(blob.context), blob.blob
        draw = random.random()
        if draw < 0.05:
            context["wrong"] = "x"
            request.refuse("InvalidCiphertextException")
        elif draw < 0.1:
            text = policies.bend_base64(random, text)
            request.refuse("InvalidCiphertextException", "AccessDeniedException")
        request.members["CiphertextBlob"] = text
        if context or random.random() < 0.3:
            request.members[context_name] = context

    def _draw_alias(self, request: Request) -> None:
        random, aliases, operation = self._random, self._account.aliases, request.operation
        # Another one at every replay: names outlive the journey that made them.
        fresh = f"alias/fuzz/{uuid.uuid4()}"
        # The likely case is the one that can succeed.
        is_known = bool(aliases) and random.random() < (0.1 if operation == "CreateAlias" else 0.9)
        name = random.choice(list(aliases)) if is_known else fresh
        draw = random.random()
        if draw < 0.06:
            name, code = random.choice(_BAD_ALIASES)
            request.refuse(code)
        elif operation == "CreateAlias" and name in aliases:
            request.refuse("AlreadyExistsException")
        elif operation != "CreateAlias" and name not in aliases:
            request.refuse("NotFoundException")
        elif name in aliases:
            key = aliases[name]
            request.other = key if operation == "UpdateAlias" else None
            request.key = key
            # Whoever moves or deletes an alias must be allowed to on the key behind it, in whatever state that is.
            request.refuse(*key.refusals("", f"kms:{operation}"))
        request.members["AliasName"] = name

    def _draw_policy(self, request: Request) -> None:
        drawn = policies.draw(self._random)
        request.members["Policy"], request.policy = drawn.text, Policy(drawn.text, drawn.withheld)
        request.refuse(*drawn.refusals)
        if drawn.is_strange:
            request.is_exact, request.policy = False, None

    def _draw_tags(self, request: Request) -> None:
        random = self._random
        names = random.sample(_TAG_NAMES, random.randint(0, 4))
        tags = [{"TagKey": name, "TagValue": random.choice(("", "v", "v" * 256, *ODD_TEXTS))} for name in names]
        draw = random.random()
        if draw < 0.03 and tags:
            tags.append(dict(tags[0], TagValue="again"))
            request.refuse("TagException")
        elif draw < 0.06:
            tags.append({"TagKey": random.choice(("aws:x", "AWS:x", "Aws:")), "TagValue": ""})
            request.refuse("TagException")
        elif draw < 0.12:
            # The limit is 50 in all, with those that the key has.
            tags = [{"TagKey": f"many-{at}", "TagValue": str(at)} for at in range(random.choice((45, 50, 51)))]
        request.members["Tags"] = tags

    def _constraints(self, request: Request) -> dict[str, Any]:
        random = self._random
        context = {self._values.odd_text()[:300]: self._values.odd_text()[:300] for _ in range(random.randint(0, 3))}
        if random.random() < 0.05:
            request.refuse("ValidationException")
            context = random.choice(({"a": "\u20ac" * 385}, {"a" * 385: ""}, {str(at): "" for at in range(9)}))
        constraints: dict[str, Any] = {random.choice(("EncryptionContextEquals", "EncryptionContextSubset")): context}
        if random.random() < 0.05:
            request.refuse("ValidationException")
            return {"EncryptionContextEquals": {"a": "b"}, "EncryptionContextSubset": {"a": "b"}}
        return constraints if random.random() < 0.9 else {**constraints, "SourceArn": _SOURCE}

    def _draw_grant_id(self, request: Request) -> None:
        """A grant of the key, or none of it."""
        random, key = self._random, request.key
        known = list(key.grants) if key is not None else []
        if known and random.random() < 0.9:
            request.members["GrantId"] = request.grant_id = random.choice(known)
            return
        request.members["GrantId"] = random.choice(("0" * 64, "0", "\u0660" * 64, "A" * 64))
        request.refuse(
            "InvalidGrantIdException", *(() if request.operation == "ListGrants" else ("NotFoundException",))
        )

    def _draw_tokens(self, request: Request, name: str) -> None:
        """Those of grants that are there, of whatever key; or among them one that is none."""
        random = self._random
        grants = [(key, grant_id, grant) for key in self._account.keys for grant_id, grant in key.grants.items()]
        if name == "GrantToken":
            if not grants or random.random() < 0.1:
                request.members[name] = random.choice(("x", b64(b"SRGT\x01" + bytes(118)), "\0"))
                request.refuse("InvalidGrantTokenException")
                return
            request.key, request.grant_id, grant = random.choice(grants)
            request.members[name] = grant.token
            return
        tokens = [grant.token for _, _, grant in random.choices(grants, k=random.randint(0, 10))] if grants else []
        if random.random() < 0.3:
            tokens = [*tokens[:9], random.choice(("x", *(token[:-1] for token in tokens[:1])))]
            if request.operation != "DescribeKey":
                request.refuse("InvalidGrantTokenException")
        request.members[name] = tokens

    def _context(self, request: Request) -> dict[str, str]:
        random = self._random
        if random.random() < 0.04:
            # The limit is 8,192 bytes in canonical form.
            request.refuse("ValidationException")
            return {"a": random.choice(("a", "\u20ac", "\U0001f511")) * 8_192}
        return {self._values.odd_text(): self._values.odd_text() for _ in range(random.randint(0, 4))}

    def _draw_marker(self, request: Request) -> None:
        """Junk, or the marker of another operation: a text that this one may never have given out."""
        random, operation = self._random, request.operation
        if random.random() < 0.3:
            request.members["Marker"] = random.choice(("x", "AA=", "=", " ", "\u00ff", "gIA=", "a" * 1024))
            code = "ValidationException" if operation == "ListKeyPolicies" else "InvalidMarkerException"
            request.refuse(code)
        else:
            last = random.choice((str(uuid.UUID(int=5)), "alias/fuzz", "default", "0" * 64, "\0", "zzzz", "\U0001f511"))
            request.members["Marker"] = b64(last.encode()).replace("+", "-").replace("/", "_")
            if operation == "ListKeyRotations":
                request.refuse("InvalidMarkerException")

    def _draw_retiring_principal(self, request: Request) -> None:
        mine = (f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/x")
        others = ("arn:aws:iam::111122223333:root", "x", "arn:aws:iam::x:root", key_arn(str(uuid.UUID(int=7))))
        principal = self._random.choice(mine * 3 + others)
        request.members["RetiringPrincipal"] = principal
        if principal in others:
            request.refuse("InvalidArnException")

    # ── what operations demand beyond the model ─────────────────────────────────────────────────────────────────

    def _no_rules(self, request: Request) -> None:
        self._on_key(request, f"kms:{request.operation}")
        members = request.members
        if request.operation == "ListRetirableGrants" and not members.keys() & {"RetiringPrincipal"}:
            request.refuse("ValidationException")
        if members.keys() & {"GranteeServicePrincipal", "RetiringServicePrincipal"}:
            request.refuse("ValidationException")
        if request.operation == "GetKeyPolicy" and members.get("PolicyName", "default") != "default":
            request.refuse("NotFoundException")

    @staticmethod
    def _on_key(request: Request, *actions: str) -> None:
        if request.key is not None and request.operation != "ListAliases":
            request.refuse(*request.key.refusals(request.operation, *actions))

    def _cryptography(self, request: Request) -> None:
        members, operation = request.members, request.operation
        if operation.startswith("GenerateDataKey"):
            self._one_length(request)
        if operation == "ReEncrypt":
            self._on_key(request, "kms:ReEncryptFrom")
            if request.other is not None:
                request.refuse(*request.other.refusals(operation, "kms:ReEncryptTo"))
        else:
            self._on_key(request, f"kms:{operation}")
        if operation in {"Decrypt", "ReEncrypt"}:
            self._blob_or_dry_run(request)
        if "Recipient" in members:
            request.refuse("UnsupportedOperationException")
        algorithms = ("EncryptionAlgorithm", "SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm")
        if any(members.get(name, "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT" for name in algorithms):
            request.refuse("InvalidKeyUsageException")
        if members.get("DryRun"):
            request.refuse("DryRunOperationException")

    def _one_length(self, request: Request) -> None:
        members = request.members
        if self._random.random() < 0.95:
            members.pop("NumberOfBytes", None)
            members.setdefault("KeySpec", "AES_256")
            if self._random.random() < 0.5:
                del members["KeySpec"]
                members["NumberOfBytes"] = self._random.randint(1, 1024)
        if ("KeySpec" in members) == ("NumberOfBytes" in members):
            request.refuse("ValidationException")

    def _blob_or_dry_run(self, request: Request) -> None:
        members = request.members
        if "CiphertextBlob" not in members or members.get("DryRunModifiers"):
            # Without a blob there is nothing but a dry run by a key's name, and drawing that exactly is not worth it.
            request.refuse("ValidationException", "DryRunOperationException")
            request.refuse("AccessDeniedException", "DisabledException", "KMSInvalidStateException")

    def _random_bytes(self, request: Request) -> None:
        if "NumberOfBytes" not in request.members:
            request.refuse("ValidationException")
        if "CustomKeyStoreId" in request.members:
            request.refuse("CustomKeyStoreNotFoundException")
        if "Recipient" in request.members:
            request.refuse("UnsupportedOperationException")

    def _create_grant(self, request: Request) -> None:
        members = request.members
        self._on_key(request, "kms:CreateGrant")
        if not members.keys() & {"GranteePrincipal", "GranteeServicePrincipal"}:
            members["GranteePrincipal"] = _PRINCIPALS[0]
        for role in ("Grantee", "Retiring"):
            if {f"{role}Principal", f"{role}ServicePrincipal"} <= members.keys():
                request.refuse("ValidationException")
        if "GranteeServicePrincipal" in members:
            has_source = bool((members.get("Constraints") or {}).get("SourceArn"))
            if not has_source or not members.keys() & {"RetiringPrincipal", "RetiringServicePrincipal"}:
                request.refuse("ValidationException")
        if set(members["Operations"]) == {"CreateGrant"} or not set(members["Operations"]) <= _FITTING:
            request.refuse("ValidationException")
        if members.keys() & {"GranteePrincipal", "RetiringPrincipal"} and any(
            members.get(name) in _NOBODY for name in ("GranteePrincipal", "RetiringPrincipal")
        ):
            request.refuse("InvalidArnException")
        if members.get("DryRun"):
            request.refuse("DryRunOperationException")

    def _revoke_grant(self, request: Request) -> None:
        self._on_key(request, "kms:RevokeGrant")
        if request.members.get("DryRun"):
            request.refuse("DryRunOperationException")

    def _retire_grant(self, request: Request) -> None:
        """By a token, or by key and id; no policy of the key is asked, and the root made every grant."""
        random, members = self._random, request.members
        for name in ("GrantToken", "KeyId", "GrantId"):
            members.pop(name, None)
        request.reasons.clear()
        request.key, request.grant_id = None, ""
        if random.random() < 0.5:
            self._draw_tokens(request, "GrantToken")
        else:
            self._draw_key(request, "KeyId", None)
            self._draw_grant_id(request)
        if random.random() < 0.05:
            members["GrantId" if "GrantToken" in members else "GrantToken"] = "x"
            request.refuse("ValidationException")
        if members.get("DryRun"):
            request.refuse("DryRunOperationException")

    def _create_key(self, request: Request) -> None:
        """Whatever is not a symmetric key of our own is refused, for one reason or another."""
        members = request.members
        request.policy = request.policy or (None if "Policy" in members else Policy(""))
        ours = {"KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "Origin": "AWS_KMS"}
        ours["KeyUsage"] = "ENCRYPT_DECRYPT"
        foreign = {"CustomKeyStoreId", "XksKeyId"} & members.keys() or members.get("MultiRegion")
        if foreign or any(members.get(name, value) != value for name, value in ours.items()):
            request.refuse("CustomKeyStoreNotFoundException", "UnsupportedOperationException", "ValidationException")
        if {"KeySpec", "CustomerMasterKeySpec"} <= members.keys():
            request.refuse("ValidationException")
        if len(members.get("Tags", ())) > 50:
            request.refuse("TagException")
        self._lockout(request)

    def _put_key_policy(self, request: Request) -> None:
        self._on_key(request, "kms:PutKeyPolicy")
        if request.members.get("PolicyName", "default") != "default":
            request.refuse("UnsupportedOperationException", "ValidationException")
        self._lockout(request)

    @staticmethod
    def _lockout(request: Request) -> None:
        is_bypassed = request.members.get("BypassPolicyLockoutSafetyCheck")
        if request.policy is None and is_bypassed:
            # A policy of which nothing is known might be the key's last.
            del request.members["BypassPolicyLockoutSafetyCheck"]
        if request.policy is not None and "kms:PutKeyPolicy" in request.policy.withheld and not is_bypassed:
            request.refuse("MalformedPolicyDocumentException")

    def _tag(self, request: Request) -> None:
        self._on_key(request, "kms:TagResource")
        if request.key is not None:
            names = {tag["TagKey"] for tag in request.members["Tags"]} | request.key.tags.keys()
            if len(names) > 50:
                request.refuse("TagException")

    def _update_alias(self, request: Request) -> None:
        if request.key is not None:
            request.refuse(*request.key.refusals("UpdateAlias", "kms:UpdateAlias"))

    def _delete_alias(self, request: Request) -> None:
        """The key's state does not matter, and its policy was asked with the name."""


ROOT: Final = f"arn:aws:iam::{ACCOUNT}:root"
_NOBODY: Final = ("x", f"arn:aws:iam::{ACCOUNT}:user/there-is-nobody", "arn:aws:iam::111122223333:root")
_PRINCIPALS: Final = (ROOT, f"arn:aws:sts::{ACCOUNT}:federated-user/x") * 5 + _NOBODY
_SOURCE: Final = f"arn:aws:s3:us-east-1:{ACCOUNT}:bucket"
# What a grant on a symmetric key can give, and two that it cannot.
_FITTING: Final = frozenset(
    {"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "ReEncryptFrom", "ReEncryptTo", "RetireGrant"}
    | {"GenerateDataKey", "GenerateDataKeyWithoutPlaintext"}
    | {"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}
)
_GIVEN: Final = (*sorted(_FITTING) * 6, "Sign", "GenerateMac")
# Given a key id and an alias: a reference, and its refusal.
_STRANGE_REFERENCES: Final[tuple[tuple[Callable[[str, str], str], tuple[str, ...]], ...]] = (
    (lambda _key, _alias: str(uuid.UUID(int=9)), ("NotFoundException",)),
    (lambda _key, _alias: f"mrk-{uuid.UUID(int=9).hex}", ("NotFoundException",)),
    (lambda _key, _alias: key_arn(str(uuid.UUID(int=9))), ("NotFoundException",)),
    (lambda key, _alias: key_arn(key, region="eu-west-1"), ("NotFoundException",)),
    (lambda key, _alias: key_arn(key, partition="aws-cn"), ("NotFoundException",)),
    (lambda key, _alias: key_arn(key, account="111122223333"), ("AccessDeniedException",)),
    (lambda key, _alias: key.upper(), ("NotFoundException",)),
    (lambda key, _alias: f" {key}", ("NotFoundException",)),
    (lambda key, _alias: f"{key}\0", ("NotFoundException",)),
    (lambda key, _alias: key.replace("-", ""), ("NotFoundException",)),
    (lambda key, _alias: key_arn(key).replace("arn:", "ARN:"), ("NotFoundException",)),
    (lambda key, _alias: key_arn(key).replace(":kms:", ":s3:"), ("NotFoundException",)),
    (lambda key, _alias: key_arn(key).replace(REGION, REGION.upper()), ("NotFoundException",)),
    (lambda key, _alias: f"arn:aws:kms:::key/{key}", ("NotFoundException",)),
    (lambda key, _alias: "".join(chr(ord(c) + 0xFEE0) for c in key), ("NotFoundException",)),
    (lambda _key, _alias: "%2e%2e/", ("NotFoundException",)),
    (lambda _key, _alias: "a" * 2048, ("NotFoundException",)),
    (lambda _key, _alias: "arn:" * 512, ("NotFoundException",)),
    (lambda _key, _alias: "\U0001f511" * 500, ("NotFoundException",)),
)
_ALIAS_REFERENCES: Final[tuple[tuple[Callable[[str, str], str], tuple[str, ...]], ...]] = (
    (lambda _key, _alias: "alias/fuzz/there-is-none", ("NotFoundException",)),
    (lambda _key, _alias: alias_arn("alias/fuzz/there-is-none"), ("NotFoundException",)),
    (lambda _key, alias: alias_arn(alias, region="eu-west-1"), ("NotFoundException",)),
    (lambda _key, alias: alias_arn(alias, account="111122223333"), ("AccessDeniedException",)),
    (lambda _key, alias: alias.upper().replace("ALIAS/", "alias/"), ("NotFoundException",)),
)
_BAD_ALIASES: Final = (
    ("alias/aws/s3", "NotAuthorizedException"),
    ("alias/a:b", "ValidationException"),
    ("fuzz", "ValidationException"),
    ("Alias/fuzz", "ValidationException"),
)
_TAG_NAMES: Final = ("a", "A", "t" * 128, *(text for text in ODD_TEXTS if text != "aws:"))
_RULES: Final[Mapping[str, Callable[[Composer, Request], None]]] = {
    **dict.fromkeys(CRYPTOGRAPHIC, Composer._cryptography),
    "CreateGrant": Composer._create_grant,
    "CreateKey": Composer._create_key,
    "DeleteAlias": Composer._delete_alias,
    "GenerateRandom": Composer._random_bytes,
    "PutKeyPolicy": Composer._put_key_policy,
    "RetireGrant": Composer._retire_grant,
    "RevokeGrant": Composer._revoke_grant,
    "TagResource": Composer._tag,
    "UpdateAlias": Composer._update_alias,
}


def as_json(random: Random, members: Any) -> bytes:
    """With characters as they are or escaped."""
    return json.dumps(members, ensure_ascii=random.random() < 0.5).encode()
