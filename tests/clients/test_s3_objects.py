"""Objects of S3 as boto3 and bare requests see them: bodies, checksums, conditions, copies, encryption, locks. The cloud is simulated."""

import base64
import datetime
import hashlib
import http.client
import pathlib
import random
import re
import urllib.parse
import urllib.request
import uuid
import zlib

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import pytest
from botocore.config import Config
from s3_client import noise, refused

MIB = 1 << 20
LATER = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def bare(cloud):
    """A signed request that no client library makes: (status, headers, body)."""
    env = cloud.environment()
    keys = botocore.credentials.Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])

    def send(method, path, body=b"", says=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = botocore.awsrequest.AWSRequest(method=method, url=f"http://{cloud.listen}{path}", headers=headers, data=body)
        signer = botocore.auth.S3SigV4Auth(keys, "s3", env["AWS_DEFAULT_REGION"])
        signer.payload = lambda _: says or hashlib.sha256(body).hexdigest()
        signer.add_auth(request)
        connection = http.client.HTTPConnection(cloud.listen, timeout=30)
        try:
            connection.request(method, path, body, dict(request.headers.items()))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    return send


def code(answer):
    status, _, body = answer
    return body.split(b"<Code>")[1].split(b"</Code>")[0].decode(), status


@pytest.mark.parametrize("size", [0, 1, 4096, 16 * 1024, 16 * 1024 + 1, 5 * MIB + 3])
@pytest.mark.parametrize("sealed", ["plain", "engine", "customer"])
def test_a_body_comes_back_whole_and_in_ranges(s3, bucket, size, sealed):
    body = noise(size)
    key = dict(SSECustomerAlgorithm="AES256", SSECustomerKey=noise(32, 7)) if sealed == "customer" else {}
    how = dict(ServerSideEncryption="AES256") if sealed == "engine" else key
    s3.put_object(Bucket=bucket, Key="k", Body=body, **how)
    got = s3.get_object(Bucket=bucket, Key="k", **key)
    assert got["Body"].read() == body
    assert (got["ETag"].strip('"') == hashlib.md5(body).hexdigest()) == (sealed != "customer")
    assert got.get("ServerSideEncryption") == ("AES256" if sealed == "engine" else None), "only what is sealed is said to be"
    if not size:
        assert refused(s3.get_object, Bucket=bucket, Key="k", Range="bytes=0-0", **key) == ("InvalidRange", 416)
        return
    rng = random.Random(size)
    for _ in range(5):
        first = rng.randrange(size)
        last = rng.randrange(first, size)
        part = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={first}-{last}", **key)
        assert part["Body"].read() == body[first:last + 1]
        assert part["ContentRange"] == f"bytes {first}-{last}/{size}"
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=-7", **key)["Body"].read() == body[-7:]
    assert refused(s3.get_object, Bucket=bucket, Key="k", Range=f"bytes={size}-", **key) == ("InvalidRange", 416)


def test_nothing_of_a_sealed_body_lies_on_the_disk(cloud, s3, bucket):
    words = b"a sentence that is nowhere else: " + uuid.uuid4().hex.encode()
    body = words * (2 * MIB // len(words))
    found = lambda: [p for p in pathlib.Path(cloud.data_dir).rglob("*") if p.is_file() and words in p.read_bytes()]
    s3.put_object(Bucket=bucket, Key="large", Body=body, ServerSideEncryption="AES256")
    s3.put_object(Bucket=bucket, Key="small", Body=words, ServerSideEncryption="aws:kms")
    s3.put_object(Bucket=bucket, Key="own", Body=body, SSECustomerAlgorithm="AES256", SSECustomerKey=noise(32))
    assert found() == []
    s3.put_object(Bucket=bucket, Key="plain", Body=body)
    assert found() != [], "the search finds what isn't sealed"


def file_of(cloud, body):
    """The only file that begins with these bytes."""
    files = [path for path in pathlib.Path(cloud.data_dir, "objects").rglob("*") if path.is_file() and path.stat().st_size >= len(body)]
    [file] = [path for path in files if path.open("rb").read(len(body)) == body]
    return file


def test_a_damaged_body_is_an_error(cloud, s3, bucket):
    body = noise(100_003)
    s3.put_object(Bucket=bucket, Key="damaged", Body=body)
    file_of(cloud, body).write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    assert refused(s3.get_object, Bucket=bucket, Key="damaged") == ("InternalError", 500)
    s3.delete_object(Bucket=bucket, Key="damaged")


@pytest.mark.parametrize("sealed", [{}, {"ServerSideEncryption": "AES256"}])
def test_a_damaged_range_is_neither_sent_nor_copied(cloud, s3, bucket, sealed):
    body, at = noise(6 * MIB), 3 * MIB + 300_000
    before = set(pathlib.Path(cloud.data_dir, "objects", "files").rglob("*"))
    s3.put_object(Bucket=bucket, Key="damaged", Body=body, **sealed)
    [file] = [path for path in set(pathlib.Path(cloud.data_dir, "objects", "files").rglob("*")) - before if path.is_file()]
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 16]))
    over, elsewhere = f"bytes={3 * MIB}-{4 * MIB}", f"bytes=0-{2 * MIB - 1}"
    assert refused(s3.get_object, Bucket=bucket, Key="damaged", Range=over) == ("InternalError", 500)
    assert s3.get_object(Bucket=bucket, Key="damaged", Range=elsewhere)["Body"].read() == body[: 2 * MIB]
    source = {"Bucket": bucket, "Key": "damaged"}
    upload = dict(Bucket=bucket, Key="copy", UploadId=s3.create_multipart_upload(Bucket=bucket, Key="copy")["UploadId"])
    part = lambda number, there: s3.upload_part_copy(PartNumber=number, CopySource=source, CopySourceRange=there, **upload)
    assert refused(part, number=1, there=over) == ("InternalError", 500)
    part(2, elsewhere)
    assert [p["PartNumber"] for p in s3.list_parts(**upload)["Parts"]] == [2]
    assert refused(s3.copy_object, Bucket=bucket, Key="copy", CopySource=source) == ("InternalError", 500)
    s3.abort_multipart_upload(**upload)
    s3.delete_object(Bucket=bucket, Key="damaged")


def test_keys_and_what_is_kept_with_an_object(s3, bucket):
    for key in ["a/../../b", "..", "ü/日本 +&?=#%25", "\x01\x7f", "k" * 1024, "//x//"]:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert refused(s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"") == ("KeyTooLongError", 400)
    said = dict(ContentType="text/x", CacheControl="no-store", ContentDisposition="attachment", ContentEncoding="br",
                ContentLanguage="de", Metadata={"a": "1", "b": "x y"}, StorageClass="STANDARD_IA", WebsiteRedirectLocation="/there")
    s3.put_object(Bucket=bucket, Key="k", Body=b"", **said)
    found = s3.head_object(Bucket=bucket, Key="k")
    assert {name: found[name] for name in said} == said
    shown = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="text/y", ResponseCacheControl="private")
    assert (shown["ContentType"], shown["CacheControl"], shown["ContentLanguage"]) == ("text/y", "private", "de")
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"")["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.head_object(Bucket=bucket, Key="k")["ContentType"] == "binary/octet-stream", "nothing of the old is left"
    put = lambda **words: refused(s3.put_object, Bucket=bucket, Key="bad", Body=b"", **words)
    assert put(Metadata={"a": "x" * 2048}) == ("MetadataTooLarge", 400)
    assert put(StorageClass="TAPE") == ("InvalidStorageClass", 400)
    assert put(WebsiteRedirectLocation="there") == ("InvalidRedirectLocation", 400)
    assert refused(s3.head_object, Bucket=bucket, Key="bad") == ("404", 404), "what is refused leaves nothing"


def test_checksums_are_compared(s3, bare, bucket):
    b64 = lambda data: base64.b64encode(data).decode()
    body = b"123456789"
    for name, value in [("crc32", "y/Q5Jg=="), ("crc32c", "4waSgw=="), ("crc64nvme", "rosUhgp5mIg="), ("sha1", b64(hashlib.sha1(body).digest())),
                        ("sha256", b64(hashlib.sha256(body).digest())), ("sha512", b64(hashlib.sha512(body).digest())),
                        ("md5", b64(hashlib.md5(body).digest())), ("xxhash64", b64(bytes.fromhex("8cb841db40e6ae83")))]:
        header = {f"x_amz_checksum_{name}": value}
        status, headers, _ = bare("PUT", f"/{bucket}/k", body, **header)
        assert (status, headers[f"x-amz-checksum-{name}"], headers["x-amz-checksum-type"]) == (200, value, "FULL_OBJECT"), name
        _, headers, _ = bare("HEAD", f"/{bucket}/k", x_amz_checksum_mode="ENABLED")
        assert headers[f"x-amz-checksum-{name}"] == value
        assert code(bare("PUT", f"/{bucket}/bad", b"12345678", **header)) == ("BadDigest", 400), name
    assert code(bare("PUT", f"/{bucket}/bad", body, Content_MD5=b64(hashlib.md5(b"").digest()))) == ("BadDigest", 400)
    assert code(bare("PUT", f"/{bucket}/bad", body, Content_MD5="YWJj")) == ("InvalidDigest", 400)
    assert code(bare("PUT", f"/{bucket}/bad", body, x_amz_checksum_crc32="AAAA")) == ("InvalidRequest", 400)
    assert code(bare("PUT", f"/{bucket}/bad", body, says="0" * 64)) == ("XAmzContentSHA256Mismatch", 400)
    status, headers, _ = bare("PUT", f"/{bucket}/k", body)
    assert (status, headers["x-amz-checksum-crc64nvme"]) == (200, "rosUhgp5mIg="), "S3's own, if the client has none"
    assert refused(s3.head_object, Bucket=bucket, Key="bad") == ("404", 404)
    document = b"<Delete><Object><Key>k</Key></Object></Delete>"
    assert code(bare("POST", f"/{bucket}?delete", document, Content_MD5=b64(hashlib.md5(b"").digest()))) == ("BadDigest", 400)
    assert code(bare("POST", f"/{bucket}?delete", document)) == ("InvalidRequest", 400)
    assert s3.head_object(Bucket=bucket, Key="k")


def test_a_body_in_one_chunk_takes_little_memory(cloud, s3, bare, bucket):
    """As the clients of AWS's common runtime send parts."""
    most = lambda: int(next(line.split()[1] for line in open(f"/proc/{cloud.process.pid}/status") if line.startswith("VmHWM")))
    body = noise(100 * MIB)
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    chunk = lambda crc: b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % (len(body), body, crc.encode())
    headers = dict(x_amz_trailer="x-amz-checksum-crc32", x_amz_decoded_content_length=str(len(body)), content_encoding="aws-chunked")
    before = most()
    assert bare("PUT", f"/{bucket}/k", chunk(crc), says="STREAMING-UNSIGNED-PAYLOAD-TRAILER", **headers)[0] == 200
    assert most() - before < 32 * 1024, "KiB"
    found = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (found["ContentLength"], found["ChecksumCRC32"], "ContentEncoding" in found) == (len(body), crc, False)
    assert code(bare("PUT", f"/{bucket}/k2", chunk("AAAAAA=="), says="STREAMING-UNSIGNED-PAYLOAD-TRAILER", **headers)) == ("BadDigest", 400)
    assert most() - before < 32 * 1024, "KiB"
    assert hashlib.md5(s3.get_object(Bucket=bucket, Key="k")["Body"].read()).digest() == hashlib.md5(body).digest()
    assert most() - before < 32 * 1024, "KiB"


def test_conditions(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == ("PreconditionFailed", 412)
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfMatch='"no"') == ("PreconditionFailed", 412)
    assert refused(s3.put_object, Bucket=bucket, Key="none", Body=b"2", IfMatch='"no"') == ("NoSuchKey", 404)
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfMatch=etag)
    at = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    before, after = at - datetime.timedelta(days=1), at + datetime.timedelta(days=1)
    get = lambda **words: s3.get_object(Bucket=bucket, Key="k", **words)["Body"].read()
    assert get(IfMatch=etag, IfUnmodifiedSince=before) == b"1", "the ETag wins"
    assert get(IfNoneMatch='"no"', IfModifiedSince=after) == b"1", "the ETag wins"
    assert refused(get, IfNoneMatch=etag, IfModifiedSince=before) == ("304", 304)
    assert refused(get, IfModifiedSince=at) == ("304", 304)
    assert refused(get, IfMatch='"no"') == ("PreconditionFailed", 412)
    assert refused(get, IfUnmodifiedSince=before) == ("PreconditionFailed", 412)
    assert refused(s3.delete_object, Bucket=bucket, Key="k", IfMatch='"no"') == ("PreconditionFailed", 412)
    assert s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag)["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_copies(s3, bucket):
    body = noise(5 * MIB)
    key = dict(SSECustomerAlgorithm="AES256", SSECustomerKey=noise(32))
    from_key = {f"CopySource{name}": value for name, value in key.items()}
    s3.put_object(Bucket=bucket, Key="von ü", Body=body, Metadata={"a": "b"}, ContentType="x/y", Tagging="t=1", **key)
    source = {"Bucket": bucket, "Key": "von ü"}
    copy = lambda to, **words: s3.copy_object(Bucket=bucket, Key=to, **{"CopySource": source, **words})
    assert refused(copy, to="to") == ("InvalidRequest", 400), "without its key"
    etag = copy("to", **from_key)["CopyObjectResult"]["ETag"]
    assert etag == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="to")
    assert (got["Body"].read() == body, got["Metadata"], got["ContentType"], got["TagCount"]) == (True, {"a": "b"}, "x/y", 1)
    plain = {"Bucket": bucket, "Key": "to"}
    assert refused(copy, to="to", CopySource=plain) == ("InvalidRequest", 400), "to itself, and nothing changes"
    copy("to", CopySource=plain, MetadataDirective="REPLACE", Metadata={"c": "d"}, TaggingDirective="REPLACE", Tagging="")
    got = s3.head_object(Bucket=bucket, Key="to")
    assert (got["Metadata"], got["ContentType"], "TagCount" in got) == ({"c": "d"}, "binary/octet-stream", False)
    for condition in [dict(CopySourceIfMatch='"no"'), dict(CopySourceIfNoneMatch=etag), dict(CopySourceIfModifiedSince=LATER),
                      dict(CopySourceIfUnmodifiedSince=datetime.datetime(2000, 1, 1))]:
        assert refused(copy, to="2", CopySource=plain, **condition) == ("PreconditionFailed", 412), condition
    assert refused(copy, to="2", CopySource={"Bucket": bucket, "Key": "none"}) == ("NoSuchKey", 404)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="v", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="v", Body=b"2")["VersionId"]
    back = copy("v", CopySource={"Bucket": bucket, "Key": "v", "VersionId": first})
    assert back["CopySourceVersionId"] == first and back["VersionId"] not in (first, second)
    assert s3.get_object(Bucket=bucket, Key="v")["Body"].read() == b"1", "an old version is current again"
    marker = s3.delete_object(Bucket=bucket, Key="v")["VersionId"]
    assert refused(copy, to="2", CopySource={"Bucket": bucket, "Key": "v"}) == ("NoSuchKey", 404)
    assert refused(copy, to="2", CopySource={"Bucket": bucket, "Key": "v", "VersionId": marker}) == ("InvalidRequest", 400)


def test_many_are_deleted_and_each_is_answered(s3, bucket):
    for n in range(5):
        s3.put_object(Bucket=bucket, Key=f"k{n}", Body=b"")
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k0"}, {"Key": "none"}, {"Key": "k1", "VersionId": "what"}]})
    assert [d["Key"] for d in done["Deleted"]] == ["k0", "none"]
    assert [(e["Key"], e["Code"]) for e in done["Errors"]] == [("k1", "InvalidArgument")]
    assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete={"Quiet": True, "Objects": [{"Key": "k2"}]})
    many = {"Objects": [{"Key": str(n)} for n in range(1001)]}
    assert refused(s3.delete_objects, Bucket=bucket, Delete=many) == ("MalformedXML", 400)
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k1", "k3", "k4"]


def test_archived_objects_are_restored_before_they_are_read(s3, bucket, cloud):
    s3.put_object(Bucket=bucket, Key="old", Body=b"tape", StorageClass="GLACIER")
    assert refused(s3.get_object, Bucket=bucket, Key="old")[0] == "InvalidObjectState"
    days = dict(Days=2, GlacierJobParameters={"Tier": "Expedited"})
    assert s3.restore_object(Bucket=bucket, Key="old", RestoreRequest=days)["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert s3.restore_object(Bucket=bucket, Key="old", RestoreRequest=days)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_object(Bucket=bucket, Key="old")["Body"].read() == b"tape"
    assert s3.head_object(Bucket=bucket, Key="old")["Restore"].startswith('ongoing-request="false", expiry-date="')
    [listed] = s3.list_objects_v2(Bucket=bucket, OptionalObjectAttributes=["RestoreStatus"])["Contents"]
    left = listed["RestoreStatus"]["RestoreExpiryDate"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=2) < left <= datetime.timedelta(days=3)
    # A copy of it is an object like any other; itself it stays archived.
    s3.copy_object(Bucket=bucket, Key="new", CopySource=f"{bucket}/old", StorageClass="STANDARD")
    assert refused(s3.restore_object, Bucket=bucket, Key="new", RestoreRequest=days)[0] == "InvalidObjectState"
    other = cloud.client("s3", cloud.account("archive-other"))
    assert refused(other.restore_object, Bucket=bucket, Key="old", RestoreRequest=days)[0] == "AccessDenied"


def test_attributes(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", ChecksumAlgorithm="SHA256")["UploadId"]
    parts = []
    for number, size in [(1, 5 * MIB), (4, 5 * MIB), (9, 7)]:
        words = dict(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=number, Body=noise(size, number), ChecksumAlgorithm="SHA256")
        part = s3.upload_part(**words)
        parts.append(dict(PartNumber=number, ETag=part["ETag"], ChecksumSHA256=part["ChecksumSHA256"]))
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    ask = lambda **words: s3.get_object_attributes(Bucket=bucket, Key="parts", **words)
    got = ask(ObjectAttributes=["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"], MaxParts=2, PartNumberMarker=1)
    assert (got["ObjectSize"], got["StorageClass"], got["Checksum"]["ChecksumType"]) == (10 * MIB + 7, "STANDARD", "COMPOSITE")
    assert got["ETag"].endswith("-3") and '"' not in got["ETag"]
    shown = [(p["PartNumber"], p["Size"], p["ChecksumSHA256"]) for p in got["ObjectParts"]["Parts"]]
    assert [(size, sum256) for _, size, sum256 in shown] == [(5 * MIB, parts[1]["ChecksumSHA256"]), (7, parts[2]["ChecksumSHA256"])]
    assert (got["ObjectParts"]["TotalPartsCount"], got["ObjectParts"]["IsTruncated"]) == (3, False)
    assert set(ask(ObjectAttributes=["ObjectSize"])) - {"ResponseMetadata", "LastModified"} == {"ObjectSize"}
    second = s3.get_object(Bucket=bucket, Key="parts", PartNumber=2)
    assert second["Body"].read() == noise(5 * MIB, 4)
    assert (second["PartsCount"], second["ContentRange"]) == (3, f"bytes {5 * MIB}-{10 * MIB - 1}/{10 * MIB + 7}")
    assert refused(s3.get_object, Bucket=bucket, Key="parts", PartNumber=4) == ("InvalidPartNumber", 416)


def test_tags(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Tagging=urllib.parse.urlencode({"a": "1 2", "ü": ""}))
    tags = lambda: {t["Key"]: t["Value"] for t in s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]}
    put = lambda *pairs: s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [dict(Key=k, Value=v) for k, v in pairs]})
    assert tags() == {"a": "1 2", "ü": ""}
    put(("b", "3"))
    assert tags() == {"b": "3"}
    for wrong, answer in [([("a", "1"), ("a", "2")], "InvalidTag"), ([("k" * 129, "")], "InvalidTag"), ([("k", "v" * 257)], "InvalidTag"),
                          ([("aws:x", "")], "InvalidTag"), ([(f"k{n}", "") for n in range(11)], "BadRequest")]:
        with pytest.raises(botocore.exceptions.ClientError) as error:
            put(*wrong)
        assert error.value.response["Error"]["Code"] == answer
    assert tags() == {"b": "3"}
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags() == {}


def test_encryption_is_asked_for_rightly(s3, bucket):
    put = lambda **words: refused(s3.put_object, Bucket=bucket, Key="k", Body=b"", **words)
    key = dict(SSECustomerAlgorithm="AES256", SSECustomerKey=noise(32))
    assert put(ServerSideEncryption="AES257") == ("InvalidArgument", 400)
    assert put(ServerSideEncryption="AES256", **key) == ("InvalidArgument", 400)
    assert put(ServerSideEncryption="aws:kms", SSEKMSKeyId="nobodys") == ("KMS.NotFoundException", 400)
    assert put(ServerSideEncryption="aws:kms:dsse") == ("NotImplemented", 501)
    assert put(**{**key, "SSECustomerAlgorithm": "DES"}) == ("InvalidEncryptionAlgorithmError", 400)
    encoded = dict(SSECustomerKey=base64.b64encode(noise(32)).decode(), SSECustomerKeyMD5=base64.b64encode(bytes(16)).decode())
    assert put(SSECustomerAlgorithm="AES256", **encoded) == ("InvalidArgument", 400), "the MD5 of another key"
    s3.put_object(Bucket=bucket, Key="own", Body=b"x", **key)
    assert refused(s3.get_object, Bucket=bucket, Key="own") == ("InvalidRequest", 400)
    assert refused(s3.get_object, Bucket=bucket, Key="own", **{**key, "SSECustomerKey": noise(32, 2)}) == ("AccessDenied", 403)
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    assert refused(s3.get_object, Bucket=bucket, Key="plain", **key) == ("InvalidRequest", 400)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    made = s3.put_object(Bucket=bucket, Key="default", Body=b"x")
    assert made["ServerSideEncryption"] == "aws:kms" and made["SSEKMSKeyId"].startswith("arn:aws:kms:")
    named = s3.put_object(Bucket=bucket, Key="named", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=made["SSEKMSKeyId"])
    assert named["SSEKMSKeyId"] == made["SSEKMSKeyId"]


@pytest.mark.parametrize("how", ["kms", "customer"])
def test_an_etag_of_what_a_key_seals_tells_nothing_of_it(s3, bucket, how):
    key = dict(SSECustomerAlgorithm="AES256", SSECustomerKey=noise(32, 7)) if how == "customer" else {}
    sealed = key or dict(ServerSideEncryption="aws:kms")
    body, same = noise(5 * MIB), dict(Bucket=bucket, Key="k")
    md5 = f'"{hashlib.md5(body).hexdigest()}"'
    b64md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    etags = [s3.put_object(**same, Body=body, ContentMD5=b64md5, **sealed)["ETag"] for _ in range(2)]
    assert len({md5, *etags}) == 3 and all(re.fullmatch('"[0-9a-f]{32}"', etag) for etag in etags)
    etag = etags[1]
    assert [s3.head_object(**same, **key)["ETag"], s3.get_object(**same, **key)["ETag"]] == [etag, etag]
    assert [found["ETag"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [etag]
    # botocore doesn't encode this one's key.
    encoded = key and dict(key, SSECustomerKey=base64.b64encode(key["SSECustomerKey"]).decode(),
                           SSECustomerKeyMD5=base64.b64encode(hashlib.md5(key["SSECustomerKey"]).digest()).decode())
    assert s3.get_object_attributes(**same, ObjectAttributes=["ETag"], **encoded)["ETag"] == etag.strip('"')
    assert s3.get_object(**same, IfMatch=etag, **key)["Body"].read() == body
    assert refused(s3.get_object, **same, IfMatch=md5, **key) == ("PreconditionFailed", 412)
    assert refused(s3.put_object, **same, Body=b"", IfMatch=md5, **sealed) == ("PreconditionFailed", 412)
    wrong = base64.b64encode(bytes(16)).decode()
    assert refused(s3.put_object, **same, Body=body, ContentMD5=wrong, **sealed) == ("BadDigest", 400)

    source = {f"CopySource{name}": value for name, value in key.items()} | dict(CopySource=same)
    assert s3.copy_object(Bucket=bucket, Key="plain", **source)["CopyObjectResult"]["ETag"] == md5, "a plain copy's is its MD5"
    upload = dict(Bucket=bucket, Key="parts", UploadId=s3.create_multipart_upload(Bucket=bucket, Key="parts", **sealed)["UploadId"])
    parts = [s3.upload_part(PartNumber=1, Body=body, ContentMD5=b64md5, **upload, **key)["ETag"],
             s3.upload_part_copy(PartNumber=2, **upload, **source, **key)["CopyPartResult"]["ETag"]]
    assert len({md5, *parts}) == 3 and [p["ETag"] for p in s3.list_parts(**upload)["Parts"]] == parts
    named = lambda etags: {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]}
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload=named([md5, parts[1]])) == ("InvalidPart", 400)
    made = s3.complete_multipart_upload(**upload, MultipartUpload=named(parts))["ETag"]
    of_md5s = hashlib.md5(hashlib.md5(body).digest() * 2).hexdigest()
    assert re.fullmatch('"[0-9a-f]{32}-2"', made) and of_md5s not in made
    assert s3.head_object(Bucket=bucket, Key="parts", **key)["ETag"] == made


def test_locks(s3):
    bucket = f"locks-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    made = lambda key, **words: s3.put_object(Bucket=bucket, Key=key, Body=b"", **words)["VersionId"]
    gone = lambda key, version, **words: s3.delete_object(Bucket=bucket, Key=key, VersionId=version, **words)
    kept = dict(ObjectLockRetainUntilDate=LATER)
    governed, held = made("g", ObjectLockMode="GOVERNANCE", **kept), made("h", ObjectLockLegalHoldStatus="ON")
    assert refused(gone, key="g", version=governed) == ("AccessDenied", 403)
    assert refused(gone, key="h", version=held, BypassGovernanceRetention=True) == ("AccessDenied", 403)
    shown = s3.head_object(Bucket=bucket, Key="g")
    assert (shown["ObjectLockMode"], shown["ObjectLockRetainUntilDate"]) == ("GOVERNANCE", LATER)
    retain = lambda mode, until, **words: s3.put_object_retention(
        Bucket=bucket, Key="g", Retention=dict(Mode=mode, RetainUntilDate=until), **words)
    sooner = LATER - datetime.timedelta(days=1)
    assert refused(retain, mode="GOVERNANCE", until=sooner) == ("AccessDenied", 403)
    retain("GOVERNANCE", sooner, BypassGovernanceRetention=True)
    assert refused(retain, mode="GOVERNANCE", until=datetime.datetime(2020, 1, 1)) == ("InvalidArgument", 400)
    gone("g", governed, BypassGovernanceRetention=True)
    assert s3.get_object_legal_hold(Bucket=bucket, Key="h")["LegalHold"]["Status"] == "ON"
    s3.put_object_legal_hold(Bucket=bucket, Key="h", LegalHold={"Status": "OFF"})
    gone("h", held)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule})
    strict = made("c")
    assert s3.get_object_retention(Bucket=bucket, Key="c")["Retention"]["Mode"] == "COMPLIANCE"
    assert refused(gone, key="c", version=strict, BypassGovernanceRetention=True) == ("AccessDenied", 403)
    assert s3.delete_object(Bucket=bucket, Key="c")["DeleteMarker"], "a marker hides it, and deletes nothing"
    assert refused(made, key="x", ObjectLockMode="GOVERNANCE") == ("InvalidArgument", 400)
    assert refused(made, key="x", ObjectLockMode="SOFT", **kept) == ("InvalidArgument", 400)


def test_lengths_are_what_they_are_said_to_be(cloud, s3, bucket):
    presigner = cloud.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
    url = urllib.parse.urlsplit(presigner.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"}))

    def put(head, body=b""):
        connection = http.client.HTTPConnection(cloud.listen, timeout=30)
        try:
            connection.putrequest("PUT", f"{url.path}?{url.query}", skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": url.netloc, **head}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {}, answer.read()
        finally:
            connection.close()

    s3.put_object(Bucket=bucket, Key="read", Body=b"0123456789")
    url_of_read = presigner.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "read"})
    for asked, status, body in [("bytes=2-4", 206, b"234"), ("bytes=1-2,5-6", 200, b"0123456789"), ("lines=1-2", 200, b"0123456789"),
                                ("bytes=5-2", 200, b"0123456789"), (f"bytes=8-{1 << 63}", 206, b"89"), (f"bytes=0-{10 ** 30}", 206, b"0123456789"),
                                (f"bytes=-{10 ** 30}", 206, b"0123456789")]:
        with urllib.request.urlopen(urllib.request.Request(url_of_read, headers={"Range": asked})) as answer:
            assert (answer.status, answer.read()) == (status, body), asked
        # boto3 signs the range, too.
        answer = s3.get_object(Bucket=bucket, Key="read", Range=asked)
        assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()) == (status, body), asked
        assert s3.head_object(Bucket=bucket, Key="read", Range=asked)["ContentLength"] == len(body)
    assert refused(s3.get_object, Bucket=bucket, Key="read", Range=f"bytes={1 << 64}-") == ("InvalidRange", 416)
    assert code(put({"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n")) == ("MissingContentLength", 411)
    assert code(put({"Content-Length": str((5 << 30) + 1)})) == ("EntityTooLarge", 400)
    assert refused(s3.head_object, Bucket=bucket, Key="k") == ("404", 404)
    assert put({"Content-Length": "5"}, b"hello")[0] == 200
    other = urllib.parse.urlsplit(presigner.generate_presigned_url("put_object", Params={"Bucket": bucket + "x", "Key": "k"}))
    connection = http.client.HTTPConnection(cloud.listen, timeout=30)
    for _ in range(3):
        connection.request("PUT", f"{other.path}?{other.query}", bytes(8 * MIB), {"Host": other.netloc})
        answer = connection.getresponse()
        assert code((answer.status, {}, answer.read())) == ("NoSuchBucket", 404), "a client that writes on reads the refusal"
    connection.close()


def test_http_1_1_wants_a_host(cloud, bucket):
    connection = http.client.HTTPConnection(cloud.listen, timeout=30)
    connection.putrequest("GET", f"/{bucket}/k", skip_host=True)
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, b"<Code>BadRequest</Code>" in answer.read()) == (400, True)
    connection.close()


def test_errors_name_what_they_are_about(s3, bucket):
    def error(call, **arguments):
        with pytest.raises(botocore.exceptions.ClientError) as refusal:
            call(**arguments)
        said = refusal.value.response
        return {name: value for name, value in said["Error"].items() if name not in ("Code", "Message", "Resource")}, said["ResponseMetadata"]

    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="a & b", Body=b"0123456789")
    there = dict(Bucket=bucket, Key="a & b")
    assert error(s3.delete_bucket, Bucket=bucket)[0]["BucketName"] == bucket
    assert error(s3.get_object, Bucket="no-" + bucket, Key="k")[0]["BucketName"] == "no-" + bucket
    assert error(s3.get_object, Bucket=bucket, Key="<none>")[0]["Key"] == "<none>"
    copy = dict(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "source"})
    assert error(s3.copy_object, **copy)[0]["Key"] == "source"
    copy["CopySource"]["Bucket"] = "no-" + bucket
    assert error(s3.copy_object, **copy)[0]["BucketName"] == "no-" + bucket
    said, _ = error(s3.get_object, **there, Range="bytes=10-")
    assert (said["RangeRequested"], said["ActualObjectSize"]) == ("bytes=10-", "10")
    assert error(s3.get_object, **there, IfMatch="other")[0]["Condition"] == "If-Match"
    assert error(s3.put_object, **there, IfNoneMatch="*")[0]["Condition"] == "If-None-Match"
    said, _ = error(s3.upload_part, **there, UploadId="none", PartNumber=0, Body=b"")
    assert (said["ArgumentName"], said["ArgumentValue"]) == ("partNumber", "0")
    assert error(s3.upload_part, **there, UploadId="none", PartNumber=1, Body=b"")[0]["UploadId"] == "none"
    marker = s3.delete_object(**there)["VersionId"]
    _, gone = error(s3.get_object, **there)
    assert (gone["HTTPHeaders"]["x-amz-delete-marker"], gone["HTTPHeaders"]["x-amz-version-id"]) == ("true", marker)
    said, gone = error(s3.get_object, **there, VersionId=marker)
    assert (said["Method"], said["ResourceType"]) == ("GET", "DeleteMarker")
    assert gone["HTTPStatusCode"] == 405 and gone["HTTPHeaders"]["allow"] == "DELETE" and "last-modified" in gone["HTTPHeaders"]
