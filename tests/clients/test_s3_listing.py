"""S3's listings: objects, versions, uploads and parts, as boto3 sees them. The cloud is simulated."""

import xml.etree.ElementTree as ET

import pytest
from botocore.handlers import set_list_objects_encoding_type_url

import check_shapes
from s3_client import refused


def put(s3, bucket, *keys):
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def keys(reply, kind="Contents"):
    return [found["Key"] for found in reply.get(kind, [])]


def prefixes(reply):
    return [found["Prefix"] for found in reply.get("CommonPrefixes", [])]


def pages(s3, bucket, **arguments):
    """Keys and prefixes of both kinds of listing, page by page, which must agree."""
    found = []
    for operation in ("list_objects", "list_objects_v2"):
        got = [(keys(page), prefixes(page)) for page in s3.get_paginator(operation).paginate(Bucket=bucket, **arguments)]
        found.append(got)
    assert found[0] == found[1]
    return found[0]


def test_keys_are_in_the_order_of_their_bytes(s3, bucket):
    wanted = ["A", "Z", "a", "a b", "a!", "a/", "a/b", "aa", "z", "\u00e4", "\ud7ff", "\uffee", "\U0001f600"]
    assert sorted(wanted, key=str.encode) != sorted(wanted, key=lambda key: key.encode("utf-16-be"))
    put(s3, bucket, *reversed(wanted))
    [(found, _)] = pages(s3, bucket)
    assert found == sorted(wanted, key=str.encode)


def test_delimiters_roll_keys_up(s3, bucket):
    put(s3, bucket, "asdf", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud", "boo0", "x--y--z")
    assert pages(s3, bucket, Delimiter="/") == [(["asdf", "boo0", "x--y--z"], ["boo/", "cquux/"])]
    assert pages(s3, bucket, Delimiter="/", Prefix="boo/") == [(["boo/bar"], ["boo/baz/"])]
    assert pages(s3, bucket, Delimiter="--", Prefix="x") == [([], ["x--"])]
    assert pages(s3, bucket, Delimiter="/", Prefix="none") == [([], [])]
    every_two = pages(s3, bucket, Delimiter="/", PaginationConfig={"PageSize": 2})
    assert every_two == [(["asdf"], ["boo/"]), (["boo0"], ["cquux/"]), (["x--y--z"], [])]


def test_pages_of_the_first_kind(s3, bucket):
    put(s3, bucket, "a/1", "b", "c")
    plain = s3.list_objects(Bucket=bucket, MaxKeys=1)
    assert (plain["IsTruncated"], plain["Marker"], plain.get("NextMarker")) == (True, "", None)
    rolled = s3.list_objects(Bucket=bucket, MaxKeys=1, Delimiter="/")
    assert (rolled["IsTruncated"], rolled["NextMarker"], prefixes(rolled)) == (True, "a/", ["a/"])
    rest = s3.list_objects(Bucket=bucket, Marker="a/", Delimiter="/")
    assert (rest["IsTruncated"], rest["Marker"], keys(rest)) == (False, "a/", ["b", "c"])
    assert all("ID" in found["Owner"] for found in rest["Contents"])


def test_pages_of_the_second_kind(s3, bucket):
    put(s3, bucket, "a", "b", "c", "d")
    first = s3.list_objects_v2(Bucket=bucket, MaxKeys=1, StartAfter="a")
    assert (keys(first), first["KeyCount"], first["MaxKeys"], first["IsTruncated"], first["StartAfter"]) == (["b"], 1, 1, True, "a")
    assert "Owner" not in first["Contents"][0]
    rest = s3.list_objects_v2(Bucket=bucket, ContinuationToken=first["NextContinuationToken"], StartAfter="a", FetchOwner=True)
    assert (keys(rest), rest["IsTruncated"], rest["ContinuationToken"]) == (["c", "d"], False, first["NextContinuationToken"])
    assert rest["Contents"][0]["Owner"]["ID"] == s3.list_buckets()["Owner"]["ID"]
    assert refused(s3.list_objects_v2, Bucket=bucket, ContinuationToken="b") == ("InvalidArgument", 400)


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2", "list_object_versions"])
def test_how_many_keys(s3, bucket, operation):
    call = getattr(s3, operation)
    put(s3, bucket, "a", "b")
    none = call(Bucket=bucket, MaxKeys=0)
    assert (none["IsTruncated"], none["MaxKeys"], none.get("Contents"), none.get("Versions")) == (False, 0, None, None)
    assert call(Bucket=bucket, MaxKeys=5000)["MaxKeys"] == 1000
    assert refused(call, Bucket=bucket, MaxKeys=-1) == ("InvalidArgument", 400)
    assert refused(call, Bucket=bucket, EncodingType="base64") == ("InvalidArgument", 400)


def test_what_is_said_of_an_object(s3, bucket):
    made = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm="SHA256", StorageClass="STANDARD_IA")
    [found] = s3.list_objects_v2(Bucket=bucket)["Contents"]
    head = s3.head_object(Bucket=bucket, Key="k")
    assert found["LastModified"].replace(microsecond=0) == head["LastModified"]
    del found["LastModified"]
    assert found == {"Key": "k", "ETag": made["ETag"], "Size": 5, "StorageClass": "STANDARD_IA",
                     "ChecksumAlgorithm": ["SHA256"], "ChecksumType": "FULL_OBJECT"}


def test_keys_that_xml_cannot_hold(cloud, s3, bucket):
    odd = ["a b+c", "a&<>\"'", "a\rb", "a\nb", "%41", "\u00e4/\U0001f600"]
    put(s3, bucket, *odd, "a\x01b")
    assert sorted(keys(s3.list_objects_v2(Bucket=bucket))) == sorted([*odd, "a\x01b"])
    # Said as it is encoded, if the client asks for that itself.
    reply = s3.list_objects_v2(Bucket=bucket, Delimiter="/", EncodingType="url")
    assert reply["EncodingType"] == "url" and "a%20b%2Bc" in keys(reply) and prefixes(reply) == ["%C3%A4/"]
    s3.delete_object(Bucket=bucket, Key="a\x01b")
    plain = cloud.client("s3")
    plain.meta.events.unregister("before-parameter-build.s3.ListObjectsV2", set_list_objects_encoding_type_url)
    reply = plain.list_objects_v2(Bucket=bucket)
    assert "EncodingType" not in reply and sorted(keys(reply)) == sorted(odd)


def test_versions_page_by_page(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = {key: [s3.put_object(Bucket=bucket, Key=key, Body=b"%d" % n)["VersionId"] for n in range(3)] for key in ("a", "b", "d/e")}
    marker = s3.delete_object(Bucket=bucket, Key="b")["VersionId"]
    wanted = [("a", v) for v in reversed(made["a"])] + [("b", marker)] + [("b", v) for v in reversed(made["b"])]
    wanted += [("d/e", v) for v in reversed(made["d/e"])]
    for size in (1, 2, 1000):
        found, latest = [], []
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": size}):
            entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
            found += [(entry["Key"], entry["VersionId"]) for entry in entries]
            latest += [(entry["Key"], entry["VersionId"]) for entry in entries if entry["IsLatest"]]
        # A page has its markers behind its versions.
        assert sorted(found) == sorted(wanted), size
        assert sorted(latest) == sorted([("a", made["a"][-1]), ("b", marker), ("d/e", made["d/e"][-1])])
        if size == 1:
            assert found == wanted
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/", MaxKeys=1, KeyMarker="b")
    assert (prefixes(page), page["IsTruncated"], page.get("Versions")) == (["d/"], False, None)
    assert keys(s3.list_objects_v2(Bucket=bucket)) == ["a", "d/e"]
    assert refused(s3.list_object_versions, Bucket=bucket, VersionIdMarker=marker) == ("InvalidArgument", 400)
    assert refused(s3.list_object_versions, Bucket=bucket, KeyMarker="a", VersionIdMarker="no-version") == ("InvalidArgument", 400)


def test_uploads_page_by_page(s3, bucket):
    ids = [(key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in ("a", "b/1", "a", "b/2", "c")]
    wanted = [ids[0], ids[2], ids[1], ids[3], ids[4]]
    for size in (1, 2, 1000):
        found = []
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": size}):
            found += [(upload["Key"], upload["UploadId"]) for upload in page.get("Uploads", [])]
        assert found == wanted, size
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert (keys(rolled, "Uploads"), prefixes(rolled)) == (["a", "a", "c"], ["b/"])
    assert keys(s3.list_multipart_uploads(Bucket=bucket, Prefix="b/"), "Uploads") == ["b/1", "b/2"]
    # Without a key, an upload's marker says nothing.
    assert len(s3.list_multipart_uploads(Bucket=bucket, UploadIdMarker=ids[4][1])["Uploads"]) == 5
    assert refused(s3.list_multipart_uploads, Bucket=bucket, MaxUploads=-1) == ("InvalidArgument", 400)


def test_parts_page_by_page(s3, bucket):
    upload = dict(Bucket=bucket, Key="k", UploadId=s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA1")["UploadId"])
    for number in (1, 3, 7, 10000):
        s3.upload_part(**upload, PartNumber=number, Body=b"x" * number, ChecksumAlgorithm="SHA1")
    found = []
    for page in s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2}):
        assert (page["ChecksumAlgorithm"], page["ChecksumType"]) == ("SHA1", "COMPOSITE")
        found += [(part["PartNumber"], part["Size"]) for part in page["Parts"]]
        assert all(part["ChecksumSHA1"] for part in page["Parts"])
    assert found == [(n, n) for n in (1, 3, 7, 10000)]
    assert refused(s3.list_parts, **dict(upload, UploadId="none")) == ("NoSuchUpload", 404)
    assert refused(s3.list_parts, **dict(upload, Key="other")) == ("NoSuchUpload", 404)
    assert refused(s3.list_parts, **upload, MaxParts=-1) == ("InvalidArgument", 400)


def test_a_bucket_that_is_not_there(s3):
    for operation in ("list_objects", "list_objects_v2", "list_object_versions", "list_multipart_uploads"):
        assert refused(getattr(s3, operation), Bucket="listing-nobody-made-it") == ("NoSuchBucket", 404)


def test_documents_have_the_shapes_of_the_model(cloud, bucket):
    s3 = cloud.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put(s3, bucket, "a", "b/c", "d")
    s3.delete_object(Bucket=bucket, Key="a")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    roots = {"ListObjects": "ListBucketResult", "ListObjectsV2": "ListBucketResult", "ListObjectVersions": "ListVersionsResult",
             "ListMultipartUploads": "ListMultipartUploadsResult", "ListParts": "ListPartsResult"}
    seen = {}

    def looked_at(response_dict, operation_model, **_):
        operation_name = operation_model.name
        root = ET.fromstring(response_dict["body"])
        seen[operation_name] = check_shapes.local(root.tag)
        shape = operation_model.output_shape
        assert list(check_shapes.structure(shape, root, operation_name)) == []
        assert root.tag.startswith("{http://s3.amazonaws.com/doc/2006-03-01/}")

    s3.meta.events.register("before-parse.s3", looked_at)
    for call in (s3.list_objects, s3.list_objects_v2, s3.list_object_versions, s3.list_multipart_uploads):
        call(Bucket=bucket, Delimiter="/", EncodingType="url")
    s3.list_objects_v2(Bucket=bucket, FetchOwner=True, MaxKeys=1)
    s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)
    assert seen == roots
