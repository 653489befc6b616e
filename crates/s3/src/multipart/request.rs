//! CompleteMultipartUpload's request. s3s's reader of its document knows five of the ten checksums that a part can have, and takes any other
//! for a fault: it is read here, after s3s has checked the signature, and the operation goes on as the others do.

use crate::checksum::Algorithm;
use crate::condition;
use crate::error::{self, Result, malformed_xml};
use crate::precheck::XML_BYTES_MAX;
use crate::route::has;
use crate::service::S3;
use crate::target::Target;
use http::{HeaderValue, Method, Uri, header};
use s3s::dto::{ChecksumType, CompleteMultipartUploadInput, CompletedMultipartUpload, CompletedPart};
use s3s::xml::{DeError, DeResult, Deserialize, Deserializer, Serialize as _, Serializer};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, s3_error};

/// The operation's name, and its document's.
pub(crate) const COMPLETE: &str = "CompleteMultipartUpload";
/// Parameters that make a POST of an object another operation.
const OTHERS: [&str; 3] = ["select", "uploads", "restore"];

/// The checksums that a request names for each part, in the parts' order; an extension of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Checksums(pub(super) Vec<Vec<(Algorithm, String)>>);

/// The document: parts without checksums, and those.
#[derive(Debug, Default)]
struct Document {
    parts: Vec<CompletedPart>,
    checksums: Checksums,
}

impl<'xml> Deserialize<'xml> for Document {
    fn deserialize(d: &mut Deserializer<'xml>) -> DeResult<Self> {
        let mut document = Self::default();
        d.named_element(COMPLETE, |d| {
            d.for_each_element(|d, name| {
                if name != b"Part" {
                    return Err(DeError::UnexpectedTagName);
                }
                let (part, checksums) = part(d)?;
                document.parts.push(part);
                document.checksums.0.push(checksums);
                Ok(())
            })
        })?;
        Ok(document)
    }
}

fn part(d: &mut Deserializer<'_>) -> DeResult<(CompletedPart, Vec<(Algorithm, String)>)> {
    let (mut part, mut checksums) = (CompletedPart::default(), Vec::new());
    d.for_each_element(|d, name| {
        let known = match name {
            b"ETag" => part.e_tag.replace(d.content()?).is_some(),
            b"PartNumber" => part.part_number.replace(d.content()?).is_some(),
            name => {
                let algorithm = Algorithm::of_element(name).ok_or(DeError::UnexpectedTagName)?;
                let known = checksums.iter().any(|(known, _)| *known == algorithm);
                checksums.push((algorithm, d.content()?));
                known
            }
        };
        if known { Err(DeError::DuplicateField) } else { Ok(()) }
    })?;
    Ok((part, checksums))
}

impl Document {
    fn read(text: &[u8]) -> Result<Self> {
        let mut d = Deserializer::new(text);
        let read = Self::deserialize(&mut d).and_then(|document| d.expect_eof().map(|()| document));
        read.map_err(|_| malformed_xml())
    }
}

/// Whether a request to an object is CompleteMultipartUpload.
pub(crate) fn completes(method: &Method, uri: &Uri) -> bool {
    method == Method::POST && has(uri, "uploadId") && !OTHERS.into_iter().any(|name| has(uri, name))
}

/// CompleteMultipartUpload, by its document.
pub(crate) async fn complete_by_document(s3: &S3, mut request: S3Request<Body>) -> Result<S3Response<Body>> {
    // What breaks off is judged where its cause is known, as it is with the documents that s3s reads.
    let text = request.input.store_all_limited(XML_BYTES_MAX).await;
    let text = text.map_err(|error| S3Error::with_source(S3ErrorCode::InternalError, error))?;
    let Document { parts, checksums } = Document::read(&text)?;
    let input = input(&request, parts)?;
    request.extensions.insert(checksums);
    let done = s3s::S3::complete_multipart_upload(s3, request.map_input(|_| input)).await?;
    let S3Response { output, status, mut headers, extensions, .. } = done;
    let mut text = Vec::with_capacity(512);
    let mut serializer = Serializer::new(&mut text);
    let written = serializer.decl().and_then(|()| output.serialize(&mut serializer));
    written.map_err(|error| error::internal(&error.into()))?;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let mut response = S3Response::with_headers(Body::from(text), headers);
    (response.status, response.extensions) = (status, extensions);
    Ok(response)
}

/// What the operation works with. The headers that aren't here it reads itself.
fn input(request: &S3Request<Body>, parts: Vec<CompletedPart>) -> Result<CompleteMultipartUploadInput> {
    let Target { bucket, key } = request.extensions.get().cloned().ok_or_else(error::denied)?;
    let header = |name: header::HeaderName| {
        let invalid = |value: &HeaderValue| s3_error!(InvalidArgument, "invalid header: {name}: {value:?}");
        request.headers.get(&name).map(|value| (value, invalid(value)))
    };
    let condition = |name| {
        let read = |(value, invalid): (&HeaderValue, _)| condition::read(value).ok_or(invalid);
        header(name).map(read).transpose()
    };
    let text = |name: &'static str| {
        let read = |(value, invalid): (&HeaderValue, _)| value.to_str().map(str::to_owned).map_err(|_| invalid);
        header(header::HeaderName::from_static(name)).map(read).transpose()
    };
    let size = text("x-amz-mp-object-size")?.map(|size| size.parse());
    let wrong = |_| s3_error!(InvalidRequest, "Value for x-amz-mp-object-size header is invalid.");
    Ok(CompleteMultipartUploadInput {
        bucket,
        key,
        upload_id: query(&request.uri, "uploadId"),
        multipart_upload: Some(CompletedMultipartUpload { parts: Some(parts) }),
        if_match: condition(header::IF_MATCH)?,
        if_none_match: condition(header::IF_NONE_MATCH)?,
        checksum_type: text("x-amz-checksum-type")?.map(ChecksumType::from),
        mpu_object_size: size.transpose().map_err(wrong)?,
        ..CompleteMultipartUploadInput::default()
    })
}

fn query(uri: &Uri, name: &str) -> String {
    let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_have_checksums_of_all_algorithms() {
        for algorithm in Algorithm::ALL {
            let element = format!("Checksum{}", algorithm.name());
            let text = format!(
                "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part><ETag>a</ETag><{element}>AA==</{element}>\
                 <PartNumber>7</PartNumber></Part><Part><PartNumber>8</PartNumber></Part></CompleteMultipartUpload>"
            );
            let document = Document::read(text.as_bytes()).unwrap();
            assert_eq!(document.parts.iter().map(|part| part.part_number).collect::<Vec<_>>(), [Some(7), Some(8)]);
            assert_eq!(document.checksums.0, [vec![(algorithm, "AA==".to_owned())], vec![]], "{element}");
        }
    }

    #[test]
    fn what_is_no_document() {
        let part = |text: &str| format!("<CompleteMultipartUpload><Part>{text}</Part></CompleteMultipartUpload>");
        let two = "<ChecksumMD5>a</ChecksumMD5><ChecksumMD5>b</ChecksumMD5>";
        for text in [
            String::new(),
            "<Other></Other>".to_owned(),
            part("<ChecksumCRC16>a</ChecksumCRC16>"),
            part("<Checksumcrc32>a</Checksumcrc32>"),
            part(two),
            part("<PartNumber>one</PartNumber>"),
            part("") + "<a/>",
            "<CompleteMultipartUpload><Part>".to_owned(),
        ] {
            assert_eq!(Document::read(text.as_bytes()).unwrap_err().code().as_str(), "MalformedXML", "{text}");
        }
        assert!(Document::read(part("").as_bytes()).is_ok());
    }
}
