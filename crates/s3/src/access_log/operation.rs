//! The names of operations in access logs ("Log fields": `REST.HTTP_method.resource_type`).

use http::Method;

/// What a parameter of the query makes the resource of: of a bucket, of an object. Empty: it makes nothing.
const RESOURCES: [(&str, &str, &str); 27] = [
    ("uploadId", "", "UPLOAD"),
    ("uploads", "UPLOADS", "UPLOADS"),
    ("acl", "ACL", "ACL"),
    ("tagging", "TAGGING", "OBJECT_TAGGING"),
    ("versions", "BUCKETVERSIONS", ""),
    ("versioning", "VERSIONING", ""),
    ("location", "LOCATION", ""),
    ("logging", "LOGGING_STATUS", ""),
    ("policy", "BUCKETPOLICY", ""),
    ("policyStatus", "BUCKETPOLICYSTATUS", ""),
    ("cors", "CORS", ""),
    ("lifecycle", "LIFECYCLE", ""),
    ("notification", "NOTIFICATION", ""),
    ("website", "WEBSITE", ""),
    ("encryption", "ENCRYPTION", ""),
    ("requestPayment", "REQUEST_PAYMENT", ""),
    ("accelerate", "ACCELERATE", ""),
    ("replication", "REPLICATION", ""),
    ("publicAccessBlock", "PUBLIC_ACCESS_BLOCK", ""),
    ("ownershipControls", "OWNERSHIP_CONTROLS", ""),
    ("object-lock", "OBJECT_LOCK_CONFIGURATION", ""),
    ("retention", "", "OBJECT_LOCK_RETENTION"),
    ("legal-hold", "", "OBJECT_LOCK_LEGALHOLD"),
    ("attributes", "", "OBJECT_ATTRIBUTES"),
    ("delete", "MULTI_OBJECT_DELETE", ""),
    ("restore", "", "RESTORE"),
    ("select", "", "SELECT_OBJECT_CONTENT"),
];

/// The name of a request's operation.
pub(crate) fn operation(method: &Method, query: &str, of_object: bool, copies: bool, website: bool) -> String {
    if website {
        return format!("WEBSITE.{method}.OBJECT");
    }
    if method == Method::OPTIONS {
        return "REST.OPTIONS.PREFLIGHT".into();
    }
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    if has("partNumber") && has("uploadId") && method == Method::PUT {
        return if copies { "REST.COPY.PART".into() } else { "REST.PUT.PART".into() };
    }
    let named = RESOURCES.iter().find_map(|(parameter, bucket, object)| {
        let resource = if of_object { object } else { bucket };
        (!resource.is_empty() && has(parameter)).then_some(*resource)
    });
    match named {
        Some(resource) => format!("REST.{method}.{resource}"),
        None if copies && of_object && method == Method::PUT => "REST.COPY.OBJECT".into(),
        None if of_object => format!("REST.{method}.OBJECT"),
        // A form.
        None if method == Method::POST => "REST.POST.OBJECT".into(),
        None => format!("REST.{method}.BUCKET"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (method, query, of_object, copies, name) in [
            (Method::GET, "", true, false, "REST.GET.OBJECT"),
            (Method::GET, "versionId=x", true, false, "REST.GET.OBJECT"),
            (Method::GET, "list-type=2&prefix=acl", false, false, "REST.GET.BUCKET"),
            (Method::GET, "versions&max-keys=2", false, false, "REST.GET.BUCKETVERSIONS"),
            (Method::PUT, "partNumber=1&uploadId=u", true, false, "REST.PUT.PART"),
            (Method::PUT, "partNumber=1&uploadId=u", true, true, "REST.COPY.PART"),
            (Method::POST, "uploads", true, false, "REST.POST.UPLOADS"),
            (Method::POST, "uploadId=u", true, false, "REST.POST.UPLOAD"),
            (Method::POST, "delete", false, false, "REST.POST.MULTI_OBJECT_DELETE"),
            (Method::PUT, "", true, true, "REST.COPY.OBJECT"),
            (Method::PUT, "tagging", true, false, "REST.PUT.OBJECT_TAGGING"),
            (Method::POST, "", false, false, "REST.POST.OBJECT"),
            (Method::OPTIONS, "", true, false, "REST.OPTIONS.PREFLIGHT"),
        ] {
            assert_eq!(operation(&method, query, of_object, copies, false), name, "{method} {query}");
        }
        assert_eq!(operation(&Method::HEAD, "acl", true, false, true), "WEBSITE.HEAD.OBJECT");
    }
}
