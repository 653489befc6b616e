//! Cross-origin resource sharing of a bucket ("Using cross-origin resource sharing (CORS)", "CORS configuration", Amazon S3 User Guide).
//!
//! The first rule whose origins, methods and, before the fact, headers take the request decides; there is no adding up of rules.

use serde::{Deserialize, Serialize};

/// Most rules of a bucket.
pub const RULES_MAX: usize = 100;
/// The methods that a rule can allow.
pub const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];
/// Longest id of a rule, in characters.
pub const ID_CHARS_MAX: usize = 255;

/// What S3 says (`AccessForbidden`) to a preflight that no rule takes; the spelling is S3's.
pub const NOT_ALLOWED: &str = "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request \
    method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.";
/// What S3 says (`AccessForbidden`) to a preflight of a bucket without rules.
pub const NOT_ENABLED: &str = "CORSResponse: CORS is not enabled for this bucket.";

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The owner's name for it.
    pub id: Option<String>,
    /// Origins, `https://*.example.com`, each with one `*` at most.
    pub origins: Vec<String>,
    /// Some of [`METHODS`].
    pub methods: Vec<String>,
    /// Request headers, each with one `*` at most.
    pub headers: Vec<String>,
    /// Response headers that a script may read.
    pub expose: Vec<String>,
    /// For how long a browser may remember the answer to a preflight, in seconds.
    pub max_age: Option<u32>,
}

/// Headers of a response: name and value.
pub type Headers = Vec<(&'static str, String)>;

/// Checks rules that a bucket is to get. Missing elements are the reader's to refuse.
///
/// # Errors
/// AWS's message of `InvalidRequest`, for the first fault.
pub fn check(rules: &[Rule]) -> Result<(), String> {
    if rules.len() > RULES_MAX {
        return Err(format!("The number of CORS rules should not exceed allowed limit of {RULES_MAX} rules."));
    }
    let stars = |text: &String| text.matches('*').count();
    for rule in rules {
        if rule.id.as_ref().is_some_and(|id| id.chars().count() > ID_CHARS_MAX) {
            return Err(format!("CORS rule ID should not exceed allowed limit of {ID_CHARS_MAX} characters."));
        }
        if let Some(method) = rule.methods.iter().find(|m| !METHODS.contains(&m.as_str())) {
            return Err(format!("Found unsupported HTTP method in CORS config. Unsupported method is {method}"));
        }
        if let Some(origin) = rule.origins.iter().find(|o| stars(o) > 1) {
            return Err(format!("AllowedOrigin \"{origin}\" can not have more than one wildcard."));
        }
        if let Some(header) = rule.headers.iter().find(|h| stars(h) > 1) {
            return Err(format!("AllowedHeader \"{header}\" can not have more than one wildcard."));
        }
        if let Some(header) = rule.expose.iter().find(|h| stars(h) > 0) {
            return Err(format!("ExposeHeader \"{header}\" contains wildcard. We currently do not support wildcard for ExposeHeader."));
        }
    }
    Ok(())
}

/// The headers of the answer to a preflight (`OPTIONS`): `method` is its Access-Control-Request-Method, `headers` the names in its
/// Access-Control-Request-Headers. `None`: no rule takes it ([`NOT_ALLOWED`]).
#[must_use]
pub fn preflight(rules: &[Rule], origin: &str, method: &str, headers: &[&str]) -> Option<Headers> {
    let takes_headers = |rule: &Rule| {
        let allowed = |header: &&str| rule.headers.iter().any(|h| one_star(&h.to_ascii_lowercase(), &header.to_ascii_lowercase()));
        headers.iter().all(allowed)
    };
    let (rule, allowed) =
        rules.iter().find_map(|rule| Some((rule, takes(rule, origin, method)?)).filter(|(rule, _)| takes_headers(rule)))?;
    let mut answer = common(rule, allowed, origin);
    if !headers.is_empty() {
        let names: Vec<String> = headers.iter().map(|h| h.to_ascii_lowercase()).collect();
        answer.push(("Access-Control-Allow-Headers", names.join(", ")));
    }
    Some(answer)
}

/// The headers that a request's answer gets for its origin; none if no rule takes it: the request itself is answered all the same, and
/// the browser keeps the answer from the script.
#[must_use]
pub fn actual(rules: &[Rule], origin: &str, method: &str) -> Headers {
    rules.iter().find_map(|rule| Some(common(rule, takes(rule, origin, method)?, origin))).unwrap_or_default()
}

/// The origin of a rule that takes a request's, if the rule takes its method too.
fn takes<'a>(rule: &'a Rule, origin: &str, method: &str) -> Option<&'a str> {
    rule.methods.iter().find(|m| *m == method)?;
    rule.origins.iter().map(String::as_str).find(|allowed| one_star(allowed, origin))
}

fn common(rule: &Rule, allowed: &str, origin: &str) -> Headers {
    let mut headers: Headers = Vec::new();
    // To whoever comes, nobody's cookies are let in; a `null` origin is one like any other.
    if allowed == "*" {
        headers.push(("Access-Control-Allow-Origin", "*".into()));
    } else {
        headers.push(("Access-Control-Allow-Origin", origin.into()));
        headers.push(("Access-Control-Allow-Credentials", "true".into()));
    }
    headers.push(("Access-Control-Allow-Methods", rule.methods.join(", ")));
    if !rule.expose.is_empty() {
        headers.push(("Access-Control-Expose-Headers", rule.expose.join(", ")));
    }
    if let Some(seconds) = rule.max_age {
        headers.push(("Access-Control-Max-Age", seconds.to_string()));
    }
    headers.push(("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method".into()));
    headers
}

/// Whether a text matches a pattern with one `*` at most.
fn one_star(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(origins: &[&str], methods: &[&str], headers: &[&str]) -> Rule {
        let texts = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect();
        Rule { origins: texts(origins), methods: texts(methods), headers: texts(headers), ..Rule::default() }
    }

    fn header(headers: &[(&'static str, String)], name: &str) -> Option<String> {
        headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())
    }

    /// "How does Amazon S3 evaluate the CORS configuration on a bucket?"
    #[test]
    fn which_requests_are_taken() {
        let rules = [
            rule(&["http://www.example1.com"], &["PUT", "POST", "DELETE"], &["*"]),
            rule(&["https://*.example2.com", "null"], &["GET"], &["x-amz-*", "Content-Type"]),
            rule(&["*"], &["HEAD"], &[]),
        ];
        for (origin, method, headers, taken) in [
            ("http://www.example1.com", "PUT", &["x-anything"][..], true),
            ("http://www.example1.com", "GET", &[], false),
            ("https://www.example1.com", "PUT", &[], false),
            ("http://www.example1.com.evil.org", "PUT", &[], false),
            ("https://a.example2.com", "GET", &["X-AMZ-Date", "content-type"], true),
            ("https://a.example2.com", "GET", &["x-amz-date", "x-other"], false),
            ("https://example2.com", "GET", &[], false),
            ("null", "GET", &[], true),
            ("null", "PUT", &[], false),
            ("http://anyone.org", "HEAD", &[], true),
            ("http://anyone.org", "HEAD", &["range"], false),
            ("http://anyone.org", "head", &[], false),
        ] {
            assert_eq!(preflight(&rules, origin, method, headers).is_some(), taken, "{origin} {method} {headers:?}");
        }
        assert_eq!(preflight(&[], "null", "GET", &[]), None);
        assert!(!actual(&rules, "https://a.example2.com", "GET").is_empty());
        assert!(actual(&rules, "https://a.example2.com", "PUT").is_empty());
    }

    #[test]
    fn what_is_answered() {
        let rules = [
            Rule {
                expose: vec!["x-amz-request-id".into(), "ETag".into()],
                max_age: Some(3000),
                ..rule(&["https://*.example.com"], &["GET", "PUT"], &["*"])
            },
            rule(&["*"], &["GET"], &["*"]),
        ];
        let answer = preflight(&rules, "https://a.example.com", "PUT", &["X-Amz-Date", "content-type"]).unwrap();
        for (name, value) in [
            ("Access-Control-Allow-Origin", "https://a.example.com"),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Allow-Methods", "GET, PUT"),
            ("Access-Control-Allow-Headers", "x-amz-date, content-type"),
            ("Access-Control-Expose-Headers", "x-amz-request-id, ETag"),
            ("Access-Control-Max-Age", "3000"),
            ("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"),
        ] {
            assert_eq!(header(&answer, name).as_deref(), Some(value), "{name}");
        }
        let anyone = actual(&rules, "https://b.org", "GET");
        assert_eq!(header(&anyone, "Access-Control-Allow-Origin").as_deref(), Some("*"));
        for absent in ["Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Max-Age"] {
            assert_eq!(header(&anyone, absent), None, "{absent}");
        }
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(check(&[rule(&["https://*.example.com"], &["GET"], &["x-*"])]), Ok(()));
        assert_eq!(check(&vec![rule(&["*"], &["GET"], &[]); 100]), Ok(()));
        for (rules, start) in [
            (vec![rule(&["*"], &["GET"], &[]); 101], "The number of CORS rules should not exceed"),
            (vec![rule(&["*"], &["OPTIONS"], &[])], "Found unsupported HTTP method in CORS config. Unsupported method is OPTIONS"),
            (vec![rule(&["http://*.*"], &["GET"], &[])], "AllowedOrigin \"http://*.*\" can not have more than one wildcard."),
            (vec![rule(&["*"], &["GET"], &["*-*"])], "AllowedHeader \"*-*\" can not have more than one wildcard."),
            (vec![Rule { expose: vec!["*".into()], ..rule(&["*"], &["GET"], &[]) }], "ExposeHeader \"*\" contains wildcard."),
            (vec![Rule { id: Some("x".repeat(256)), ..rule(&["*"], &["GET"], &[]) }], "CORS rule ID"),
        ] {
            assert!(check(&rules).unwrap_err().starts_with(start), "{start}");
        }
    }

    #[test]
    fn a_star_doesnt_overlap_itself() {
        assert!(one_star("ab*bc", "abbc") && !one_star("ab*bc", "abc") && one_star("*", "") && one_star("a*", "aé"));
    }
}
