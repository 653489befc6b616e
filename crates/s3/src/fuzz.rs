//! What `crates/s3/fuzz` looks at from within: readers of what clients send, each with what must hold whatever that is. The targets panic
//! where one of these does.

use crate::checksum::Expected;
use crate::condition::of_write;
use crate::host::Hosts;
use crate::{cors, form, multipart, object, precheck, range, sse, unbuilt};
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::{CopySource, ETagCondition, Range, Timestamp, TimestampFormat};

/// Longest object that a range may be of, in bytes.
const SIZE_MAX: u64 = 5 << 40;

/// Reads a request's first line and headers (`METHOD TARGET`, then `name: value` on lines of their own) by all readers of headers.
///
/// # Panics
/// If a range isn't one of its object's, or isn't read by s3s once it was read here.
pub fn headers(text: &[u8]) {
    let mut lines = text.split(|b| *b == b'\n');
    let line = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let (method, target) = line.split_once(' ').unwrap_or(("GET", &line));
    let Ok(request) = http::Request::builder().method(method).uri(target).body(()) else { return };
    let (mut head, ()) = request.into_parts();
    for line in lines {
        let Some(at) = line.iter().position(|b| *b == b':') else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(line[at + 1..].trim_ascii())) {
            head.headers.append(name, value);
        }
    }
    let hosts = Hosts(vec!["localhost".into()]);
    let named = head.headers.get("host").and_then(|host| host.to_str().ok()).map(|host| hosts.read(host));
    let in_host = named.is_some_and(|named| named.bucket.is_some());
    // Each refuses or doesn't; none may panic.
    _ = precheck::refusal(&head, in_host);
    _ = unbuilt::refusal(&head, in_host);
    _ = form::is_form(&head, in_host);
    _ = cors::Cross::of(&head);
    _ = sse::customer_key(&head.headers);
    _ = sse::source_key(&head.headers);
    _ = object::tags::of_header(&head.headers);
    _ = Expected::read(&head.headers, None);
    crate::front::fuzz_readers(&mut head);
    values(&head.headers);
}

/// Reads the values that have a grammar of their own.
fn values(headers: &HeaderMap) {
    for value in headers.values() {
        if let Ok(condition) = ETagCondition::parse_http_header(value.as_bytes()) {
            _ = of_write(Some(&condition), Some(&condition));
        }
        let Ok(text) = value.to_str() else { continue };
        _ = CopySource::parse(text);
        _ = Timestamp::parse(TimestampFormat::HttpDate, text).map(|time| crate::time::read(&time));
        let first_and_last = multipart::copy_range(text);
        if let Some(read) = range::readable(text) {
            assert!(Range::parse(&read).is_ok(), "{text}: {read}");
        }
        for size in [0, 1, 10, SIZE_MAX, u64::MAX] {
            if let Ok(Ok(range)) = Range::parse(text).map(|asked| range::resolve(asked, size)) {
                assert!(range.start < range.end && range.end <= size, "{text} of {size}: {range:?}");
                assert!(range::show(&range, size).ends_with(&format!("/{size}")));
            }
            if let Ok((first, last)) = first_and_last {
                assert!(first <= last, "{text}");
            }
        }
    }
}

/// Splits a body in chunks, that comes in steps of so many bytes: how it comes must not matter, and a decoder must find the same in what is
/// made of it.
///
/// # Panics
/// If it does, or doesn't.
pub fn chunks(signed: bool, body: &[u8], step: usize) {
    let whole = crate::split::split_in_steps(signed, body, body.len().max(1));
    let stepped = crate::split::split_in_steps(signed, body, step.max(1));
    assert_eq!(whole.is_some(), stepped.is_some());
    if let (Some(whole), Some(stepped)) = (whole, stepped) {
        assert_eq!(whole, stepped);
        assert_eq!(decoded(&whole), decoded(body));
    }
}

/// The bytes in chunks, and what stands behind the last.
fn decoded(mut body: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut data = Vec::new();
    while let Some(end) = body.iter().position(|b| *b == b'\n') {
        let digits = body.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&body[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { return (data, body) };
        body = &body[end + 1..];
        let (chunk, rest) = body.split_at(usize::try_from(size).unwrap_or(usize::MAX).min(body.len()));
        data.extend_from_slice(chunk);
        body = &rest[2.min(rest.len())..];
    }
    (data, &[])
}

/// Reads a form by its boundary, whole and in steps: either is refused, or both find the same.
///
/// # Panics
/// If they don't.
pub fn form(content_type: &str, body: &[u8], step: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let (Some(boundary), Ok(runtime)) = (form::fuzz_boundary(content_type), runtime) else { return };
    let read = |step: usize| runtime.block_on(form::fuzz_read(&boundary, body, step));
    assert_eq!(read(body.len().max(1)), read(step.max(1)));
}
