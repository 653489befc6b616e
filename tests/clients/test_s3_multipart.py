"""S3's uploads in parts, as boto3 sees them. The cloud is simulated, its files are real."""

import base64
import concurrent.futures
import hashlib
import zlib

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from s3_client import refused

MIB = 1 << 20
SMALLEST = 5 * MIB


def begin(s3, bucket, key="k", **arguments):
    return dict(Bucket=bucket, Key=key, UploadId=s3.create_multipart_upload(Bucket=bucket, Key=key, **arguments)["UploadId"])


def fill(s3, upload, bodies, **arguments):
    """Uploads bodies by number. Returns what CompleteMultipartUpload wants."""
    made = [(number, s3.upload_part(**upload, PartNumber=number, Body=body, **arguments)) for number, body in bodies.items()]
    return {"Parts": [{"PartNumber": number, "ETag": reply["ETag"]} for number, reply in made]}


def body_of(s3, bucket, key="k", **arguments):
    return s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


def test_parts_become_an_object(s3, bucket):
    upload = begin(s3, bucket, Metadata={"a": "b"}, ContentType="text/x", Tagging="x=y", CacheControl="no-store")
    bodies = {3: b"a" * SMALLEST, 7: b"b" * SMALLEST, 10000: b"end"}
    parts = fill(s3, upload, bodies)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    made = s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    digests = b"".join(hashlib.md5(body).digest() for body in bodies.values())
    assert made["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    assert made["Location"].endswith(f"/{bucket}/k") and made["Bucket"] == bucket and made["Key"] == "k"
    reply = s3.get_object(Bucket=bucket, Key="k")
    assert reply["Body"].read() == b"".join(bodies.values())
    assert (reply["ETag"], reply["Metadata"], reply["ContentType"], reply["CacheControl"], reply["TagCount"]) == (
        made["ETag"], {"a": "b"}, "text/x", "no-store", 1)
    # Across the parts' ends.
    assert body_of(s3, bucket, Range=f"bytes={SMALLEST - 1}-{SMALLEST}") == b"ab"
    assert body_of(s3, bucket, Range="bytes=-5") == b"bbend"
    # Who didn't hear the answer asks again.
    again = s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert again["ETag"] == made["ETag"]
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads") is None
    assert refused(s3.upload_part, **upload, PartNumber=1, Body=b"") == ("NoSuchUpload", 404)
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload=parts) == ("NoSuchUpload", 404)


def test_each_part_can_be_read(s3, bucket):
    upload = begin(s3, bucket)
    s3.complete_multipart_upload(**upload, MultipartUpload=fill(s3, upload, {1: b"a" * SMALLEST, 2: b"end"}))
    reply = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (reply["Body"].read(), reply["PartsCount"], reply["ContentRange"]) == (b"end", 2, f"bytes {SMALLEST}-{SMALLEST + 2}/{SMALLEST + 3}")
    assert s3.head_object(Bucket=bucket, Key="k", PartNumber=1)["ContentLength"] == SMALLEST


def test_a_part_is_replaced(s3, bucket):
    upload = begin(s3, bucket)
    old = fill(s3, upload, {1: b"old"})
    new = fill(s3, upload, {1: b"new", 2: b"not named"})["Parts"][:1]
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload=old) == ("InvalidPart", 400)
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": new})
    assert body_of(s3, bucket) == b"new"


def test_what_completes_no_upload(s3, bucket):
    upload = begin(s3, bucket)
    one, two = fill(s3, upload, {1: b"small", 2: b"end"})["Parts"]

    def code(*parts, **arguments):
        return refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": list(parts)}, **arguments)

    assert code() == ("MalformedXML", 400)
    assert refused(s3.complete_multipart_upload, **upload) == ("MalformedXML", 400)
    assert code(dict(PartNumber=1)) == ("MalformedXML", 400)
    assert code(one, two) == ("EntityTooSmall", 400)
    assert code(two, one) == ("InvalidPartOrder", 400)
    assert code(one, one) == ("InvalidPartOrder", 400)
    assert code(dict(one, ETag="00")) == ("InvalidPart", 400)
    assert code(dict(one, PartNumber=9)) == ("InvalidPart", 400)
    assert code(dict(one, ChecksumCRC32="AAAAAA==")) == ("InvalidPart", 400)
    assert code(one, MpuObjectSize=4) == ("InvalidRequest", 400)
    # Without an algorithm of its own an object gets CRC64NVME, and any other is passed over.
    assert code(one, ChecksumCRC64NVME="AAAAAAAAAAA=") == ("BadDigest", 400)
    assert code(one, ChecksumType="FULL_OBJECT") == ("InvalidRequest", 400)
    assert code(one, IfMatch='"00"') == ("NoSuchKey", 404)
    # After all of that it is as it was.
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [one]}, MpuObjectSize=5, IfNoneMatch="*")
    assert body_of(s3, bucket) == b"small"
    other = begin(s3, bucket)
    [part] = fill(s3, other, {1: b"other"})["Parts"]
    assert refused(s3.complete_multipart_upload, **other, MultipartUpload={"Parts": [part]}, IfNoneMatch="*") == ("PreconditionFailed", 412)
    assert refused(s3.complete_multipart_upload, **other, MultipartUpload={"Parts": [part]}, IfMatch='"00"') == ("PreconditionFailed", 412)
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    s3.complete_multipart_upload(**other, MultipartUpload={"Parts": [part]}, IfMatch=etag)
    assert body_of(s3, bucket) == b"other"


def test_what_is_no_part(s3, bucket):
    upload = begin(s3, bucket)
    for number in (0, 10001, -1):
        assert refused(s3.upload_part, **upload, PartNumber=number, Body=b"") == ("InvalidArgument", 400)
    assert refused(s3.upload_part, **dict(upload, Key="other"), PartNumber=1, Body=b"") == ("NoSuchUpload", 404)
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert refused(s3.upload_part, **upload, PartNumber=1, Body=b"x", ContentMD5=wrong) == ("BadDigest", 400)
    assert refused(s3.upload_part, **upload, PartNumber=1, Body=b"x", ChecksumCRC32="AAAAAA==") == ("BadDigest", 400)
    assert "Parts" not in s3.list_parts(**upload)


def test_an_upload_is_aborted(s3, bucket):
    upload = begin(s3, bucket)
    fill(s3, upload, {1: b"x"})
    s3.abort_multipart_upload(**upload)
    assert refused(s3.abort_multipart_upload, **upload) == ("NoSuchUpload", 404)
    assert refused(s3.list_parts, **upload) == ("NoSuchUpload", 404)
    begin(s3, bucket)
    # An unfinished upload keeps no bucket.
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("algorithm", ["SHA256", "SHA1"])
def test_composite_checksums(s3, bucket, algorithm):
    name, digest = f"Checksum{algorithm}", getattr(hashlib, algorithm.lower())
    upload = begin(s3, bucket, ChecksumAlgorithm=algorithm)
    bodies = {1: b"a" * SMALLEST, 2: b"end"}
    replies = {n: s3.upload_part(**upload, PartNumber=n, Body=body, ChecksumAlgorithm=algorithm) for n, body in bodies.items()}
    parts = [{"PartNumber": n, "ETag": reply["ETag"], name: reply[name]} for n, reply in replies.items()]
    assert [part[name] for part in parts] == [base64.b64encode(digest(body).digest()).decode() for body in bodies.values()]
    whole = base64.b64encode(digest(b"".join(digest(body).digest() for body in bodies.values())).digest()).decode() + "-2"
    bad = [dict(parts[0], **{name: parts[1][name]}), parts[1]]
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": bad}) == ("InvalidPart", 400)
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts}, **{name: "bad"}) == ("BadDigest", 400)
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts}, ChecksumType="FULL_OBJECT") == (
        "InvalidRequest", 400)
    assert refused(s3.upload_part, **upload, PartNumber=3, Body=b"", ChecksumAlgorithm="CRC32") == ("InvalidRequest", 400)
    made = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **{name: whole})
    assert (made[name], made["ChecksumType"]) == (whole, "COMPOSITE")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[name], head["ChecksumType"]) == (whole, "COMPOSITE")
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=2, ChecksumMode="ENABLED")
    assert part[name] == parts[1][name]


def test_checksums_of_newer_algorithms(s3, bucket):
    def value(*bodies):
        return base64.b64encode(hashlib.sha512(b"".join(bodies)).digest()).decode()

    bodies = {1: b"a" * SMALLEST, 2: b"end"}
    upload = begin(s3, bucket, ChecksumAlgorithm="SHA512")
    replies = {n: s3.upload_part(**upload, PartNumber=n, Body=body, ChecksumSHA512=value(body)) for n, body in bodies.items()}
    parts = [{"PartNumber": n, "ETag": reply["ETag"], "ChecksumSHA512": reply["ChecksumSHA512"]} for n, reply in replies.items()]
    assert [part["ChecksumSHA512"] for part in s3.list_parts(**upload)["Parts"]] == [value(body) for body in bodies.values()]

    def code(*parts, **arguments):
        return refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": list(parts)}, **arguments)

    assert code(dict(parts[0], ChecksumSHA512=value(b"other")), parts[1]) == ("InvalidPart", 400)
    assert code({"PartNumber": 1, "ETag": parts[0]["ETag"]}, parts[1]) == ("InvalidRequest", 400)
    assert code({"PartNumber": 1, "ETag": parts[0]["ETag"], "ChecksumMD5": "AAAA"}, parts[1]) == ("BadDigest", 400)
    assert code(*parts, ChecksumSHA512="bad") == ("BadDigest", 400)
    whole = value(*(hashlib.sha512(body).digest() for body in bodies.values())) + "-2"
    made = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, ChecksumSHA512=whole, ChecksumType="COMPOSITE")
    assert (made["ChecksumSHA512"], made["ChecksumType"]) == (whole, "COMPOSITE")
    source = dict(Bucket=bucket, Key="k")
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, ChecksumAlgorithm="SHA512")["CopyObjectResult"]
    assert copied["ChecksumSHA512"] == value(*bodies.values())
    upload = begin(s3, bucket, ChecksumAlgorithm="SHA512")
    assert s3.upload_part_copy(**upload, PartNumber=1, CopySource=source)["CopyPartResult"]["ChecksumSHA512"] == value(*bodies.values())


@pytest.mark.parametrize("algorithm", ["MD5", "XXHASH64", "XXHASH3", "XXHASH128"])
def test_parts_name_checksums_of_newer_algorithms(s3, bucket, algorithm):
    name = f"Checksum{algorithm}"
    upload = begin(s3, bucket, ChecksumAlgorithm=algorithm)
    part = s3.upload_part_copy(**upload, PartNumber=1, CopySource=source_of(s3, bucket))["CopyPartResult"]
    named = {"PartNumber": 1, "ETag": part["ETag"], name: part[name]}
    wrong = dict(named, **{name: "AAAA" + part[name][4:]})
    assert refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": [wrong]}) == ("InvalidPart", 400)
    made = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [named]})
    assert made[name].endswith("-1") and made[name] != part[name]


def source_of(s3, bucket):
    s3.put_object(Bucket=bucket, Key="source", Body=b"x")
    return dict(Bucket=bucket, Key="source")


def test_checksums_of_the_whole_object(s3, bucket):
    upload = begin(s3, bucket, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    bodies = {1: b"a" * SMALLEST, 2: b"b" * (SMALLEST + 1), 3: b"end"}
    parts = fill(s3, upload, bodies)
    crc = base64.b64encode(zlib.crc32(b"".join(bodies.values())).to_bytes(4, "big")).decode()
    made = s3.complete_multipart_upload(**upload, MultipartUpload=parts, ChecksumCRC32=crc, ChecksumType="FULL_OBJECT")
    assert (made["ChecksumCRC32"], made["ChecksumType"]) == (crc, "FULL_OBJECT")
    # boto3 compares it when it has read all.
    assert body_of(s3, bucket, ChecksumMode="ENABLED") == b"".join(bodies.values())
    for algorithm, kind in [("SHA1", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")]:
        assert refused(s3.create_multipart_upload, Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind) == (
            "InvalidRequest", 400)
    assert refused(s3.create_multipart_upload, Bucket=bucket, Key="k", ChecksumType="FULL_OBJECT") == ("InvalidRequest", 400)


def test_an_upload_without_an_algorithm_gets_s3s_own(s3, bucket):
    upload = begin(s3, bucket)
    # boto3 sends CRC32, which is compared and forgotten.
    parts = fill(s3, upload, {1: b"a" * SMALLEST, 2: b"end"})["Parts"]
    listed = s3.list_parts(**upload)
    assert not [name for part in listed["Parts"] for name in part if name.startswith("Checksum")]
    made = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert made["ChecksumType"] == "FULL_OBJECT"
    # A copy's is computed of all bytes at once.
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=dict(Bucket=bucket, Key="k"), ChecksumAlgorithm="CRC64NVME")
    assert copied["CopyObjectResult"]["ChecksumCRC64NVME"] == made["ChecksumCRC64NVME"]


def test_customers_keys(s3, bucket):
    key = dict(SSECustomerAlgorithm="AES256", SSECustomerKey=b"k" * 32)
    other = dict(SSECustomerAlgorithm="AES256", SSECustomerKey=b"o" * 32)
    upload = begin(s3, bucket, **key)
    assert refused(s3.upload_part, **upload, PartNumber=1, Body=b"x") == ("InvalidRequest", 400)
    assert refused(s3.upload_part, **upload, PartNumber=1, Body=b"x", **other) == ("InvalidRequest", 400)
    parts = fill(s3, upload, {1: b"a" * SMALLEST, 2: b"end"}, **key)
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert refused(s3.get_object, Bucket=bucket, Key="k") == ("InvalidRequest", 400)
    assert body_of(s3, bucket, Range="bytes=-4", **key) == b"aend"
    plain = begin(s3, bucket)
    assert refused(s3.upload_part, **plain, PartNumber=1, Body=b"x", **key) == ("InvalidRequest", 400)


def test_parts_are_copied(s3, bucket):
    source = {"Bucket": bucket, "Key": "source +?"}
    data = bytes(n % 251 for n in range(SMALLEST + 100))
    s3.put_object(**source, Body=data)
    upload = begin(s3, bucket)

    def copy(number, **arguments):
        return s3.upload_part_copy(**upload, CopySource=source, PartNumber=number, **arguments)["CopyPartResult"]

    one = copy(1, CopySourceRange=f"bytes=0-{SMALLEST - 1}")
    two = copy(2, CopySourceRange=f"bytes={SMALLEST}-{SMALLEST + 99}")
    assert two["ETag"] == f'"{hashlib.md5(data[SMALLEST:]).hexdigest()}"'
    parts = {"Parts": [{"PartNumber": 1, "ETag": one["ETag"]}, {"PartNumber": 2, "ETag": two["ETag"]}]}
    bad = dict(**upload, CopySource=source, PartNumber=3)
    for text in ["0-2", "bytes=0", "bytes=a-b", "bytes=0-2,3-5", "bytes=5-2"]:
        assert refused(s3.upload_part_copy, **bad, CopySourceRange=text) == ("InvalidArgument", 400), text
    assert refused(s3.upload_part_copy, **bad, CopySourceRange=f"bytes=0-{len(data)}") == ("InvalidRange", 416)
    assert refused(s3.upload_part_copy, **bad, CopySourceIfMatch='"00"') == ("PreconditionFailed", 412)
    assert refused(s3.upload_part_copy, **dict(bad, CopySource={"Bucket": bucket, "Key": "none"})) == ("NoSuchKey", 404)
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert body_of(s3, bucket) == data
    whole = begin(s3, bucket, "whole")
    made = s3.upload_part_copy(**whole, CopySource=source, PartNumber=1)["CopyPartResult"]
    s3.complete_multipart_upload(**whole, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": made["ETag"]}]})
    assert body_of(s3, bucket, "whole") == data


def test_rules_abort_uploads_some_day(s3, bucket):
    rule = {"ID": "some day", "Status": "Enabled", "Filter": {"Prefix": "p/"}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    begun = s3.create_multipart_upload(Bucket=bucket, Key="p/k")
    listed = s3.list_parts(Bucket=bucket, Key="p/k", UploadId=begun["UploadId"])
    assert begun["AbortRuleId"] == listed["AbortRuleId"] == "some day"
    assert begun["AbortDate"] == listed["AbortDate"]
    assert "AbortDate" not in s3.create_multipart_upload(Bucket=bucket, Key="other")


def test_versions_of_an_upload(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"old")["VersionId"]
    upload = begin(s3, bucket)
    new = s3.complete_multipart_upload(**upload, MultipartUpload=fill(s3, upload, {1: b"new"}))["VersionId"]
    assert [v["VersionId"] for v in s3.list_object_versions(Bucket=bucket)["Versions"]] == [new, old]
    assert (body_of(s3, bucket), body_of(s3, bucket, VersionId=old)) == (b"new", b"old")


def test_many_parts_at_once(s3, bucket):
    upload = begin(s3, bucket)
    bodies = {n: bytes([n]) * SMALLEST for n in range(1, 9)}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = dict(zip(bodies, pool.map(lambda n: s3.upload_part(**upload, PartNumber=n, Body=bodies[n])["ETag"], bodies)))
    parts = [{"PartNumber": n, "ETag": made[n]} for n in sorted(made)]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert hashlib.md5(body_of(s3, bucket)).digest() == hashlib.md5(b"".join(bodies.values())).digest()


def test_boto3_by_itself(s3, bucket, tmp_path):
    file, back = tmp_path / "file", tmp_path / "back"
    file.write_bytes(bytes(n % 241 for n in range(13 * MIB)))
    config = TransferConfig(multipart_threshold=SMALLEST, multipart_chunksize=SMALLEST)
    s3.upload_file(str(file), bucket, "k", Config=config, ExtraArgs={"ChecksumAlgorithm": "SHA256"})
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"].endswith('-3"')
    s3.copy({"Bucket": bucket, "Key": "k"}, bucket, "copy", Config=config)
    s3.download_file(bucket, "copy", str(back), Config=config)
    assert back.read_bytes() == file.read_bytes()
