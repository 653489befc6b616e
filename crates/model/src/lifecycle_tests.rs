//! Rules on objects, as the pages of the Amazon S3 User Guide that the tests name have them.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn time(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn rule() -> Rule {
    Rule { id: "r".into(), enabled: true, ..Rule::default() }
}

fn tags(all: &[(&str, &str)]) -> Tags {
    Tags(all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

fn facts<'a>(key: &'a str, size: u64, tags: &'a Tags, state: State) -> Facts<'a> {
    Facts { key, size, tags, made: time("2014-01-15T10:30:00Z"), state }
}

fn when(rule: &Rule, state: State) -> Option<(String, Action)> {
    let none = tags(&[]);
    next(std::slice::from_ref(rule), &facts("k", 1, &none, state)).map(|due| (due.at.iso8601_seconds(), due.action))
}

/// "Lifecycle rules: Based on an object's age".
#[test]
fn days_end_at_the_next_midnight() {
    for (made, days, ends) in [
        ("2014-01-15T10:30:00Z", 3, "2014-01-19T00:00:00Z"),
        ("2014-01-15T23:59:59.999Z", 1, "2014-01-17T00:00:00Z"),
        ("2014-01-15T00:00:00Z", 1, "2014-01-17T00:00:00Z"),
        ("2014-12-31T12:00:00Z", 365, "2016-01-01T00:00:00Z"),
        ("1969-12-31T12:00:00Z", 1, "1970-01-02T00:00:00Z"),
    ] {
        assert_eq!(days_after(time(made), days), time(ends), "{made} {days}");
    }
}

/// "Lifecycle configuration elements".
#[test]
fn what_each_action_does() {
    let days = Rule { expiration: Some(Expiration::Days(3)), ..rule() };
    let date = Rule { expiration: Some(Expiration::Date(time("2014-02-01T00:00:00Z"))), ..rule() };
    let marker = Rule { expiration: Some(Expiration::ExpiredObjectDeleteMarker), ..rule() };
    let versions = Rule { noncurrent: Some(Noncurrent { days: 3, newer_versions: None }), ..rule() };
    let kept = Rule { noncurrent: Some(Noncurrent { days: 3, newer_versions: Some(2) }), ..rule() };
    let uploads = Rule { abort_multipart_days: Some(7), ..rule() };
    let noncurrent = |newer| State::Noncurrent { since: time("2014-01-20T10:30:00Z"), newer };
    let (alone, covering) = (State::Marker { alone: true }, State::Marker { alone: false });
    for (rule, state, expected) in [
        (&days, State::Current, Some(("2014-01-19T00:00:00Z", Action::Expire))),
        (&days, alone, Some(("2014-01-19T00:00:00Z", Action::MarkerRemove))),
        (&days, covering, None),
        (&days, noncurrent(0), None),
        (&days, State::Upload, None),
        (&date, State::Current, Some(("2014-02-01T00:00:00Z", Action::Expire))),
        (&date, alone, None),
        (&marker, State::Current, None),
        (&marker, covering, None),
        (&marker, alone, Some(("2014-01-15T10:30:00Z", Action::MarkerRemove))),
        // Counted from when the successor was made.
        (&versions, noncurrent(0), Some(("2014-01-24T00:00:00Z", Action::VersionDelete))),
        (&versions, State::Current, None),
        (&kept, noncurrent(1), None),
        (&kept, noncurrent(2), Some(("2014-01-24T00:00:00Z", Action::VersionDelete))),
        (&uploads, State::Upload, Some(("2014-01-23T00:00:00Z", Action::UploadAbort))),
        (&uploads, State::Current, None),
    ] {
        assert_eq!(when(rule, state), expected.map(|(at, action)| (at.to_owned(), action)), "{rule:?} {state:?}");
    }
    assert_eq!(when(&Rule { enabled: false, ..days }, State::Current), None);
}

/// "Filter element" of the same page.
#[test]
fn of_which_objects() {
    let of = |filter| Rule { filter, expiration: Some(Expiration::Days(1)), ..rule() };
    let both = Filter { prefix: "logs/".into(), tags: tags(&[("a", "1"), ("b", "2")]), ..Filter::default() };
    let sizes = Filter { size_greater: Some(500), size_less: Some(64_000), ..Filter::default() };
    for (filter, key, size, object, taken) in [
        (Filter::default(), "x", 0, &[][..], true),
        (both.clone(), "logs/x", 0, &[("a", "1"), ("b", "2"), ("c", "3")], true),
        (both.clone(), "logs/x", 0, &[("a", "1")], false),
        (both.clone(), "logs/x", 0, &[("a", "1"), ("b", "1")], false),
        (both, "log", 0, &[("a", "1"), ("b", "2")], false),
        (sizes.clone(), "x", 500, &[], false),
        (sizes.clone(), "x", 501, &[], true),
        (sizes.clone(), "x", 63_999, &[], true),
        (sizes, "x", 64_000, &[], false),
    ] {
        let object = tags(object);
        let rules = [of(filter)];
        assert_eq!(next(&rules, &facts(key, size, &object, State::Current)).is_some(), taken, "{key} {size} {object:?}");
    }
}

/// "Examples of S3 Lifecycle configurations": rules that overlap.
#[test]
fn the_earlier_rule_wins() {
    let of = |id: &str, days| Rule { id: id.into(), expiration: Some(Expiration::Days(days)), ..rule() };
    let (rules, none) = ([of("year", 365), of("week", 7), of("month", 30)], tags(&[]));
    let object = facts("k", 1, &none, State::Current);
    assert_eq!(next(&rules, &object).unwrap().rule, "week");
    assert_eq!(due(&rules, &object, time("2014-01-22T23:59:59.999Z"), Days::Calendar), None);
    assert_eq!(due(&rules, &object, time("2014-01-23T00:00:00Z"), Days::Calendar), Some(Action::Expire));
}

#[test]
fn short_days_end_on_time() {
    let (rules, none) = ([Rule { expiration: Some(Expiration::Days(3)), ..rule() }], tags(&[]));
    let object = facts("k", 1, &none, State::Current);
    assert_eq!(due(&rules, &object, object.made.plus_millis(5999), Days::Short(2000)), None);
    assert_eq!(due(&rules, &object, object.made.plus_millis(6000), Days::Short(2000)), Some(Action::Expire));
}

/// "HeadObject", Amazon S3 API Reference.
#[test]
fn header() {
    let none = tags(&[]);
    let of = |id: &str, state| {
        let rule = Rule { id: id.into(), expiration: Some(Expiration::Days(3)), abort_multipart_days: Some(1), ..rule() };
        expiration_header(&[rule], &Facts { made: time("2012-12-17T02:14:10Z"), ..facts("k", 1, &none, state) })
    };
    let expected = |id: &str| Some(format!("expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\", rule-id=\"{id}\""));
    assert_eq!(of("Rule for testfile.txt", State::Current), expected("Rule for testfile.txt"));
    assert_eq!(of("a\"b\r\n%é", State::Current), expected("a%22b%0D%0A%25%C3%A9"));
    assert_eq!(of("x", State::Marker { alone: true }), None);
    assert_eq!(of("x", State::Upload), None);
}

#[test]
fn what_is_refused() {
    let good = Rule { expiration: Some(Expiration::Days(1)), ..rule() };
    let tagged = Filter { tags: tags(&[("a", "1")]), ..Filter::default() };
    let sized = Filter { size_less: Some(1), ..Filter::default() };
    assert_eq!(check(std::slice::from_ref(&good)), Ok(()));
    for (rules, start) in [
        (vec![], "The XML you provided"),
        (vec![good.clone(), good.clone()], "Rule ID must be unique"),
        (vec![Rule { id: "x".repeat(256), ..good.clone() }], "ID length should not exceed"),
        (vec![rule()], "At least one action"),
        (vec![Rule { expiration: Some(Expiration::Days(0)), ..rule() }], "'Days' for Expiration"),
        (vec![Rule { expiration: Some(Expiration::Date(Timestamp(1))), ..rule() }], "'Date' must be at midnight GMT"),
        (
            vec![Rule { expiration: Some(Expiration::ExpiredObjectDeleteMarker), filter: tagged.clone(), ..rule() }],
            "ExpiredObjectDeleteMarker cannot",
        ),
        (vec![Rule { noncurrent: Some(Noncurrent { days: 0, newer_versions: None }), ..rule() }], "'NoncurrentDays'"),
        (vec![Rule { noncurrent: Some(Noncurrent { days: 1, newer_versions: Some(101) }), ..rule() }], "'NewerNoncurrentVersions'"),
        (vec![Rule { abort_multipart_days: Some(0), ..rule() }], "'DaysAfterInitiation'"),
        (
            vec![Rule { abort_multipart_days: Some(1), filter: tagged, ..rule() }],
            "AbortIncompleteMultipartUpload cannot be specified with Tags",
        ),
        (
            vec![Rule { abort_multipart_days: Some(1), filter: sized, ..rule() }],
            "AbortIncompleteMultipartUpload cannot be specified with Object",
        ),
    ] {
        let message = check(&rules).unwrap_err().message;
        assert!(message.starts_with(start), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any time and number of days: at a midnight, more than those days later, and not by more than one.
    #[test]
    fn days_are_whole(made in -4_000_000_000_000i64..4_000_000_000_000, days in 0u32..40_000) {
        let end = days_after(Timestamp(made), days).0;
        prop_assert_eq!(end.rem_euclid(DAY_MILLIS), 0);
        let waited = end - made - i64::from(days) * DAY_MILLIS;
        prop_assert!(waited > 0 && waited <= DAY_MILLIS);
    }
}
