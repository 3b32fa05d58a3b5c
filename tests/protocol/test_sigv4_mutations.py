"""One byte of what is signed is changed, and the request must be refused."""

import random
from collections.abc import Callable

import pytest

from protocol.signed_requests import KMS_HEADERS, NOW_S, SECRETS, SERVICES, signed_request
from strongroom.protocol.requests import HttpRequest, http_request
from strongroom.protocol.sigv4 import Refused, Verifier

UNSIGNED = {b"User-Agent", b"Content-Length"}

ORIGINALS = [
    signed_request(),
    signed_request(headers=[*KMS_HEADERS, (b"amz-sdk-request", b"attempt=1; max=3")], session_token="FQoGZXIvYXdzEJr"),
    signed_request(method="GET", target=b"/a/b%20c?first=1&second=%E1%88%B4", body=b""),
]


def changed(text: bytes, rng: random.Random) -> bytes:
    position = rng.randrange(len(text))
    byte = rng.choice([value for value in range(256) if value != text[position]])
    return text[:position] + bytes([byte]) + text[position + 1 :]


def change_method(request: HttpRequest, rng: random.Random) -> HttpRequest:
    method = changed(request.method.encode(), rng).decode("latin-1")
    return http_request(method, request.target, request.headers, request.body)


def change_target(request: HttpRequest, rng: random.Random) -> HttpRequest:
    return http_request(request.method, changed(request.target, rng), request.headers, request.body)


def change_body(request: HttpRequest, rng: random.Random) -> HttpRequest:
    body = changed(request.body, rng) if request.body else bytes([rng.randrange(256)])
    return http_request(request.method, request.target, request.headers, body)


def change_header(request: HttpRequest, rng: random.Random) -> HttpRequest:
    headers = list(request.headers)
    index = rng.choice([index for index, (name, _) in enumerate(headers) if name not in UNSIGNED])
    name, value = headers[index]
    while True:
        # Header names have no case, and a blank of another kind is still a blank: those are the same request.
        if rng.random() < 0.25:
            headers[index] = changed(name, rng), value
            if headers[index][0].lower() != name.lower():
                break
        else:
            headers[index] = name, changed(value, rng)
            if headers[index][1].split() != value.split():
                break
    return http_request(request.method, request.target, headers, request.body)


def change_authorization(request: HttpRequest, rng: random.Random) -> HttpRequest:
    name, value = request.headers[-1]
    assert name == b"Authorization"
    mutated = value
    while mutated.split() == value.split():
        mutated = changed(value, rng)
    return http_request(request.method, request.target, [*request.headers[:-1], (name, mutated)], request.body)


CHANGES: list[Callable[[HttpRequest, random.Random], HttpRequest]] = [
    change_method,
    change_target,
    change_body,
    change_header,
    change_header,
    change_authorization,
    change_authorization,
]


def refused_of(count: int, seed: int) -> int:
    rng = random.Random(seed)
    warm = Verifier()
    for original in ORIGINALS:
        warm.verify(original, NOW_S, SECRETS.get, SERVICES)
    refused = 0
    for _ in range(count):
        mutant = rng.choice(CHANGES)(rng.choice(ORIGINALS), rng)
        for verifier in (warm, Verifier()):
            try:
                verifier.verify(mutant, NOW_S, SECRETS.get, SERVICES)
            except Refused:
                continue
            pytest.fail(f"accepted: {mutant}")
        refused += 1
    for original in ORIGINALS:
        warm.verify(original, NOW_S, SECRETS.get, SERVICES)
    return refused


def test_ten_thousand_one_byte_changes_are_all_refused():
    assert refused_of(10_000, seed=20150830) == 10_000


@pytest.mark.long
def test_a_hundred_thousand_one_byte_changes_are_all_refused():
    assert refused_of(100_000, seed=4599) == 100_000


def test_every_single_byte_of_the_signature_counts():
    original = ORIGINALS[0]
    name, value = original.headers[-1]
    verifier = Verifier()
    verifier.verify(original, NOW_S, SECRETS.get, SERVICES)
    for position in range(len(value) - 64, len(value)):
        for digit in b"0123456789abcdef":
            if digit != value[position]:
                mutated = value[:position] + bytes([digit]) + value[position + 1 :]
                headers = [*original.headers[:-1], (name, mutated)]
                with pytest.raises(Refused):
                    verifier.verify(http_request("POST", b"/", headers, original.body), NOW_S, SECRETS.get, SERVICES)
