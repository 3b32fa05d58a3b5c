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

from collections.abc import Mapping, Sequence
from html import escape
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

CONTENT_TYPE = b"text/xml"
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

# Ours: the largest real STS form (AssumeRole with a session policy of 2,048 characters, all escaped) is below 16 KiB.
FORM_BYTES_MAX = 65_536
FORM_PARAMETERS_MAX = 256

# The refusals of `sigv4` under the names that Query services give them, and their HTTP status.
# Source: "Common Error Types" of the STS API Reference.
SIGV4_ERRORS: Mapping[str, tuple[str, int]] = {
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
    "IncompleteSignatureException": ("IncompleteSignature", 400),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "UnrecognizedClientException": ("InvalidClientTokenId", 403),
}

Member: TypeAlias = "str | Mapping[str, Member] | Sequence[Member]"

_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
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
    for escaped in text.split(b"%")[1:]:
        if len(escaped) < 2 or not _HEX_DIGITS.issuperset(escaped[:2]):
            raise MalformedForm("The query string contains a syntax error.")
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedForm("The query string contains a syntax error.") from None


def format_result(
    action: str, result: Mapping[str, Member], request_id: str, *, namespace: str = STS_NAMESPACE
) -> bytes:
    """The answer to an action that succeeded. Keys of `result` and the action are ours: names of the API, never input."""
    return (
        f'<{action}Response xmlns="{namespace}">'
        f"<{action}Result>{_format_member(result)}</{action}Result>"
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
    """Text as text, a structure as elements in its order, a list as `member` elements."""
    if isinstance(member, str):
        return _format_text(member)
    if isinstance(member, Mapping):
        return "".join(f"<{name}>{_format_member(value)}</{name}>" for name, value in member.items())
    return "".join(f"<member>{_format_member(value)}</member>" for value in member)


def _format_text(text: str) -> str:
    return escape(text.translate(_FORBIDDEN_IN_XML)).replace("\r", "&#13;")
