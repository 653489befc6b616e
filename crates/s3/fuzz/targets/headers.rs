//! All readers of headers, on a request without a body.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| s3::fuzz::headers(text));
