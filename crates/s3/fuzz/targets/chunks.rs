//! Bodies in AWS's chunks: split, and then read by the whole front.
#![no_main]

mod front;

use front::{Ask, ask};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [kind, step, length, body @ ..] = data else { return };
    s3::fuzz::chunks(kind & 1 == 1, body, usize::from(*step));
    ask(|_, bucket, _| {
        let put = Ask::new("PUT", &format!("/{bucket}/k")).header("x-amz-decoded-content-length", &length.to_string());
        let kind = if kind & 2 == 2 { "STREAMING-UNSIGNED-PAYLOAD-TRAILER" } else { "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" };
        let put = put.header("content-encoding", "aws-chunked").header("x-amz-content-sha256", kind);
        let mut put = put.header("x-amz-trailer", "x-amz-checksum-crc32").body(body);
        put.piece = usize::from(*step).max(1);
        put
    });
});
