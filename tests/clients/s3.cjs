// What the JavaScript SDK (version 3) makes of S3. It fails by its exit status. Started by test_s3_others.py.
"use strict";
const assert = require("node:assert/strict");
const {
    S3Client, CreateBucketCommand, PutObjectCommand, GetObjectCommand, HeadObjectCommand, CopyObjectCommand, DeleteObjectsCommand,
    DeleteBucketCommand, PutObjectTaggingCommand, GetObjectTaggingCommand, paginateListObjectsV2, waitUntilObjectExists,
} = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");
const { Readable } = require("node:stream");
const dns = require("node:dns");

// Names under localhost are this machine, also where the system's resolver doesn't know that (RFC 6761).
dns.lookup = (name, options, done) => (done ?? options)(null, options?.all ? [{ address: "127.0.0.1", family: 4 }] : "127.0.0.1", 4);

async function main(bucket, endpoint) {
    // The bucket is named by the host, as this SDK does unless told else.
    const s3 = new S3Client({ endpoint, maxAttempts: 1 });
    const on = { Bucket: bucket };
    await s3.send(new CreateBucketCommand(on));
    const key = "a/ключ +&.txt";
    await s3.send(new PutObjectCommand({ ...on, Key: key, Body: "hello", ContentType: "text/plain", Metadata: { colour: "green" } }));
    await waitUntilObjectExists({ client: s3, maxWaitTime: 10 }, { ...on, Key: key });
    const got = await s3.send(new GetObjectCommand({ ...on, Key: key, ChecksumMode: "ENABLED" }));
    assert.equal(await got.Body.transformToString(), "hello");
    assert.equal(got.ContentType, "text/plain");
    assert.deepEqual(got.Metadata, { colour: "green" });
    assert.ok(got.ChecksumCRC32, "the SDK sends a CRC-32, and it is kept");
    const part = await s3.send(new GetObjectCommand({ ...on, Key: key, Range: "bytes=1-3" }));
    assert.equal(await part.Body.transformToString(), "ell");
    assert.equal(part.ContentRange, "bytes 1-3/5");

    // A stream of unknown length: parts, with trailing checksums in aws-chunked bodies.
    const large = Buffer.alloc(12 << 20, "0123456789abcdef");
    const pieces = function* () { for (let at = 0; at < large.length; at += 100_000) yield large.subarray(at, at + 100_000); };
    const upload = new Upload({ client: s3, params: { ...on, Key: "large", Body: Readable.from(pieces()), ChecksumAlgorithm: "SHA256" }, queueSize: 3 });
    await upload.done();
    const head = await s3.send(new HeadObjectCommand({ ...on, Key: "large" }));
    assert.equal(head.ContentLength, large.length);
    assert.match(head.ETag, /-3"$/);
    const back = await (await s3.send(new GetObjectCommand({ ...on, Key: "large" }))).Body.transformToByteArray();
    assert.ok(large.equals(Buffer.from(back)));

    await s3.send(new CopyObjectCommand({ ...on, Key: "copy", CopySource: `${bucket}/large` }));
    await s3.send(new PutObjectTaggingCommand({ ...on, Key: "copy", Tagging: { TagSet: [{ Key: "k", Value: "v" }] } }));
    assert.deepEqual((await s3.send(new GetObjectTaggingCommand({ ...on, Key: "copy" }))).TagSet, [{ Key: "k", Value: "v" }]);

    const keys = [];
    for await (const page of paginateListObjectsV2({ client: s3, pageSize: 2 }, on)) keys.push(...page.Contents.map((o) => o.Key));
    assert.deepEqual(keys, [key, "copy", "large"]);

    const url = await getSignedUrl(s3, new GetObjectCommand({ ...on, Key: key }), { expiresIn: 60 });
    assert.equal(await (await fetch(url)).text(), "hello");
    assert.equal((await fetch(url.replace(/Signature=.{8}/, "Signature=00000000"))).status, 403);

    await assert.rejects(s3.send(new GetObjectCommand({ ...on, Key: "none" })), { name: "NoSuchKey" });
    await assert.rejects(s3.send(new PutObjectCommand({ ...on, Key: "copy", Body: "x", IfNoneMatch: "*" })), { name: "PreconditionFailed" });
    await assert.rejects(s3.send(new DeleteBucketCommand(on)), { name: "BucketNotEmpty" });
    const gone = await s3.send(new DeleteObjectsCommand({ ...on, Delete: { Objects: keys.map((Key) => ({ Key })) } }));
    assert.equal(gone.Deleted.length, 3);
    await s3.send(new DeleteBucketCommand(on));
}

main(...process.argv.slice(2)).catch((error) => { console.error(error); process.exit(1); });
