//! Websites, as the pages of the Amazon S3 User Guide that the tests name have them.
#![allow(clippy::unwrap_used)]

use super::*;

fn site(rules: Vec<RoutingRule>) -> Config {
    Config { index: Some("index.html".into()), error: Some("error.html".into()), redirect_all: None, rules }
}

fn rule(prefix: Option<&str>, code: Option<u16>, redirect: RuleRedirect) -> RoutingRule {
    let condition = Condition { key_prefix: prefix.map(Into::into), error_code: code };
    RoutingRule { condition: (condition != Condition::default()).then_some(condition), redirect }
}

fn object(key: &str) -> Route {
    Route::Object { key: key.into() }
}

fn redirect(code: u16, host: Option<&str>, key: &str) -> Route {
    Route::Redirect(Redirect { code, protocol: None, host: host.map(Into::into), key: key.into() })
}

/// "Configuring an index document".
#[test]
fn index_documents() {
    let site = site(vec![]);
    for (path, key) in
        [("", "index.html"), ("photos/", "photos/index.html"), ("photos", "photos"), ("a/b.jpg", "a/b.jpg"), ("/", "/index.html")]
    {
        assert_eq!(route(&site, path), object(key), "{path}");
    }
    for (path, index) in [("photos", Some("photos/index.html")), ("photos/", None), ("", None)] {
        assert_eq!(folder_index(&site, path).as_deref(), index, "{path}");
    }
    assert_eq!(route_error(&site, "photos", 404, true), redirect(302, None, "photos/"));
    assert_eq!(route(&Config::default(), ""), object(""));
}

/// "Configuring a custom error document": for errors of class 4XX.
#[test]
fn error_documents() {
    let shown = Route::ErrorObject { key: "error.html".into() };
    for (code, expected) in [(403, &shown), (404, &shown), (405, &shown), (500, &Route::Error), (503, &Route::Error)] {
        assert_eq!(route_error(&site(vec![]), "x", code, false), *expected, "{code}");
    }
    assert_eq!(route_error(&Config { error: None, ..site(vec![]) }, "x", 404, false), Route::Error);
}

/// "Using advanced conditional redirects", the page's examples.
#[test]
fn routing_rules() {
    let to = RuleRedirect::default;
    let renamed = rule(Some("docs/"), None, RuleRedirect { replace_prefix: Some("documents/".into()), ..to() });
    let gone = rule(Some("images/"), None, RuleRedirect { replace_key: Some("folderdeleted.html".into()), ..to() });
    let report = RuleRedirect { host: Some("ec2.example.com".into()), replace_prefix: Some("report-404/".into()), ..to() };
    let missing = rule(None, Some(404), report);
    let secret = rule(Some("secret/"), Some(403), RuleRedirect { code: Some(307), replace_key: Some(String::new()), ..to() });
    let site = site(vec![renamed, gone, secret, missing]);
    for (path, expected) in [
        ("docs/a", redirect(301, None, "documents/a")),
        ("docs/", redirect(301, None, "documents/")),
        ("docs", object("docs")),
        ("images/x.jpg", redirect(301, None, "folderdeleted.html")),
        ("secret/x", object("secret/x")),
    ] {
        assert_eq!(route(&site, path), expected, "{path}");
    }
    for (path, code, expected) in [
        ("a.html", 404, redirect(301, Some("ec2.example.com"), "report-404/a.html")),
        ("secret/x", 403, redirect(307, None, "")),
        ("secret/x", 404, redirect(301, Some("ec2.example.com"), "report-404/secret/x")),
        ("a.html", 403, Route::ErrorObject { key: "error.html".into() }),
        // A rule without a code was tried before; it isn't tried for errors.
        ("docs/a", 403, Route::ErrorObject { key: "error.html".into() }),
    ] {
        assert_eq!(route_error(&site, path, code, false), expected, "{path} {code}");
    }
}

/// "Redirect requests for your bucket's website endpoint to another bucket or domain".
#[test]
fn everything_elsewhere() {
    let redirect_all = Some(RedirectAll { host: "example.com".into(), protocol: Some(Protocol::Https) });
    let site = Config { redirect_all, ..Config::default() };
    let expected = Redirect { code: 301, protocol: Some(Protocol::Https), host: Some("example.com".into()), key: "a/b".into() };
    assert_eq!(route(&site, "a/b"), Route::Redirect(expected));
    assert_eq!(check(&site), Ok(()));
    assert_eq!(Protocol::Https.as_str(), "https");
    assert_eq!(Protocol::Http.as_str(), "http");
}

#[test]
fn what_is_refused() {
    let all = || Some(RedirectAll { host: "h".into(), protocol: None });
    let with = |rule| site(vec![rule]);
    let to = RuleRedirect::default;
    let empty = RoutingRule { condition: Some(Condition::default()), redirect: to() };
    let both = RuleRedirect { replace_key: Some("a".into()), replace_prefix: Some("b".into()), ..to() };
    assert_eq!(check(&site(vec![RoutingRule::default(); RULES_MAX])), Ok(()));
    assert_eq!(check(&with(rule(Some(""), Some(404), RuleRedirect { code: Some(308), ..to() }))), Ok(()));
    for (config, start) in [
        (Config::default(), "A value for IndexDocument Suffix must be provided"),
        (Config { index: Some("a/b".into()), ..Config::default() }, "The IndexDocument Suffix is not well formed"),
        (Config { index: Some(String::new()), ..Config::default() }, "The IndexDocument Suffix is not well formed"),
        (Config { error: Some(String::new()), ..site(vec![]) }, "The ErrorDocument Key is not well formed"),
        (Config { redirect_all: all(), ..site(vec![]) }, "RedirectAllRequestsTo cannot be provided"),
        (site(vec![RoutingRule::default(); RULES_MAX + 1]), "51 routing rules provided"),
        (with(empty), "Condition cannot be empty."),
        (with(rule(None, Some(301), to())), "The provided HTTP error code (301) is not valid."),
        (with(rule(None, None, RuleRedirect { code: Some(300), ..to() })), "The provided HTTP redirect code (300) is not valid."),
        (with(rule(None, None, RuleRedirect { host: Some("a\r\nb".into()), ..to() })), "The provided host name is not valid."),
        (Config { redirect_all: Some(RedirectAll { host: "a b".into(), protocol: None }), ..Config::default() }, "The provided host name"),
        (with(rule(None, None, both)), "You can only define ReplaceKeyPrefix or ReplaceKey but not both."),
    ] {
        let message = check(&config).unwrap_err().message;
        assert!(message.starts_with(start), "{message}");
    }
}
