//! Operations that AWS has and s3s doesn't know: without this, `GET /bucket?abac` would be a listing and `PUT /bucket/key?renameObject` a
//! new object.

use crate::error::custom_text;
use crate::target;
use http::Method;
use http::request::Parts;
use s3s::S3Error;

/// Each one's method, the parameter that makes it that operation, and its name, as in AWS's model.
const OPERATIONS: [(Method, &str, &str); 10] = [
    (Method::POST, "metadataConfiguration", "CreateBucketMetadataConfiguration"),
    (Method::GET, "metadataConfiguration", "GetBucketMetadataConfiguration"),
    (Method::DELETE, "metadataConfiguration", "DeleteBucketMetadataConfiguration"),
    (Method::PUT, "metadataInventoryTable", "UpdateBucketMetadataInventoryTableConfiguration"),
    (Method::PUT, "metadataJournalTable", "UpdateBucketMetadataJournalTableConfiguration"),
    (Method::GET, "abac", "GetBucketAbac"),
    (Method::PUT, "abac", "PutBucketAbac"),
    (Method::PUT, "renameObject", "RenameObject"),
    (Method::PUT, "encryption", "UpdateObjectEncryption"),
    (Method::POST, "select", "SelectObjectContent"),
];

/// The answer to such an operation; `bucket_in_host`: the path is a key.
pub(crate) fn refusal(head: &Parts, bucket_in_host: bool) -> Option<S3Error> {
    let has = |name: &str| target::parameters(head).any(|(n, _)| n == name);
    let named = |(method, name, _): &&(Method, &str, &str)| *method == head.method && has(name);
    let (_, _, operation) = OPERATIONS.iter().find(named)?;
    // `encryption` of a bucket is another operation, which is built.
    let bare = *operation == "UpdateObjectEncryption" && !target::is_object(head, bucket_in_host);
    (!bare).then(|| custom_text("NotImplemented", 501, format!("{operation} is not implemented")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_not_built_is_refused() {
        let refused =
            |method: &str, uri: &str| refusal(&http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts().0, false);
        for (method, uri) in
            [("GET", "/b?abac"), ("PUT", "/b/k?renameObject=&x=y"), ("PUT", "/b/k?encryption"), ("POST", "/b/k?select&select-type=2")]
        {
            let error = refused(method, uri).unwrap();
            assert_eq!((error.code().as_str(), error.status_code().unwrap().as_u16()), ("NotImplemented", 501), "{uri}");
        }
        for (method, uri) in
            [("PUT", "/b?encryption"), ("PUT", "/b/?encryption"), ("GET", "/b/abac"), ("GET", "/b/k?x=abac"), ("DELETE", "/b?abac")]
        {
            assert!(refused(method, uri).is_none(), "{uri}");
        }
    }
}
