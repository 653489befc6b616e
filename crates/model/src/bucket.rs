//! Buckets' names ("General purpose bucket naming rules", Amazon S3 User Guide).

use std::fmt;

/// Fewest characters of a name.
pub const NAME_CHARS_MIN: usize = 3;
/// Most characters of a name.
pub const NAME_CHARS_MAX: usize = 63;

/// Beginnings that AWS keeps for itself.
const PREFIXES_RESERVED: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
/// Ends that AWS keeps for aliases and other kinds of buckets.
const SUFFIXES_RESERVED: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Why a name can't be a bucket's: `InvalidBucketName`. Shown is the reason; AWS's own message is always "The specified bucket is not
/// valid."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// Shorter than 3 or longer than 63 characters.
    Length,
    /// Something else than lower-case letters, digits, dots and hyphens.
    Character,
    /// A label, between dots, is empty or doesn't begin and end with a letter or digit.
    Label,
    /// It looks like an IPv4 address.
    Address,
    /// It begins with this.
    Prefix(&'static str),
    /// It ends with this.
    Suffix(&'static str),
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "a bucket's name has {NAME_CHARS_MIN} to {NAME_CHARS_MAX} characters"),
            Self::Character => f.write_str("a bucket's name has lower-case letters, digits, dots and hyphens only"),
            Self::Label => f.write_str("each part of a bucket's name, between dots, begins and ends with a letter or digit"),
            Self::Address => f.write_str("a bucket's name must not look like an IP address"),
            Self::Prefix(prefix) => write!(f, "a bucket's name must not begin with {prefix}"),
            Self::Suffix(suffix) => write!(f, "a bucket's name must not end with {suffix}"),
        }
    }
}

impl std::error::Error for BadName {}

/// Checks the name of a bucket that is to be made.
///
/// # Errors
/// [`BadName`], for the first rule that it breaks.
pub fn name_check(name: &str) -> Result<(), BadName> {
    if !(NAME_CHARS_MIN..=NAME_CHARS_MAX).contains(&name.chars().count()) {
        return Err(BadName::Length);
    }
    if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')) {
        return Err(BadName::Character);
    }
    // Today's page forbids only adjacent dots and a hyphen or dot at the ends; a hyphen beside a dot is refused as ever, since the
    // name would be no host's name.
    if name.split('.').any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-')) {
        return Err(BadName::Label);
    }
    if name.split('.').count() == 4 && name.bytes().all(|b| b == b'.' || b.is_ascii_digit()) {
        return Err(BadName::Address);
    }
    if let Some(prefix) = PREFIXES_RESERVED.into_iter().find(|p| name.starts_with(p)) {
        return Err(BadName::Prefix(prefix));
    }
    SUFFIXES_RESERVED.into_iter().find(|s| name.ends_with(s)).map_or(Ok(()), |suffix| Err(BadName::Suffix(suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page's own examples, and the edges of each rule.
    #[test]
    fn names() {
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        for good in ["docexamplebucket", "log-delivery-march-2020", "my-hosted-content", "my.example.com", "a-1", "0.0", "1.2.3", &longest]
        {
            assert_eq!(name_check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("ab", BadName::Length),
            ("", BadName::Length),
            (&too_long, BadName::Length),
            ("doc_example_bucket", BadName::Character),
            ("DocExampleBucket", BadName::Character),
            ("bücher", BadName::Character),
            ("a b", BadName::Character),
            ("doc-example-bucket-", BadName::Label),
            ("-abc", BadName::Label),
            (".abc", BadName::Label),
            ("abc.", BadName::Label),
            ("a..b", BadName::Label),
            ("a.-b", BadName::Label),
            ("a-.b", BadName::Label),
            ("192.168.5.4", BadName::Address),
            ("999.168.5.4", BadName::Address),
            ("xn--abc", BadName::Prefix("xn--")),
            ("sthree-configurator", BadName::Prefix("sthree-")),
            ("amzn-s3-demo-x", BadName::Prefix("amzn-s3-demo-")),
            ("abc-s3alias", BadName::Suffix("-s3alias")),
            ("abc--ol-s3", BadName::Suffix("--ol-s3")),
            ("abc.mrap", BadName::Suffix(".mrap")),
            ("abc--x-s3", BadName::Suffix("--x-s3")),
            ("abc--table-s3", BadName::Suffix("--table-s3")),
        ] {
            assert_eq!(name_check(bad), Err(why), "{bad}");
        }
    }
}
