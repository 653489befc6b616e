//! A bucket as a website ("Hosting a static website using Amazon S3": index documents, error documents, redirects).
//!
//! Two decisions: [`route`] before anything is looked up, [`route_error`] when it went wrong. What a redirect leaves out (protocol,
//! host) is the request's own; keys here are plain text, to be encoded by whoever writes `Location`.

use serde::{Deserialize, Serialize};

/// Most routing rules of a bucket ("Using advanced conditional redirects").
pub const RULES_MAX: usize = 50;
/// The code of a redirect that names none.
pub const REDIRECT_CODE: u16 = 301;
/// The code that sends a browser from `/folder` to `/folder/`.
const FOLDER_CODE: u16 = 302;

/// How a bucket is a website.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What is appended to a path that ends with a slash: `index.html`.
    pub index: Option<String>,
    /// The key of the page that is shown for errors of class 4XX.
    pub error: Option<String>,
    /// Where all requests go; then nothing else counts.
    pub redirect_all: Option<RedirectAll>,
    /// Tried in order; the first that applies is followed.
    pub rules: Vec<RoutingRule>,
}

/// Where all requests go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectAll {
    /// The host.
    pub host: String,
    /// The protocol, if not the request's.
    pub protocol: Option<Protocol>,
}

/// The protocol of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

impl Protocol {
    /// As in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A routing rule: when, and whereto.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingRule {
    /// When; `None`: always.
    pub condition: Option<Condition>,
    /// Whereto.
    pub redirect: RuleRedirect,
}

/// When a rule applies: both that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What the key begins with.
    pub key_prefix: Option<String>,
    /// The HTTP code of the error.
    pub error_code: Option<u16>,
}

/// Where a rule leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRedirect {
    /// The host, if not the request's.
    pub host: Option<String>,
    /// The protocol, if not the request's.
    pub protocol: Option<Protocol>,
    /// The HTTP code, if not 301.
    pub code: Option<u16>,
    /// What stands in place of the condition's prefix; before the key if there is none.
    pub replace_prefix: Option<String>,
    /// What stands in place of the whole key.
    pub replace_key: Option<String>,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Show this object; if that fails, ask [`route_error`].
    Object {
        /// Its key.
        key: String,
    },
    /// Send the browser elsewhere.
    Redirect(Redirect),
    /// Show this object with the error's code; if that fails too, the plain error.
    ErrorObject {
        /// Its key.
        key: String,
    },
    /// Show the plain error.
    Error,
}

/// Where a browser is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The HTTP code.
    pub code: u16,
    /// The protocol, if not the request's.
    pub protocol: Option<Protocol>,
    /// The host, if not the request's.
    pub host: Option<String>,
    /// The path without its first slash, not encoded.
    pub key: String,
}

/// What to look up for a path (decoded, without its first slash), or where to send the browser at once.
#[must_use]
pub fn route(config: &Config, path: &str) -> Route {
    if let Some(all) = &config.redirect_all {
        let host = Some(all.host.clone());
        return Route::Redirect(Redirect { code: REDIRECT_CODE, protocol: all.protocol, host, key: path.into() });
    }
    if let Some(redirect) = config.rules.iter().find_map(|rule| rule.redirect(path, None)) {
        return Route::Redirect(redirect);
    }
    match &config.index {
        Some(index) if path.is_empty() || path.ends_with('/') => Route::Object { key: format!("{path}{index}") },
        Some(_) | None => Route::Object { key: path.into() },
    }
}

/// What to show when the object for a path failed with an HTTP code. `is_folder`: whether [`folder_index`] is there.
#[must_use]
pub fn route_error(config: &Config, path: &str, code: u16, is_folder: bool) -> Route {
    if code == 404 && is_folder {
        return Route::Redirect(Redirect { code: FOLDER_CODE, protocol: None, host: None, key: format!("{path}/") });
    }
    if let Some(redirect) = config.rules.iter().find_map(|rule| rule.redirect(path, Some(code))) {
        return Route::Redirect(redirect);
    }
    match &config.error {
        Some(key) if (400..500).contains(&code) => Route::ErrorObject { key: key.clone() },
        Some(_) | None => Route::Error,
    }
}

/// The object that makes a path without a slash at its end a folder ("Index document and folders"); `None` if the path can't be one.
#[must_use]
pub fn folder_index(config: &Config, path: &str) -> Option<String> {
    let index = config.index.as_ref()?;
    (!path.is_empty() && !path.ends_with('/')).then(|| format!("{path}/{index}"))
}

impl RoutingRule {
    /// Where the rule sends a path, before the fact (no code) or after an error. A rule for errors never applies before the fact, and a
    /// rule for none doesn't wait for one.
    fn redirect(&self, path: &str, code: Option<u16>) -> Option<Redirect> {
        let (prefix, wanted) = match &self.condition {
            Some(condition) => (condition.key_prefix.as_deref().unwrap_or(""), condition.error_code),
            None => ("", None),
        };
        let rest = path.strip_prefix(prefix).filter(|_| wanted == code)?;
        let to = &self.redirect;
        let key = match (&to.replace_key, &to.replace_prefix) {
            (Some(key), _) => key.clone(),
            (None, Some(new)) => format!("{new}{rest}"),
            (None, None) => path.into(),
        };
        Some(Redirect { code: to.code.unwrap_or(REDIRECT_CODE), protocol: to.protocol, host: to.host.clone(), key })
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadConfig {
    /// AWS's code.
    pub code: &'static str,
    /// AWS's message.
    pub message: String,
}

/// Checks a configuration that a bucket is to get.
///
/// # Errors
/// [`BadConfig`], for the first fault.
pub fn check(config: &Config) -> Result<(), BadConfig> {
    let refuse = |code, message: String| Err(BadConfig { code, message });
    let hosts = config.redirect_all.iter().map(|to| &to.host).chain(config.rules.iter().filter_map(|rule| rule.redirect.host.as_ref()));
    // They go into a header as they are.
    if hosts.into_iter().any(|host| host.is_empty() || host.contains(|c: char| c.is_control() || c.is_whitespace())) {
        return refuse("InvalidRequest", "The provided host name is not valid.".into());
    }
    match (&config.redirect_all, &config.index) {
        (Some(_), None) if config.error.is_none() && config.rules.is_empty() => return Ok(()),
        (Some(_), _) => {
            let message = "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.";
            return refuse("InvalidRequest", message.into());
        }
        (None, None) => {
            let message = "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty";
            return refuse("InvalidArgument", message.into());
        }
        (None, Some(index)) if index.is_empty() || index.contains('/') => {
            return refuse("InvalidArgument", "The IndexDocument Suffix is not well formed".into());
        }
        (None, Some(_)) => {}
    }
    if config.error.as_ref().is_some_and(String::is_empty) {
        return refuse("InvalidArgument", "The ErrorDocument Key is not well formed".into());
    }
    if config.rules.len() > RULES_MAX {
        let message = format!(
            "{} routing rules provided, the number of routing rules in a website configuration is limited to {RULES_MAX}.",
            config.rules.len()
        );
        return refuse("InvalidRequest", message);
    }
    for RoutingRule { condition, redirect } in &config.rules {
        if condition.as_ref().is_some_and(|c| *c == Condition::default()) {
            let message =
                "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't be present.";
            return refuse("InvalidRequest", message.into());
        }
        if let Some(code) = condition.as_ref().and_then(|c| c.error_code).filter(|c| !(400..600).contains(c)) {
            return refuse("InvalidRequest", format!("The provided HTTP error code ({code}) is not valid. Valid codes are 4XX or 5XX."));
        }
        if let Some(code) = redirect.code.filter(|c| !(301..400).contains(c)) {
            return refuse(
                "InvalidRequest",
                format!("The provided HTTP redirect code ({code}) is not valid. Valid codes are 3XX except 300."),
            );
        }
        if redirect.replace_key.is_some() && redirect.replace_prefix.is_some() {
            return refuse("InvalidRequest", "You can only define ReplaceKeyPrefix or ReplaceKey but not both.".into());
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "website_tests.rs"]
mod tests;
