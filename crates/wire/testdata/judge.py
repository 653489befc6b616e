"""botocore as judge of the wire crate: it makes requests that must be read, and reads replies that must be right.

The crate's tests run it: judge.py {requests|replies|errors|sign}, JSON on standard input, JSON on standard output.
"""

import datetime
import json
import sys
import xml.etree.ElementTree as ElementTree

import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.signers import RequestSigner
from botocore.hooks import HierarchicalEmitter

SESSION = botocore.session.Session()
TIME = datetime.datetime(2026, 11, 24, 4, 7, 39, tzinfo=datetime.timezone.utc)
TEXT = "a&b <c> \u00e9"


def value(shape):
    """A value of this shape with every member there."""
    kind = shape.type_name
    if kind == "structure":
        return {name: value(member) for name, member in shape.members.items()}
    if kind == "list":
        return [value(shape.member), value(shape.member)]
    if kind in ("integer", "long"):
        return max(7, int(shape.metadata.get("min", 7)))
    if kind in ("float", "double"):
        return 1.5
    if kind == "boolean":
        return True
    if kind == "timestamp":
        return TIME
    if kind == "blob":
        return b"blob"
    return shape.enum[0] if getattr(shape, "enum", None) else TEXT


def reply_value(shape):
    """What the crate's samples say, where a reply's enums are any text."""
    kind = shape.type_name
    if kind == "structure":
        return {name: reply_value(member) for name, member in shape.members.items()}
    if kind == "list":
        return [reply_value(shape.member), reply_value(shape.member)]
    if kind in ("integer", "long"):
        return 7
    return TEXT if kind in ("string", "character") else value(shape)


def elements(shape):
    """How many elements the reply has for a value of this shape, its own included."""
    if shape.type_name == "structure":
        return 1 + sum(elements(member) for member in shape.members.values())
    if shape.type_name == "list":
        return 1 + 2 * elements(shape.member)
    return 1


def model(service):
    return SESSION.get_service_model(service)


def requests(question):
    """The form that botocore sends for each operation, with every parameter there."""
    service = model(question["service"])
    serializer = create_serializer(service.protocol)
    forms = {}
    for name in question["operations"]:
        operation = service.operation_model(name)
        shape = operation.input_shape
        made = serializer.serialize_to_request(value(shape) if shape else {}, operation)
        body = AWSRequest(method="POST", url="http://localhost/", data=made["body"]).prepare().body
        forms[name] = body.decode() if isinstance(body, bytes) else body
    return forms


def replies(question):
    """What is wrong with replies in which every member is there."""
    service = model(question["service"])
    parser = create_parser(service.protocol)
    wrong = []
    for name, reply in question["replies"].items():
        shape = service.operation_model(name).output_shape
        body = reply["body"].encode()
        parsed = parser.parse({"status_code": reply["status"], "headers": reply["headers"], "body": body}, shape)
        metadata = parsed.pop("ResponseMetadata")
        if metadata.get("RequestId") != "r-1":
            wrong.append(f"{name}: request id {metadata}")
        expected = reply_value(shape) if shape else {}
        for member in sorted(set(expected) | set(parsed)):
            if expected.get(member) != parsed.get(member):
                wrong.append(f"{name}.{member}: expected {expected.get(member)!r}, got {parsed.get(member)!r}")
        # botocore passes over elements that it doesn't know: so they are counted.
        count = sum(1 for _ in ElementTree.fromstring(body).iter())
        if service.protocol == "ec2":
            # The root, requestId, and <return> where there is no output.
            wanted = 2 + (elements(shape) - 1 if shape else 1)
        else:
            # The root, the result's wrapper (counted by elements), ResponseMetadata and RequestId.
            wanted = 3 + (elements(shape) if shape else 0)
        if count != wanted:
            wrong.append(f"{name}: {count} elements instead of {wanted}")
    return wrong


def errors(question):
    """What botocore makes of an error in each protocol."""
    out = {}
    for protocol, reply in question.items():
        body = bytes.fromhex(reply["body"])
        response = {"status_code": reply["status"], "headers": reply["headers"], "body": body}
        parsed = create_parser(protocol).parse(response, None)
        out[protocol] = [parsed["Error"]["Code"], parsed["Error"]["Message"], parsed["ResponseMetadata"].get("RequestId")]
    return out


def sign(question):
    """Signs requests: by header, or as a URL if it is to expire."""
    out = []
    for one in question:
        credentials = Credentials(one["key"], one["secret"], one.get("token"))
        service = model(one["service"])
        signer = RequestSigner(service.service_id, one["region"], service.signing_name, "v4", credentials, HierarchicalEmitter())
        body = one.get("body", "")
        request = AWSRequest(method=one["method"], url=one["url"], headers=one.get("headers", {}), data=body)
        if one.get("expires"):
            auth = signer.get_auth_instance(service.signing_name, one["region"], "v4-query", expires=one["expires"])
        else:
            auth = signer.get_auth_instance(service.signing_name, one["region"], "s3v4" if one["service"] == "s3" else "v4")
        auth.add_auth(request)
        made = request.prepare()
        headers = [[k, v.decode() if isinstance(v, bytes) else str(v)] for k, v in made.headers.items()]
        out.append({"method": made.method, "url": made.url, "headers": headers, "body": body})
    return out


json.dump(globals()[sys.argv[1]](json.load(sys.stdin)), sys.stdout)
