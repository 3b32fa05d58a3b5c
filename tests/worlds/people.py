"""The load's client of IAM: users, groups, roles and policies that are made, changed in every way and ended; accounts.

A few of each at a time. A name is used once, so that nobody wonders whose a thing is after an answer that never came.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from botocore import xform_name

from strongroom.cli.admin_socket import ask
from strongroom.kms.admin.commands import _MUTATES as OPERATORS_MUTATIONS
from strongroom.kms.identities.operations.table import TABLE
from testkit.identities import ADMINISTRATOR, ROOT, arn_of, document, statement
from testkit.installation import Installation
from worlds.asker import Acts, Asker
from worlds.ledger import GONE
from worlds.shown import shown

_LIVING_MAX: Final = 3
_VERSIONS_MAX: Final = 5
_KEYS_MAX: Final = 2
# Of groups, IAM has no tags and no boundaries.
_HOLDERS: Final = ("user", "group", "role")
_BOUNDED: Final = ("user", "role")
_RENAMED: Final = ("user", "group")
_TAGGED: Final = ("user", "role", "policy")
# What an account's first user has, by name.
_ADMINISTRATORS_POLICY: Final = "AdministratorAccess"

# What changes something and is not part of the load, each with the reason.
LEFT_OUT: Final = {
    "delete_login_profile": "always refused: there are no login profiles",
    "accept-clock": "refused unless the clock was found to have jumped; tests/worlds/test_simulated_year.py has it",
}
MUTATIONS: Final = {*(xform_name(name) for name, row in TABLE.items() if row.mutates), *OPERATORS_MUTATIONS}


class _Change(NamedTuple):
    """A change of one fact."""

    subject: str
    respect: str
    value: Any
    operation: str
    arguments: dict[str, Any]


class People(Asker):
    """Who administers."""

    def __init__(self, installation: Installation, seed: int, stop: threading.Event) -> None:
        super().__init__("people", installation, seed, stop)
        self._living: dict[str, list[str]] = {kind: [] for kind in (*_HOLDERS, "policy")}
        self._renaming: tuple[str, str, str] | None = None
        self._accounts = 100_000_000_000 + seed * 100_000
        # Accounts as they were made, with what was told of their administrators.
        self._untouched: list[dict[str, str]] = []

    def _acts(self) -> Acts:
        return [
            *((self._create, 12), (self._end, 4), (self._create_account, 1), (self._rename, 3), (self._move, 2)),
            *((self._put_inline, 8), (self._attach, 8), (self._bound, 6), (self._tag, 6), (self._join, 6)),
            *((self._delete_account, 1), (self._access_key, 8), (self._change_role, 6), (self._version, 8)),
        ]

    def run(self) -> None:
        """In the end, whom a rename without an answer was about may have either name, as nobody looked back."""
        super().run()
        if self._renaming is not None:
            self.ledger.renames.append(self._renaming)

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer of IAM."""
        answer: dict[str, Any] | None = self._try(operation, lambda: getattr(self._clients.iam, operation)(**arguments))
        return answer

    def _fact(self, subject: str, respect: str) -> Any:
        """Where nothing is in doubt: everything is looked at before anything is asked after a failure."""
        (value,) = self.ledger.facts[subject].get(respect, {None})
        return value

    def _had(self, subject: str, prefix: str) -> list[str]:
        """What it has of a sort: the ends of the respects."""
        facts = self.ledger.facts[subject]
        return [name.removeprefix(prefix) for name in facts if name.startswith(prefix) and self._fact(subject, name)]

    def _one_of(self, kinds: tuple[str, ...]) -> tuple[str, str, dict[str, str]] | None:
        """Anyone who lives: the kind, the subject, and how a request names him."""
        living = [(kind, name) for kind in kinds for name in self._living[kind]]
        if not living:
            return None
        kind, name = self._random.choice(living)
        return kind, f"{kind}/{name}", _named(kind, name)

    def _all(self, changes: Iterator[_Change]) -> bool:
        """One after the other, as long as each is answered."""
        return all(self._change(*change[:4], **change.arguments) for change in list(changes))

    def _document(self) -> str:
        self._count += 1
        return document(statement("kms:*", Sid=f"S{self._count}"))

    def _trust(self) -> str:
        self._count += 1
        who = {"Effect": "Allow", "Principal": {"AWS": [ROOT]}, "Action": "sts:AssumeRole", "Sid": f"S{self._count}"}
        return document(who)

    # ── who there is ────────────────────────────────────────────────────────────────────────────────────────────

    def _create(self) -> None:
        kind, word = self._random.choice(list(self._living)), self._word()
        if len(self._living[kind]) >= _LIVING_MAX:
            return
        name, arguments, facts = word.replace(" ", "-"), {}, {"there": True}
        if kind != "policy":
            arguments, facts = {"Path": "/made/"}, facts | {"path": "/made/"}
        if kind in _TAGGED:
            arguments, facts = arguments | {"Tags": [{"Key": "made", "Value": word}]}, facts | {"tag made": word}
        if kind == "role":
            text = self._trust()
            arguments |= {"AssumeRolePolicyDocument": text, "Description": word}
            facts |= {"trust": text, "description": word, "session": 3600}
        if kind == "policy":
            text = self._document()
            arguments |= {"PolicyDocument": text}
            facts |= {"version v1": text, "default": "v1"}
        member = {f"{kind.capitalize()}Name": name}
        if self._ask(f"create_{kind}", **member, **arguments) is not None:
            self._made(f"{kind}/{name}", **facts)
            self._living[kind].append(name)

    def _end(self) -> None:
        """Take away what is in the way, then the subject itself."""
        one = self._one_of((*_HOLDERS, "policy"))
        if one is None:
            return
        kind, subject, named = one
        if self._all(self._in_the_way(kind, subject)) and self._change(
            subject, "there", None, f"delete_{kind}", **named
        ):
            self.ledger.facts[subject] = dict(GONE)
            self._living[kind].remove(subject.partition("/")[2])

    def _in_the_way(self, kind: str, subject: str) -> Iterator[_Change]:
        name = subject.partition("/")[2]
        named = _named(kind, name)
        for policy_name in self._had(subject, "inline "):
            arguments = {**named, "PolicyName": policy_name}
            yield _Change(subject, f"inline {policy_name}", None, f"delete_{kind}_policy", arguments)
        for arn in self._had(subject, "attached "):
            yield _Change(subject, f"attached {arn}", None, f"detach_{kind}_policy", {**named, "PolicyArn": arn})
        for group in self._had(subject, "group "):
            yield self._leaving(subject, group)
        for access_key_id in self._had(subject, "key "):
            arguments = {**named, "AccessKeyId": access_key_id}
            yield _Change(subject, f"key {access_key_id}", None, "delete_access_key", arguments)
        if kind == "group":
            users = [f"user/{user}" for user in self._living["user"]]
            yield from (self._leaving(user, name) for user in users if name in self._had(user, "group "))
        if kind == "policy":
            yield from self._uses_of(named["PolicyArn"])
            for version in self._had(subject, "version "):
                if version != self._fact(subject, "default"):
                    arguments = {**named, "VersionId": version}
                    yield _Change(subject, f"version {version}", None, "delete_policy_version", arguments)

    @staticmethod
    def _leaving(user: str, group: str) -> _Change:
        arguments = {"UserName": user.partition("/")[2], "GroupName": group}
        return _Change(user, f"group {group}", None, "remove_user_from_group", arguments)

    def _uses_of(self, arn: str) -> Iterator[_Change]:
        for kind in _HOLDERS:
            for name in self._living[kind]:
                subject, named = f"{kind}/{name}", _named(kind, name)
                if self._fact(subject, f"attached {arn}"):
                    arguments = {**named, "PolicyArn": arn}
                    yield _Change(subject, f"attached {arn}", None, f"detach_{kind}_policy", arguments)
                if self._fact(subject, "boundary") == arn:
                    yield _Change(subject, "boundary", None, f"delete_{kind}_permissions_boundary", named)

    def _rename(self) -> None:
        one = self._one_of(_RENAMED)
        if one is not None:
            kind, subject, named = one
            new = self._word().replace(" ", "-")
            self._renaming = (kind, subject.partition("/")[2], new)
            if self._ask(f"update_{kind}", **named, **{f"New{kind.capitalize()}Name": new}) is not None:
                self._has_moved()

    def _has_moved(self) -> None:
        assert self._renaming is not None
        (kind, old, new), self._renaming = self._renaming, None
        self._living[kind][self._living[kind].index(old)] = new
        self._recent += self.ledger.rename(kind, old, new)

    def _look_back(self) -> None:
        if self._renaming is not None:
            kind, _, new = self._renaming
            found = self._try("look back", lambda: shown(self._clients, f"{kind}/{new}", ()))
            if found is None:
                return
            if found:
                self._has_moved()
            self._renaming = None
        super()._look_back()
        if self.ledger.doubts.is_set():
            return
        for kind, names in self._living.items():
            names[:] = [name for name in names if None not in self.ledger.facts[f"{kind}/{name}"]["there"]]

    def _create_account(self) -> None:
        self._accounts += 1
        number, word = str(self._accounts), self._word()
        home = self._installation.home
        made = self._try("create-account", lambda: ask(home, "create-account", account=number, name=word))
        if made is not None:
            self._made(f"account/{number}", there=True, name=word)
            self._untouched.append(made)

    def _delete_account(self) -> None:
        """Of an account that was made: its administrator first. Where an answer is lost, it stays as it is then."""
        if not self._untouched:
            return
        made = self._untouched.pop(self._random.randrange(len(self._untouched)))
        number, user = made["account"], {"UserName": made["user"]}
        steps = [("DeleteAccessKey", {**user, "AccessKeyId": made["access_key_id"]})]
        steps += [("DeleteUserPolicy", {**user, "PolicyName": _ADMINISTRATORS_POLICY}), ("DeleteUser", user)]
        if all(
            self._as_operator("iam", account=number, action=action, form=json.dumps(form)) for action, form in steps
        ):
            done = self._as_operator("delete-account", account=number)
            self._note(f"account/{number}", "there", None, is_done=done)
            if done:
                self.ledger.facts[f"account/{number}"] = dict(GONE)

    def _as_operator(self, command: str, **arguments: str) -> bool:
        """Whether it was answered."""
        home = self._installation.home
        return self._try(command, lambda: ask(home, command, **arguments)) is not None

    # ── what they have ──────────────────────────────────────────────────────────────────────────────────────────

    def _move(self) -> None:
        one = self._one_of(_RENAMED)
        if one is not None:
            kind, subject, named = one
            path = f"/{self._word().replace(' ', '-')}/"
            self._change(subject, "path", path, f"update_{kind}", **named, NewPath=path)

    def _put_inline(self) -> None:
        one = self._one_of(_HOLDERS)
        if one is None:
            return
        kind, subject, named = one
        had = self._had(subject, "inline ")
        if had and self._random.random() < 0.4:
            name = self._random.choice(had)
            self._change(subject, f"inline {name}", None, f"delete_{kind}_policy", **named, PolicyName=name)
        else:
            name, text = self._random.choice(("some", "other")), self._document()
            arguments = {**named, "PolicyName": name, "PolicyDocument": text}
            self._change(subject, f"inline {name}", text, f"put_{kind}_policy", **arguments)

    def _attach(self) -> None:
        one = self._one_of(_HOLDERS)
        if one is None:
            return
        kind, subject, named = one
        arn = self._random.choice([ADMINISTRATOR, *(arn_of("policy", name) for name in self._living["policy"])])
        respect = f"attached {arn}"
        verb, value = ("detach", None) if self._fact(subject, respect) else ("attach", True)
        self._change(subject, respect, value, f"{verb}_{kind}_policy", **named, PolicyArn=arn)

    def _bound(self) -> None:
        one = self._one_of(_BOUNDED)
        if one is None:
            return
        kind, subject, named = one
        if self._fact(subject, "boundary") is not None:
            self._change(subject, "boundary", None, f"delete_{kind}_permissions_boundary", **named)
        elif self._living["policy"]:
            arn = arn_of("policy", self._random.choice(self._living["policy"]))
            operation = f"put_{kind}_permissions_boundary"
            self._change(subject, "boundary", arn, operation, **named, PermissionsBoundary=arn)

    def _tag(self) -> None:
        one = self._one_of(_TAGGED)
        if one is None:
            return
        kind, subject, named = one
        name, word = self._random.choice("ab"), self._word()
        if self._fact(subject, f"tag {name}") is None:
            tags = [{"Key": name, "Value": word}]
            self._change(subject, f"tag {name}", word, f"tag_{kind}", **named, Tags=tags)
        else:
            self._change(subject, f"tag {name}", None, f"untag_{kind}", **named, TagKeys=[name])

    def _join(self) -> None:
        user, group = self._one_of(("user",)), self._one_of(("group",))
        if user is None or group is None:
            return
        name = group[2]["GroupName"]
        if self._fact(user[1], f"group {name}"):
            self._all(iter([self._leaving(user[1], name)]))
        else:
            self._change(user[1], f"group {name}", True, "add_user_to_group", **user[2], **group[2])

    def _access_key(self) -> None:
        one = self._one_of(("user",))
        if one is None:
            return
        _, subject, named = one
        had = self._had(subject, "key ")
        if not had or (len(had) < _KEYS_MAX and self._random.random() < 0.4):
            answer = self._ask("create_access_key", **named)
            if answer is not None:
                made = answer["AccessKey"]
                self._note(subject, f"key {made['AccessKeyId']}", "Active", is_done=True)
                self.ledger.secrets[made["AccessKeyId"]] = made["SecretAccessKey"]
            else:
                self._recent.append(subject)
            return
        access_key_id = self._random.choice(had)
        named["AccessKeyId"] = access_key_id
        respect = f"key {access_key_id}"
        if self._random.random() < 0.5:
            self._change(subject, respect, None, "delete_access_key", **named)
        else:
            status = "Inactive" if self._fact(subject, respect) == "Active" else "Active"
            self._change(subject, respect, status, "update_access_key", **named, Status=status)

    def _change_role(self) -> None:
        one = self._one_of(("role",))
        if one is not None:
            self._random.choice((self._describe_role, self._update_role, self._trust_others))(one[1], one[2])

    def _describe_role(self, subject: str, named: dict[str, str]) -> None:
        word = self._word()
        self._change(subject, "description", word, "update_role_description", **named, Description=word)

    def _update_role(self, subject: str, named: dict[str, str]) -> None:
        seconds, word = self._random.randint(3600, 43_200), self._word()
        done = self._change(
            subject, "session", seconds, "update_role", **named, MaxSessionDuration=seconds, Description=word
        )
        self._note(subject, "description", word, is_done=done)

    def _trust_others(self, subject: str, named: dict[str, str]) -> None:
        text = self._trust()
        self._change(subject, "trust", text, "update_assume_role_policy", **named, PolicyDocument=text)

    def _version(self) -> None:
        one = self._one_of(("policy",))
        if one is None:
            return
        _, subject, named = one
        others = [name for name in self._had(subject, "version ") if name != self._fact(subject, "default")]
        if not others or (len(others) + 1 < _VERSIONS_MAX and self._random.random() < 0.4):
            text = self._document()
            answer = self._ask("create_policy_version", **named, PolicyDocument=text)
            if answer is not None:
                self._note(subject, f"version {answer['PolicyVersion']['VersionId']}", text, is_done=True)
            else:
                self._recent.append(subject)
            return
        version = self._random.choice(others)
        named["VersionId"] = version
        if self._random.random() < 0.5:
            self._change(subject, "default", version, "set_default_policy_version", **named)
        else:
            self._change(subject, f"version {version}", None, "delete_policy_version", **named)


def _named(kind: str, name: str) -> dict[str, str]:
    """How a request names somebody."""
    return {"PolicyArn": arn_of("policy", name)} if kind == "policy" else {f"{kind.capitalize()}Name": name}
