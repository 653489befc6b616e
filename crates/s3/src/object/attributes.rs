//! GetObjectAttributes. The document of the reply is written here: it has checksums that s3s doesn't know, and an ETag without quotes.

use crate::answer::Given;
use crate::checksum::{self, Algorithm};
use crate::error::{self, Result};
use crate::object::version_id;
use crate::service::S3;
use crate::{record, sse, time};
use http::HeaderMap;
use objects::Version;
use s3s::dto::{GetObjectAttributesInput, GetObjectAttributesOutput};
use s3s::{S3Request, S3Response, s3_error};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Most parts in a reply.
const PARTS_MAX: usize = 1000;

/// What can be asked for.
const ATTRIBUTES: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];

/// GetObjectAttributes.
pub(crate) async fn attributes(s3: &S3, request: S3Request<GetObjectAttributesInput>) -> Result<S3Response<GetObjectAttributesOutput>> {
    let S3Request { input, headers, .. } = request;
    let bucket = s3.bucket(&input.bucket)?;
    let asked = asked(&headers)?;
    let max = match input.max_parts {
        None => PARTS_MAX,
        Some(max) => usize::try_from(max)
            .map_err(|_| error::argument("max-parts", max, "Argument max-parts must be an integer between 0 and 2147483647"))?,
    };
    let after = input.part_number_marker.as_ref().map_or(Ok(0), |marker| marker.to_string().parse::<u32>());
    let marker = input.part_number_marker.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = "Argument part-number-marker must be an integer between 0 and 2147483647";
    let after = after.map_err(|_| error::argument("part-number-marker", marker, text))?;
    let id = version_id(input.version_id.as_deref())?;
    let version = s3.objects.get(&input.bucket, &input.key, id.as_ref()).await.map_err(error::engine)?;
    sse::of_read(version.record.encryption.as_ref(), sse::customer_key(&headers)?)?;
    let mut shown = HeaderMap::new();
    record::put(&mut shown, "last-modified", &time::http_date(version.last_modified));
    record::version_id(&bucket, &version, &mut shown);
    let mut response = S3Response::with_headers(GetObjectAttributesOutput::default(), shown);
    response.extensions.insert(Given(document(&version, &asked, after, max.min(PARTS_MAX))));
    Ok(response)
}

fn asked(headers: &HeaderMap) -> Result<Vec<&'static str>> {
    let values = headers.get_all("x-amz-object-attributes").iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(str::trim);
    let known = |name: &str| ATTRIBUTES.into_iter().find(|known| *known == name);
    names.map(|name| known(name).ok_or_else(|| s3_error!(InvalidArgument, "Invalid attribute name specified."))).collect()
}

fn document(version: &Version, asked: &[&str], after: u32, max: usize) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<GetObjectAttributesResponse xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
    );
    let record = &version.record;
    let is_asked = |name: &str| asked.contains(&name);
    if is_asked("ETag") {
        element(&mut xml, "ETag", &version.etag);
    }
    if is_asked("Checksum") && !record.checksums.values.is_empty() {
        xml.push_str("<Checksum>");
        checksums(&mut xml, &without_count(&record.checksums.values));
        element(&mut xml, "ChecksumType", checksum::kind_name(record.checksums.kind));
        xml.push_str("</Checksum>");
    }
    if is_asked("ObjectParts") && !record.parts.is_empty() {
        parts(&mut xml, version, after, max);
    }
    if is_asked("StorageClass") {
        element(&mut xml, "StorageClass", record.storage_class.as_deref().unwrap_or("STANDARD"));
    }
    if is_asked("ObjectSize") {
        element(&mut xml, "ObjectSize", &version.size.to_string());
    }
    xml.push_str("</GetObjectAttributesResponse>");
    xml
}

/// Checksums without the number of parts (`-N`) that a composite one ends in elsewhere: here `ObjectParts` says how many there are.
fn without_count(values: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    // Base64 has no hyphen.
    let short = |value: &str| value.split('-').next().unwrap_or_default().to_owned();
    values.iter().map(|(name, value)| (name.clone(), short(value))).collect()
}

fn parts(xml: &mut String, version: &Version, after: u32, max: usize) {
    let all = &version.record.parts;
    // The parts of a finished object are counted from 1, whatever numbers they had.
    let behind = all.get(after.min(all.len() as u32) as usize..).unwrap_or_default();
    let shown = &behind[..max.min(behind.len())];
    xml.push_str("<ObjectParts>");
    element(xml, "PartsCount", &all.len().to_string());
    element(xml, "PartNumberMarker", &after.to_string());
    element(xml, "NextPartNumberMarker", &(after as usize + shown.len()).to_string());
    element(xml, "MaxParts", &max.to_string());
    element(xml, "IsTruncated", if shown.len() < behind.len() { "true" } else { "false" });
    for (number, part) in (after + 1..).zip(shown) {
        xml.push_str("<Part>");
        checksums(xml, &part.checksums);
        element(xml, "PartNumber", &number.to_string());
        element(xml, "Size", &part.size.to_string());
        xml.push_str("</Part>");
    }
    xml.push_str("</ObjectParts>");
}

fn checksums(xml: &mut String, values: &BTreeMap<String, String>) {
    for (name, value) in values {
        if let Some(algorithm) = Algorithm::parse(name) {
            element(xml, &format!("Checksum{}", algorithm.name()), value);
        }
    }
}

/// None of the values has a character that XML would have to escape.
fn element(xml: &mut String, name: &str, value: &str) {
    // Writing into a string doesn't fail.
    _ = write!(xml, "<{name}>{value}</{name}>");
}
