import itertools
import json
import re

import pytest

from strongroom.kms.audit.events import (
    CallTemplate,
    Event,
    EventIds,
    EventTimes,
    Origin,
    Resource,
    UserIdentity,
    encode,
    encode_event,
    touched_part,
)

IDENTITY = UserIdentity(
    type="IAMUser",
    principalId="AIDAEXAMPLE",
    arn="arn:aws:iam::111122223333:user/alice",
    accountId="111122223333",
    accessKeyId="AKIAEXAMPLE",
    userName="alice",
)
KEY = Resource(accountId="111122223333", type="AWS::KMS::Key", ARN="arn:aws:kms:eu-central-1:111122223333:key/k1")
PARAMETERS = {"keyId": "k1", "keySpec": "AES_256", "encryptionContext": {"a\n%b": 'ü"'}}


def plain_event(**changes) -> Event:
    fields = {
        "eventVersion": "1.11",
        "userIdentity": IDENTITY,
        "eventTime": "2026-11-24T05:31:10Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": "GenerateDataKey",
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "10.0.0.1",
        "userAgent": 'Boto3 "%s" ü',
        "requestParameters": PARAMETERS,
        "responseElements": None,
        "requestID": "r-1",
        "eventID": "e-1",
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": "111122223333",
        "additionalEventData": {"keyMaterialId": "ab" * 32},
        "resources": [KEY],
    }
    return Event(**{**fields, **changes})


def test_an_event_has_cloudtrails_member_names_and_a_null_response_of_a_cryptographic_call():
    event = json.loads(encode_event(plain_event()))
    assert event["userIdentity"]["accessKeyId"] == "AKIAEXAMPLE"
    assert event["resources"] == [{"accountId": "111122223333", "type": "AWS::KMS::Key", "ARN": KEY.ARN}]
    assert event["responseElements"] is None
    assert event["eventType"] == "AwsApiCall"
    assert not {"errorCode", "errorMessage", "phase", "serviceEventDetails"} & event.keys()


def test_a_failure_names_its_error_and_an_intent_its_phase():
    event = json.loads(encode_event(plain_event(errorCode="AccessDenied", errorMessage="no", phase="intent")))
    assert (event["errorCode"], event["errorMessage"], event["phase"]) == ("AccessDenied", "no", "intent")


@pytest.mark.parametrize("read_only", [True, False])
def test_the_template_writes_the_same_members_as_the_struct(read_only):
    template = CallTemplate("GenerateDataKey", "eu-central-1", "111122223333", read_only=read_only)
    written = template.format(
        encode(IDENTITY),
        b"2026-11-24T05:31:10Z",
        Origin("10.0.0.1", 'Boto3 "%s" ü'),
        encode(PARAMETERS),
        "r-1",
        "e-1",
        touched_part([(KEY.accountId, KEY.ARN)], "ab" * 32),
    )
    assert written == encode_event(plain_event(readOnly=read_only))


def test_a_name_with_a_percent_sign_stays_a_name():
    template = CallTemplate("100%b", "eu-central-1", "111122223333", read_only=True)
    written = template.format(
        b"{}", b"t", Origin("10.0.0.1", "a"), b"{}", "r", "e", touched_part([(KEY.accountId, KEY.ARN)], None)
    )
    event = json.loads(written)
    assert event["eventName"] == "100%b"
    assert "additionalEventData" not in event


def test_times_are_formatted_by_the_second_also_when_the_clock_goes_back():
    times = EventTimes()
    moments = (1_795_498_270.0, 1_795_498_270.99, 1_795_498_271.0, 1_795_498_270.5, 0.0)
    assert [times.format(moment) for moment in moments] == [
        "2026-11-24T05:31:10Z",
        "2026-11-24T05:31:10Z",
        "2026-11-24T05:31:11Z",
        "2026-11-24T05:31:10Z",
        "1970-01-01T00:00:00Z",
    ]


def test_event_ids_are_shaped_like_uuids_and_never_repeat():
    make_id = EventIds(bytes(range(240, 249)))
    ids = list(itertools.islice(iter(make_id, None), 1000))
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}", text) for text in ids)
    assert EventIds(bytes(9))() != EventIds(b"\1" * 9)()


def test_an_id_prefix_of_another_length_is_refused():
    with pytest.raises(ValueError, match="random bytes"):
        EventIds(bytes(8))
