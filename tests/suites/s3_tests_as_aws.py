"""A part of the plugin: what the suite asks for in a form of RGW's or of old, it asks for here in Amazon's form of today, so that what a
test is about is judged, and not the form. What was wrong stays wrong. A test that needed it says so in its result (`AS_AWS`).

- Forms: the suite signs them by version 2, which Amazon refuses for new buckets. The policy gets the conditions that version 4 needs and
  is signed by version 4; a wrong signature gives a wrong one, an unknown key stays unknown.
- Headers: the signer and the HTTP library of today put back what a test takes away, or displaced. It is taken away behind them.
- Access logs: the suite's policies name the account by the id that ACLs have, allow the log's prefix as if it were a whole key, and
  give two statements one id."""

import base64
import configparser
import datetime
import functools
import hashlib
import hmac
import http.client
import io
import json
import os
import urllib.parse

import boto3
import requests
import urllib3
from botocore.awsrequest import AWSResponse

REGION = "us-east-1"
FORMS, HEADERS, LOGS = "forms", "headers", "access logs"


def accounts():
    """The worker's accounts, as its configuration has them."""
    config = configparser.RawConfigParser()
    config.read(os.environ["S3TEST_CONF"])
    return [section for _, section in config.items() if "access_key" in section]


# ---- forms

def mac(key, text, how=hashlib.sha256):
    return hmac.new(key, text.encode() if isinstance(text, str) else text, how).digest()


def with_conditions(policy, added):
    """The policy with more conditions. What isn't one stays as it is: it is to be refused for that."""
    try:
        document = json.loads(base64.b64decode(policy))
        document["conditions"] += [{name: value} for name, value in added.items()]
    except (ValueError, KeyError, TypeError):
        return policy
    return base64.b64encode(json.dumps(document).encode())


def form_v4(fields):
    """The fields of a form, signed by version 4; none if they aren't signed by version 2."""
    old = {name.lower(): value for name, value in fields.items()}
    if not {"awsaccesskeyid", "signature", "policy"} <= old.keys():
        return None
    access_key, policy = old["awsaccesskeyid"], old["policy"]
    secret = next((account["secret_key"] for account in accounts() if account["access_key"] == access_key), "")
    now = datetime.datetime.now(datetime.timezone.utc)
    scope = [now.strftime("%Y%m%d"), REGION, "s3", "aws4_request"]
    added = {"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": "/".join([access_key, *scope]),
             "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")}
    policy_v4 = with_conditions(policy, added)
    signature = mac(functools.reduce(mac, scope, f"AWS4{secret}".encode()), policy_v4).hex()
    if not hmac.compare_digest(base64.b64encode(mac(secret.encode(), policy, hashlib.sha1)), old["signature"]):
        signature = signature[::-1]
    out = {}
    for name, value in fields.items():
        if name.lower() == "awsaccesskeyid":
            out |= added
        elif name.lower() == "signature":
            out["x-amz-signature"] = signature
        else:
            out[name] = policy_v4 if name.lower() == "policy" else value
    return out


def forms(used):
    post = requests.post

    def posted(url, *words, files=None, **more):
        if isinstance(files, dict) and (signed := form_v4(files)):
            used(FORMS)
            files = signed
        return post(url, *words, files=files, **more)

    requests.post = posted


# ---- headers

def sent_raw(request):
    """The answer to a request of exactly these headers, without a body."""
    url = urllib.parse.urlsplit(request.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=60)
    connection.putrequest(request.method, url.path + (f"?{url.query}" if url.query else ""), skip_host="Host" in request.headers,
                          skip_accept_encoding=True)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = urllib3.HTTPResponse(io.BytesIO(answer.read()), headers=answer.getheaders(), status=answer.status, preload_content=False)
    connection.close()
    return AWSResponse(request.url, answer.status, body.headers, body)


def headers(module, used):
    """Wraps the suite's functions that send a request with headers set (a dict) or one taken away (a name)."""

    def wrap(call):
        @functools.wraps(call)
        def wrapped(wanted, client=None):
            client = client or module.get_client()
            # A test that takes the date away means the one that the signer writes, too.
            taken = ([wanted, "Date"] if wanted == "x-amz-date" else [wanted]) if isinstance(wanted, str) else []
            given = {} if isinstance(wanted, str) else {name: value for name, value in wanted.items() if name == "Authorization"}

            def change(request, **_):
                if not given and not {"Authorization", "Content-Length", "Date"} & set(taken):
                    return None
                used(HEADERS)
                for name in [*taken, *given]:
                    request.headers.pop(name, None)
                for name, value in given.items():
                    request.headers[name] = value
                if "Content-Length" not in taken:
                    return None
                # Without its length there is no body, and no use in waiting to send it.
                request.headers.pop("Expect", None)
                return sent_raw(request)

            for operation in ["PutObject", "CreateBucket"]:
                client.meta.events.register(f"before-send.s3.{operation}", change)
            return call(wanted, client)

        return wrapped

    for name in ["_add_header_create_bad_object", "_remove_header_create_bad_object", "_add_header_create_bad_bucket",
                 "_remove_header_create_bad_bucket"]:
        setattr(module, name, wrap(getattr(module, name)))


# ---- access logs

def is_for_logs(statement):
    principal = statement.get("Principal")
    return isinstance(principal, dict) and str(principal.get("Service", "")).startswith("logging.s3.amazonaws.com")


def policy_of_logs(text):
    """A policy for access logs as Amazon wants it; none if it isn't one."""
    try:
        policy = json.loads(text)
    except ValueError:
        return None
    statements = policy.get("Statement")
    if not isinstance(statements, list) or not any(is_for_logs(statement) for statement in statements):
        return None
    numbers = {account["user_id"]: account["account_number"] for account in accounts()}
    for n, statement in enumerate(statements):
        if not is_for_logs(statement):
            continue
        statement["Sid"] = f"{statement.get('Sid', '')}{n}"
        if isinstance(statement.get("Resource"), str):
            statement["Resource"] = statement["Resource"].rstrip("*") + "*"
        for condition in statement.get("Condition", {}).values():
            if condition.get("aws:SourceAccount") in numbers:
                condition["aws:SourceAccount"] = numbers[condition["aws:SourceAccount"]]
    return json.dumps(policy)


def logs(used):
    def policy(params, **_):
        if translated := policy_of_logs(params.get("Policy", "")):
            used(LOGS)
            params["Policy"] = translated

    boto3.setup_default_session()
    boto3.DEFAULT_SESSION.events.register("provide-client-params.s3.PutBucketPolicy", policy)
