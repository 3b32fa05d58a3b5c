"""A stock boto3 client whose answers are kept as they came and compared with botocore's model.

A listener on botocore's own `before-parse` event only looks at the bytes that came back, because botocore's parser would
silently drop what its model does not know.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from testkit.installation import client


class Watched:
    """A stock client whose answers are kept as they came."""

    def __init__(self, port: int, service: str = "kms", **config: Any) -> None:
        self.client = client(service, port, **config)
        self.last: dict[str, Any] = {}
        self.client.meta.events.register("before-parse.kms", self._look)

    def _look(self, operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
        self.last = {"model": operation_model, "status": response_dict["status_code"], "body": response_dict["body"]}

    def require_modelled(self) -> dict[str, Any]:
        """The last answer's JSON, every member of it checked against the output shape."""
        assert self.last["status"] == 200
        output = self.last["model"].output_shape
        if output is None:
            assert self.last["body"] == b""
            return {}
        answer = json.loads(self.last["body"])
        require_shape(output, answer, self.last["model"].name)
        assert isinstance(answer, dict)
        return answer


def require_shape(shape: Any, value: Any, path: str) -> None:
    """No member that the model does not know, none missing that it requires, every value of its type and range."""
    match shape.type_name:
        case "structure":
            assert set(value) <= set(shape.members), f"{path}: unknown members"
            assert set(shape.required_members) <= set(value), f"{path}: missing members"
            for name, inner in value.items():
                require_shape(shape.members[name], inner, f"{path}.{name}")
        case "list":
            for inner in value:
                require_shape(shape.member, inner, f"{path}[]")
        case "string":
            assert isinstance(value, str), path
            assert not shape.enum or value in shape.enum, f"{path}: {value}"
            assert shape.metadata.get("min", 0) <= len(value) <= shape.metadata.get("max", 1 << 20), path
        case "blob":
            decoded = base64.b64decode(value, validate=True)
            assert shape.metadata.get("min", 0) <= len(decoded) <= shape.metadata.get("max", 1 << 20), path
        case "boolean":
            assert isinstance(value, bool), path
        case "timestamp":
            assert isinstance(value, int | float), path
            assert value > 1_700_000_000, path
        case "integer":
            assert type(value) is int, path
            assert shape.metadata.get("min", 0) <= value <= shape.metadata.get("max", 1 << 31), path
        case other:
            raise AssertionError(f"{path}: a {other}, which no answer had so far")
