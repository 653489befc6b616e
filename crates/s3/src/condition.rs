//! Conditions of requests: of writes, of reads, of copies' sources (RFC 9110, and "Add preconditions to S3 operations").

use crate::error::{Result, custom, precondition_failed};
use http::HeaderValue;
use model::time::Timestamp;
use objects::{Condition, EtagMatch, Version};
use s3s::S3Error;
use s3s::dto::{self, ETagCondition};

/// When a write may be done. AWS refuses an `If-None-Match` that is not `*`; here it means what HTTP says.
pub(crate) fn of_write(if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> Condition {
    Condition { if_match: if_match.map(etags), if_none_match: if_none_match.map(etags) }
}

/// A header that S3 knows, with a value that it does nothing with.
pub(crate) fn not_implemented() -> S3Error {
    custom("NotImplemented", 501, "A header you provided implies functionality that is not implemented")
}

/// The ETag of a condition's header, read as S3 reads it: quotation marks don't count, be there both, one or none. `None`: no ETag.
pub(crate) fn read(value: &HeaderValue) -> Option<ETagCondition> {
    let value = value.to_str().ok()?.trim();
    ETagCondition::parse_http_header(value.as_bytes()).ok().or_else(|| {
        let bare = value.trim_matches('"');
        ETagCondition::parse_http_header(format!("\"{bare}\"").as_bytes()).ok()
    })
}

/// Whether s3s refuses a condition's header that [`read`] reads.
pub(crate) fn is_odd(value: &HeaderValue) -> bool {
    ETagCondition::parse_http_header(value.as_bytes()).is_err() && read(value).is_some()
}

/// Which ETags are meant.
pub(crate) fn etags(condition: &ETagCondition) -> EtagMatch {
    match condition {
        ETagCondition::Any => EtagMatch::Any,
        ETagCondition::ETag(etag) => EtagMatch::List(vec![etag.value().to_owned()]),
    }
}

/// The conditions of a read, or of a copy's source.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading<'a> {
    pub(crate) if_match: Option<&'a ETagCondition>,
    pub(crate) if_none_match: Option<&'a ETagCondition>,
    pub(crate) if_modified_since: Option<&'a dto::Timestamp>,
    pub(crate) if_unmodified_since: Option<&'a dto::Timestamp>,
}

/// What a read's conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is answered.
    Holds,
    /// The client has it: 304.
    NotModified,
}

impl Reading<'_> {
    /// Judges them. Conditions on ETags win over those on times.
    ///
    /// # Errors
    /// `PreconditionFailed`.
    pub(crate) fn judge(&self, version: &Version) -> Result<Verdict> {
        self.of(&version.etag, version.last_modified)
    }

    fn of(&self, etag: &str, last_modified: Timestamp) -> Result<Verdict> {
        let is = |condition: &ETagCondition| etags(condition).matches(etag);
        // Last-Modified is shown in whole seconds.
        let changed = last_modified.0.div_euclid(1000);
        match (self.if_match, self.if_unmodified_since) {
            (Some(wanted), _) if !is(wanted) => return Err(precondition_failed()),
            (None, Some(time)) if changed > seconds(time) => return Err(precondition_failed()),
            _ => {}
        }
        match (self.if_none_match, self.if_modified_since) {
            (Some(unwanted), _) if is(unwanted) => Ok(Verdict::NotModified),
            (None, Some(time)) if changed <= seconds(time) => Ok(Verdict::NotModified),
            _ => Ok(Verdict::Holds),
        }
    }
}

/// Seconds since 1970.
fn seconds(time: &dto::Timestamp) -> i64 {
    crate::time::read(time).0.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotation_marks_of_etags_do_not_count() {
        let etag = |value: &'static str| match read(&HeaderValue::from_static(value)) {
            Some(ETagCondition::ETag(etag)) => Some(etag.value().to_owned()),
            Some(ETagCondition::Any) => Some("any".to_owned()),
            None => None,
        };
        for value in ["\"0a1b-2\"", "0a1b-2", "\"0a1b-2", "0a1b-2\"", "W/\"0a1b-2\""] {
            assert_eq!(etag(value).as_deref(), Some("0a1b-2"), "{value}");
        }
        assert_eq!(etag("*").as_deref(), Some("any"));
        assert!(is_odd(&HeaderValue::from_static("\"0a1b-2")) && !is_odd(&HeaderValue::from_static("0a1b-2")));
    }

    #[test]
    fn conditions_on_etags_win() {
        let etag = |value: &str| Some(ETagCondition::ETag(dto::ETag::Strong(value.to_owned())));
        let at = |seconds: i64| Some(crate::time::show(Timestamp(seconds * 1000)));
        let (is, isnt, any) = (etag("is"), etag("isn't"), Some(ETagCondition::Any));
        let (holds, known, fails) = (Some(Verdict::Holds), Some(Verdict::NotModified), None);
        let (before, same, after) = (at(99), at(100), at(101));
        for (what, if_match, if_unmodified_since, if_none_match, if_modified_since, verdict) in [
            ("nothing asked", &None, &None, &None, &None, holds),
            ("the ETag", &is, &None, &None, &None, holds),
            ("any ETag", &any, &None, &None, &None, holds),
            ("another ETag", &isnt, &None, &None, &None, fails),
            ("the ETag, changed since", &is, &before, &None, &None, holds),
            ("another ETag, unchanged since", &isnt, &after, &None, &None, fails),
            ("changed since", &None, &before, &None, &None, fails),
            ("unchanged since the same second", &None, &same, &None, &None, holds),
            ("not the ETag", &None, &None, &is, &None, known),
            ("not any ETag", &None, &None, &any, &None, known),
            ("not another ETag", &None, &None, &isnt, &None, holds),
            ("not another ETag, unchanged since", &None, &None, &isnt, &after, holds),
            ("not the ETag, changed since", &None, &None, &is, &before, known),
            ("modified since", &None, &None, &None, &before, holds),
            ("not modified since the same second", &None, &None, &None, &same, known),
            ("both fail: 412 before 304", &isnt, &None, &is, &None, fails),
        ] {
            let reading = Reading {
                if_match: if_match.as_ref(),
                if_none_match: if_none_match.as_ref(),
                if_modified_since: if_modified_since.as_ref(),
                if_unmodified_since: if_unmodified_since.as_ref(),
            };
            assert_eq!(reading.of("is", Timestamp(100_900)).ok(), verdict, "{what}");
        }
    }
}
