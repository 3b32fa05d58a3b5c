"""One handler per command of `boundary.messages`, and the work of one frame that they share.

A handler gets the frame's `Work` and its command, and returns an answer or raises `RefusedError`; nothing that it makes
outlives the frame but the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from strongroom.boundary.context import ContextTooLongError, canonical_context
from strongroom.boundary.control import StatusReport, encode
from strongroom.boundary.messages import (
    BLOB_BYTES_MAX,
    DATA_BYTES_MAX,
    RANDOM_BYTES_MAX,
    Answer,
    CiphertextAnswer,
    Command,
    CommandFrame,
    DataKeyAnswer,
    Decrypt,
    Encrypt,
    GenerateDataKey,
    GenerateHbk,
    GenerateRandom,
    GetHsmStatus,
    HbkAnswer,
    PlaintextAnswer,
    ReEncrypt,
    SealColumn,
    SealedAnswer,
    SignatureAnswer,
    SignAuditHead,
    StatusAnswer,
    Trace,
    UnsealColumn,
    VerifiedAnswer,
    VerifyHbk,
    audit_head_statement,
)
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Region
from strongroom.hsm.domain.domain import Domain
from strongroom.hsm.entropy import Entropy
from strongroom.hsm.vault.backing_key import (
    BackingKey,
    EktMetadata,
    generate_backing_key,
    open_backing_key,
    require_binding,
    require_named_material,
)
from strongroom.hsm.vault.customer_data import RANDOM_BYTES, decrypt_data, encrypt_data, nonce_of
from strongroom.hsm.vault.sealed_values import ColumnMetadata, open_column, seal_column
from strongroom.hsm.vault.token import IV_BYTES, domain_key_id_of

_HBK_BYTES: Final = 32


class Work:
    """One frame: its keys, each token opened once and only when a command needs it, and its traces."""

    __slots__ = ("_by_token", "_keys", "clock", "domain", "entropy", "frame", "report", "scratch", "traces")

    def __init__(
        self,
        domain: Domain,
        scratch: Region,
        entropy: Entropy,
        clock: Callable[[], float],
        report: Callable[[], StatusReport],
        frame: CommandFrame,
    ) -> None:
        self.domain = domain
        self.scratch = scratch
        self.entropy = entropy
        self.clock = clock
        self.report = report
        self.frame = frame
        self.traces: list[Trace] = []
        self._by_token: dict[bytes, BackingKey] = {}
        self._keys: dict[int, BackingKey] = {}

    def key(self, index: int) -> BackingKey:
        """The backing key of a binding, compared with it in every field.

        Raises:
            RefusedError: MALFORMED for no such binding; TOKEN_INVALID, TOKEN_MISMATCH, UNKNOWN_DOMAIN_KEY.
        """
        key = self._keys.get(index)
        if key is None:
            if not 0 <= index < len(self.frame.keys):
                raise RefusedError(Status.MALFORMED)
            binding = self.frame.keys[index]
            key = self._by_token.get(binding.ekt)
            if key is None:
                key = open_backing_key(self.domain.ring, self.scratch, binding.ekt)
                self._by_token[binding.ekt] = key
            require_binding(key, binding, self.domain.state.domain_id)
            self._keys[index] = key
        return key

    def current_key(self, index: int) -> BackingKey:
        """The same for sealing something new: the record must call this backing key the current one.

        Raises:
            RefusedError: NOT_CURRENT.
        """
        key = self.key(index)
        if not self.frame.keys[index].current:
            raise RefusedError(Status.NOT_CURRENT)
        return key

    def trace(self, command: Command, key: int, blob: bytes, input_length: int, output_length: int) -> None:
        binding = self.frame.keys[key]
        self.traces.append(
            Trace(
                command.request_id,
                type(command).__name__,
                domain_key_id_of(binding.ekt),
                binding.hbkid,
                nonce_of(blob),
                len(binding.ekt),
                input_length,
                output_length,
            )
        )


def _canonical(context: dict[str, str]) -> bytes:
    try:
        return canonical_context(context)
    except ContextTooLongError:
        raise RefusedError(Status.DATA_LENGTH) from None


def _require_length(length: int, most: int) -> None:
    if not 1 <= length <= most:
        raise RefusedError(Status.DATA_LENGTH)


def _generate_hbk(work: Work, command: GenerateHbk) -> Answer:
    named = EktMetadata(
        work.domain.state.domain_id,
        command.key_id,
        command.account,
        command.region,
        b"",
        command.spec,
        command.usage,
        "AWS_KMS",
        int(work.clock()),
    )
    random = work.entropy.draw(_HBK_BYTES + IV_BYTES)
    ekt, hbkid = generate_backing_key(work.domain.ring, work.scratch, named, random)
    return HbkAnswer(command.request_id, ekt, hbkid)


def _generate_data_key(work: Work, command: GenerateDataKey) -> Answer:
    length = command.length
    _require_length(length, RANDOM_BYTES_MAX)
    key = work.current_key(command.key)
    random = work.entropy.draw(RANDOM_BYTES + length)
    data_key = random[RANDOM_BYTES:]
    blob = encrypt_data(key, data_key, _canonical(command.context), random[:RANDOM_BYTES])
    if work.frame.trace:
        work.trace(command, command.key, blob, 0, len(blob))
    return DataKeyAnswer(command.request_id, blob, data_key if command.with_plaintext else None)


def _encrypt(work: Work, command: Encrypt) -> Answer:
    _require_length(len(command.plaintext), DATA_BYTES_MAX)
    key = work.current_key(command.key)
    blob = encrypt_data(key, command.plaintext, _canonical(command.context), work.entropy.draw(RANDOM_BYTES))
    if work.frame.trace:
        work.trace(command, command.key, blob, len(command.plaintext), len(blob))
    return CiphertextAnswer(command.request_id, blob)


def _decrypt(work: Work, command: Decrypt) -> Answer:
    _require_length(len(command.blob), BLOB_BYTES_MAX)
    plaintext = decrypt_data(work.key(command.key), command.blob, _canonical(command.context))
    if work.frame.trace:
        work.trace(command, command.key, command.blob, len(command.blob), len(plaintext))
    return PlaintextAnswer(command.request_id, plaintext)


def _re_encrypt(work: Work, command: ReEncrypt) -> Answer:
    _require_length(len(command.blob), BLOB_BYTES_MAX)
    destination = work.current_key(command.destination_key)
    plaintext = decrypt_data(work.key(command.source_key), command.blob, _canonical(command.source_context))
    random = work.entropy.draw(RANDOM_BYTES)
    blob = encrypt_data(destination, plaintext, _canonical(command.destination_context), random)
    if work.frame.trace:
        work.trace(command, command.source_key, command.blob, len(command.blob), len(plaintext))
        work.trace(command, command.destination_key, blob, len(plaintext), len(blob))
    return CiphertextAnswer(command.request_id, blob)


def _generate_random(work: Work, command: GenerateRandom) -> Answer:
    _require_length(command.length, RANDOM_BYTES_MAX)
    return PlaintextAnswer(command.request_id, work.entropy.draw(command.length))


def _seal_column(work: Work, command: SealColumn) -> Answer:
    _require_length(len(command.value), DATA_BYTES_MAX)
    metadata = ColumnMetadata(work.domain.state.domain_id, command.column, command.row)
    sealed = seal_column(work.domain.ring, metadata, command.value, work.entropy.draw(IV_BYTES))
    return SealedAnswer(command.request_id, sealed)


def _unseal_column(work: Work, command: UnsealColumn) -> Answer:
    metadata = ColumnMetadata(work.domain.state.domain_id, command.column, command.row)
    value = open_column(work.domain.ring, work.scratch, metadata, command.sealed)
    return PlaintextAnswer(command.request_id, value)


def _sign_audit_head(work: Work, command: SignAuditHead) -> Answer:
    _require_length(len(command.digest), 64)
    identity = work.domain.identity
    now_s = int(work.clock())
    hsm_id = identity.member.member_id
    statement = audit_head_statement(work.domain.state.domain_id, hsm_id, now_s, command.digest)
    return SignatureAnswer(command.request_id, hsm_id, now_s, identity.sign(statement))


def _get_status(work: Work, command: GetHsmStatus) -> Answer:
    return StatusAnswer(command.request_id, encode(work.report()))


def _verify_hbk(work: Work, command: VerifyHbk) -> Answer:
    require_named_material(work.key(command.key))
    return VerifiedAnswer(command.request_id)


HANDLERS: Final[dict[type[Command], Callable[[Work, Any], Answer]]] = {
    GenerateHbk: _generate_hbk,
    GenerateDataKey: _generate_data_key,
    Encrypt: _encrypt,
    Decrypt: _decrypt,
    ReEncrypt: _re_encrypt,
    GenerateRandom: _generate_random,
    SealColumn: _seal_column,
    UnsealColumn: _unseal_column,
    SignAuditHead: _sign_audit_head,
    GetHsmStatus: _get_status,
    VerifyHbk: _verify_hbk,
}
