"""The AWS Query protocol: a form comes in, XML goes out. STS and IAM speak it, on the same URL as KMS.

Source: Smithy, "AWS Query protocol"; the shapes of the answers are those of STS.

Invariants:
- A name occurs once, whatever its case: no two readers of a form may find two different values.
- A form is strictly UTF-8 and strictly escaped; nothing is repaired.
- All text in an answer is escaped, and never holds a character that XML 1.0 forbids.

    success                                     error
    -------                                     -----
    <ActionResponse xmlns="…">                  <ErrorResponse xmlns="…">
      <ActionResult> members </ActionResult>      <Error> <Type/> <Code/> <Message/> </Error>
      <ResponseMetadata>                          <RequestId/>
        <RequestId/>                            </ErrorResponse>
      </ResponseMetadata>
    </ActionResponse>
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

CONTENT_TYPE = b"text/xml"
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

# As much as the edge takes at all: a policy document may have 131,072 characters (IAM's model), which double when their
# quotes, braces and spaces are escaped.
FORM_BYTES_MAX = 524_288
# Ours: the largest real form has 50 tags, and at most ten more parameters.
FORM_PARAMETERS_MAX = 256

# The refusals of `sigv4`, and of sessions that are over, under the names that Query services give them, with their status.
# Source: "Common Error Types" of the STS API Reference.
SIGV4_ERRORS: Mapping[str, tuple[str, int]] = {
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
    "IncompleteSignatureException": ("IncompleteSignature", 400),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "UnrecognizedClientException": ("InvalidClientTokenId", 403),
    "ExpiredTokenException": ("ExpiredToken", 403),
}


class Entries(NamedTuple):
    """A map of the API: its keys are data, not names of elements."""

    pairs: "Sequence[tuple[str, Member]]"


Member: TypeAlias = "str | Mapping[str, Member] | Sequence[Member] | Entries"

_BAD_ESCAPE = re.compile(rb"%(?![0-9a-fA-F]{2})")
# XML 1.0, production [2] Char: everything else below U+0020, the surrogates, U+FFFE and U+FFFF.
_FORBIDDEN_IN_XML = {
    **dict.fromkeys([code for code in range(0x20) if code not in {0x09, 0x0A, 0x0D}], "\ufffd"),
    **dict.fromkeys([*range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\ufffd"),
}


class MalformedForm(Exception):  # noqa: N818 -- a refusal is an answer, not an error of ours
    """The body is no form that we accept. `code` is the AWS error's code, `message` its text."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = "MalformedQueryString"
        self.message = message


def parse_form(body: bytes) -> dict[str, str]:
    """Parse an `application/x-www-form-urlencoded` body, or raise MalformedForm.

    1. Hold the limits before anything is allocated per parameter.
    2. Split into names and values; unescape both.
    3. Refuse a name that occurred before, in whatever case.
    """
    # 1.
    if len(body) > FORM_BYTES_MAX or body.count(b"&") >= FORM_PARAMETERS_MAX:
        raise MalformedForm("The form has too many parameters, or is too long.")
    form: dict[str, str] = {}
    seen: set[str] = set()
    for part in body.split(b"&") if body else ():
        # 2.
        name_escaped, _, value_escaped = part.partition(b"=")
        name, value = _unescape(name_escaped), _unescape(value_escaped)
        if not name:
            raise MalformedForm("The query string contains a syntax error.")
        # 3.
        folded = name.casefold()
        if folded in seen:
            raise MalformedForm("The form has a parameter more than once.")
        seen.add(folded)
        form[name] = value
    return form


def _unescape(text: bytes) -> str:
    if _BAD_ESCAPE.search(text) is not None:
        raise MalformedForm("The query string contains a syntax error.")
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedForm("The query string contains a syntax error.") from None


def format_result(
    action: str, result: Mapping[str, Member] | None, request_id: str, *, namespace: str = STS_NAMESPACE
) -> bytes:
    """The answer to an action that succeeded; None: the action has no result.

    Keys of `result` and the action are ours: names of the API, never input.
    """
    element = "" if result is None else f"<{action}Result>{_format_member(result)}</{action}Result>"
    return (
        f'<{action}Response xmlns="{namespace}">'
        f"{element}"
        f"<ResponseMetadata><RequestId>{_format_text(request_id)}</RequestId></ResponseMetadata>"
        f"</{action}Response>"
    ).encode()


def format_error(
    code: str, message: str, request_id: str, *, is_callers_fault: bool = True, namespace: str = STS_NAMESPACE
) -> bytes:
    """The answer to an action that failed, through the caller's fault (`Sender`) or ours (`Receiver`)."""
    return (
        f'<ErrorResponse xmlns="{namespace}">'
        f"<Error><Type>{'Sender' if is_callers_fault else 'Receiver'}</Type>"
        f"<Code>{_format_text(code)}</Code><Message>{_format_text(message)}</Message></Error>"
        f"<RequestId>{_format_text(request_id)}</RequestId>"
        "</ErrorResponse>"
    ).encode()


def _format_member(member: Member) -> str:
    """Text as text, a structure as elements in its order, a list as `member` elements, a map as `entry` elements."""
    if isinstance(member, str):
        return _format_text(member)
    if isinstance(member, Entries):
        return "".join(
            f"<entry><key>{_format_text(key)}</key><value>{_format_member(value)}</value></entry>"
            for key, value in member.pairs
        )
    if isinstance(member, Mapping):
        return "".join(f"<{name}>{_format_member(value)}</{name}>" for name, value in member.items())
    return "".join(f"<member>{_format_member(value)}</member>" for value in member)


def _format_text(text: str) -> str:
    return escape(text.translate(_FORBIDDEN_IN_XML)).replace("\r", "&#13;")
