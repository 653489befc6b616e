#!/usr/bin/env python3
"""Checks replies against AWS's service models, with botocore's own parser.

Reads lines of JSON (service, operation, status, headers, body) from the files named, or from standard input. For each it
asserts that botocore parses the reply, that every element of it is a member of the operation's output shape and was parsed,
that values have their shape's type (and are one of its enum), and that required members are there. An error must have a code,
a message and a request id. Prints what is wrong, one line each, and exits 1 if anything is.
"""

import json
import re
import sys
import xml.etree.ElementTree as ET

import botocore.loaders
import botocore.model
import botocore.parsers
from botocore.awsrequest import HeadersDict

LOADER = botocore.loaders.Loader()
MODELS = {}
# Of documents whose model names none for its replies.
NAMESPACES = {
    "s3": "http://s3.amazonaws.com/doc/2006-03-01/",
    "s3control": "http://awss3control.amazonaws.com/doc/2018-08-20/",
}
# What the parser itself takes out of a reply's root.
ENVELOPE = {"requestId", "ResponseMetadata"}
# Headers that any reply of S3's may have.
OF_ALL = {"x-amz-request-id", "x-amz-id-2", "x-amz-bucket-region"}
# The only values that pass though the model's enum lacks them: structure and member, the value, and why AWS answers it all the same.
BEYOND_THE_ENUM = {
    # "For an internet gateway, the state is `available` when attached to a VPC; otherwise, this value is not returned", says the member's own
    # documentation, and so AWS answers. Its enum, AttachmentStatus, is that of network interfaces: attaching to detached.
    ("InternetGatewayAttachment", "State"): "available",
}


def model(service):
    if service not in MODELS:
        MODELS[service] = botocore.model.ServiceModel(LOADER.load_service_model(service, "service-2"), service)
    return MODELS[service]


def local(tag):
    return tag.rsplit("}", 1)[-1]


def scalar(shape, text, path):
    text = text or ""
    kind = shape.type_name
    if kind in ("integer", "long") and not re.fullmatch(r"-?\d+", text):
        yield f"{path}: {text!r} is no {kind}"
    elif kind in ("float", "double") and not re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", text):
        yield f"{path}: {text!r} is no {kind}"
    elif kind == "boolean" and text not in ("true", "false"):
        yield f"{path}: {text!r} is no boolean"
    elif kind == "timestamp" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", text):
        yield f"{path}: {text!r} is no timestamp"
    elif kind == "string" and shape.enum and text not in shape.enum:
        yield f"{path}: {text!r} is not in the enum of {shape.name}"


def check(shape, node, path):
    """What is wrong with an element of this shape."""
    kind = shape.type_name
    if kind == "structure":
        yield from structure(shape, node, path)
    elif kind == "list":
        item = shape.member.serialization.get("name", "member")
        for number, child in enumerate(node):
            if local(child.tag) != item:
                yield f"{path}: a list of {item} has a {local(child.tag)}"
            yield from check(shape.member, child, f"{path}[{number}]")
    elif kind == "map":
        yield f"{path}: maps are not checked"
    elif len(node):
        yield f"{path}: a {kind} has elements in it"
    else:
        yield from scalar(shape, node.text, path)


def structure(shape, node, path, ignored=()):
    names = {}
    for name, member in shape.members.items():
        if member.type_name == "list" and member.serialization.get("flattened"):
            names[member.member.serialization.get("name", member.serialization.get("name", name))] = name
        else:
            names[member.serialization.get("name", name)] = name
    seen = set()
    for child in node:
        tag = local(child.tag)
        if tag in ignored:
            continue
        if tag not in names:
            yield f"{path}: {shape.name} has no member {tag}"
            continue
        if tag in seen and not shape.members[names[tag]].serialization.get("flattened"):
            yield f"{path}: {tag} is there twice"
        seen.add(tag)
        member = shape.members[names[tag]]
        if member.serialization.get("flattened"):
            member = member.member
        if not len(child) and child.text == BEYOND_THE_ENUM.get((shape.name, names[tag]), ""):
            if child.text in member.enum:
                yield f"{path}.{names[tag]}: {child.text!r} needs no exception any more"
            continue
        yield from check(member, child, f"{path}.{names[tag]}")
    for name in shape.required_members:
        if shape.members[name].serialization.get("xmlAttribute"):
            prefix, attribute = shape.members[name].serialization["name"].split(":")
            if "{" + shape.serialization["xmlNamespace"]["uri"] + "}" + attribute not in node.attrib:
                yield f"{path}: the required attribute {prefix}:{attribute} is missing"
        elif not any(names.get(tag) == name for tag in seen):
            yield f"{path}: the required member {name} is missing"


def leaves(value):
    if isinstance(value, dict):
        return sum(leaves(v) for v in value.values())
    if isinstance(value, list):
        return sum(leaves(v) for v in value)
    return 1


def problems(line):
    service, operation, status = line["service"], line["operation"], line["status"]
    protocol = model(service).metadata["protocol"]
    parser = botocore.parsers.create_parser(protocol)
    headers = HeadersDict(line.get("headers", {}))
    response = {"status_code": status, "headers": headers, "body": line["body"].encode()}
    if line.get("method") == "HEAD" or status == 304:
        if line["body"]:
            yield "a reply without a body has one"
        if status >= 300:
            return
    if status >= 300:
        parsed = parser.parse(response, None)
        for key in ("Code", "Message"):
            if not parsed.get("Error", {}).get(key):
                yield f"an error without {key}"
        if not parsed.get("ResponseMetadata", {}).get("RequestId"):
            yield "an error without a request id"
        return
    shape = model(service).operation_model(operation).output_shape
    parsed = parser.parse(response, shape)
    if protocol == "rest-xml":
        yield from rest_xml(operation, shape, line)
        return
    if not parsed.pop("ResponseMetadata", {}).get("RequestId"):
        yield "a reply without a request id"
    root = ET.fromstring(line["body"])
    if local(root.tag) != f"{operation}Response":
        yield f"the root is {local(root.tag)}"
    namespace = model(service).metadata.get("xmlNamespace") or f"http://ec2.amazonaws.com/doc/{model(service).api_version}/"
    namespace = namespace if not isinstance(namespace, dict) else namespace["uri"]
    if not root.tag.startswith("{" + namespace):
        yield f"the namespace of {root.tag} is not {namespace}"
    if protocol == "query":
        result = next((c for c in root if local(c.tag) == f"{operation}Result"), None)
        if shape is not None and result is None:
            yield f"no {operation}Result"
            return
        root = result if result is not None else root
    if shape is None:
        # EC2 answers `<return>true</return>` where its model has no output.
        for child in root:
            if local(child.tag) not in ENVELOPE | {"return"}:
                yield f"unexpected element {local(child.tag)}"
        return
    yield from structure(shape, root, operation, ENVELOPE)
    here = sum(1 for e in root.iter() if not len(e) and local(e.tag) not in ENVELOPE | {"RequestId"})
    # An empty list is an element without a leaf in what was parsed.
    empty = sum(1 for e in root.iter() if not len(e) and not (e.text or "").strip())
    if not here - empty <= leaves(parsed) <= here:
        yield f"botocore parsed {leaves(parsed)} values out of {here} elements"


def rest_xml(operation, shape, line):
    """What is wrong with a reply whose members are headers and a body."""
    members = shape.members if shape is not None else {}
    places = {m.serialization["name"].lower(): m for m in members.values() if m.serialization.get("location") == "header"}
    for name, value in line["headers"].items():
        if name in places:
            if places[name].type_name in ("string", "integer", "long", "boolean"):
                yield from scalar(places[name], value, f"{operation}.{name}")
        elif name.startswith("x-amz-") and name not in OF_ALL and not name.startswith("x-amz-meta-"):
            yield f"{operation} has no header {name}"
    payload = shape.serialization.get("payload") if shape is not None else None
    if payload and members[payload].type_name != "structure":
        return
    body = {n: m for n, m in members.items() if "location" not in m.serialization}
    if not body:
        if line["body"]:
            yield "a reply without a body has one"
        return
    root = ET.fromstring(line["body"])
    if not root.tag.startswith("{" + NAMESPACES[line["service"]] + "}"):
        yield f"the root {root.tag} has no namespace"
    if operation == "GetBucketLocation":
        return
    if payload:
        yield from structure(members[payload], root, operation)
    else:
        yield from structure(Body(shape, body), root, operation)


class Body:
    """The members of a structure that are in the body."""

    def __init__(self, shape, members):
        self.name, self.members = shape.name, members
        self.required_members = [name for name in shape.required_members if name in members]


def main():
    files = [open(name, encoding="utf-8") for name in sys.argv[1:]] or [sys.stdin]
    wrong = total = 0
    for line in (line for file in files for line in file):
        line = json.loads(line)
        total += 1
        for problem in problems(line):
            wrong += 1
            print(f"{line['service']}:{line['operation']} ({line.get('case', '?')}): {problem}")
    print(f"{total} replies checked, {wrong} problems")
    sys.exit(1 if wrong or not total else 0)


if __name__ == "__main__":
    main()
