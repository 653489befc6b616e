//! Forms of browsers, which must be read alike however they come.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [step, text @ ..] = data else { return };
    let line = text.iter().position(|b| *b == b'\n').unwrap_or(text.len());
    let (line, body) = text.split_at(line);
    let kind = String::from_utf8_lossy(line);
    s3::fuzz::form(kind.trim(), body.get(1..).unwrap_or_default(), usize::from(*step));
});
