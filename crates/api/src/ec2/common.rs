//! What the EC2 actions have in common: ids, tags, filters, pages.

use crate::action::Call;
use model::filter::{Field, FilterError, Filters};
use model::page;
use model::tag::{KEY_CHARS_MAX, TAGS_MAX, Tags, VALUE_CHARS_MAX, character_ok};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{AccountTx, IdempotencyToken, TokenId};
use wire::ApiError;
use wire::shapes::ec2 as shapes;

/// `MissingParameter`.
pub(crate) fn missing(parameter: &str) -> ApiError {
    ApiError::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
}

/// `InvalidParameterValue`.
pub(crate) fn invalid_value(text: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", text)
}

/// `InvalidParameterCombination`.
pub(crate) fn invalid_combination(text: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterCombination", text)
}

/// `Unsupported`: what this cloud can't enforce is refused by its name, never recorded and ignored.
pub(crate) fn unsupported(what: &str) -> ApiError {
    ApiError::new("Unsupported", format!("The requested configuration is currently not supported: {what}."))
}

/// The tags of a call, checked ("Tag restrictions").
///
/// # Errors
/// `InvalidParameterValue` or `TagLimitExceeded`.
pub(crate) fn tags_from(list: &[shapes::Tag]) -> Result<Tags, ApiError> {
    let mut tags = Tags::default();
    for tag in list {
        let key = tag.key.clone().filter(|k| !k.is_empty()).ok_or_else(|| invalid_value("Tag key cannot be null or empty."))?;
        let value = tag.value.clone().unwrap_or_default();
        if !key.chars().chain(value.chars()).all(character_ok) {
            return Err(ApiError::new("InvalidCharacter", "A specified character is invalid."));
        }
        if key.chars().count() > KEY_CHARS_MAX {
            return Err(invalid_value(format!("Tag key exceeds the maximum length of {KEY_CHARS_MAX} characters")));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            return Err(invalid_value(format!("Tag value exceeds the maximum length of {VALUE_CHARS_MAX} characters")));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid_value("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        if tags.0.insert(key.clone(), value).is_some() {
            return Err(invalid_value(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    tags_limit(&tags)?;
    Ok(tags)
}

/// # Errors
/// `TagLimitExceeded`, for what a resource would have.
pub(crate) fn tags_limit(tags: &Tags) -> Result<(), ApiError> {
    if tags.0.len() > TAGS_MAX {
        return Err(ApiError::new("TagLimitExceeded", "The maximum number of Tags for a resource has been reached."));
    }
    Ok(())
}

/// Tags as replies show them, by key: an empty list if there are none. So AWS shows those of key pairs, network interfaces, internet
/// gateways and rules of security groups.
pub(crate) fn tag_list(tags: &Tags) -> Option<Vec<shapes::Tag>> {
    Some(tags.0.iter().map(|(k, v)| shapes::Tag { key: Some(k.clone()), value: Some(v.clone()) }).collect())
}

/// Tags as most replies show them: without any, AWS leaves the list out, and SDKs then give no list at all.
pub(crate) fn tag_list_if_any(tags: &Tags) -> Option<Vec<shapes::Tag>> {
    if tags.0.is_empty() { None } else { tag_list(tags) }
}

/// The tags of `TagSpecifications`, by resource type.
///
/// # Errors
/// `InvalidParameterValue` if a type isn't in `allowed`, is named twice, or has no tags; and as [`tags_from`].
pub(crate) fn tag_specifications(
    specifications: Option<&Vec<shapes::TagSpecification>>,
    allowed: &[&str],
) -> Result<BTreeMap<String, Tags>, ApiError> {
    let mut all = BTreeMap::new();
    for specification in specifications.into_iter().flatten() {
        let kind = specification.resource_type.as_deref().unwrap_or_default();
        if kind.is_empty() {
            return Err(invalid_value("Tag specification resource type must have a value"));
        }
        if !allowed.contains(&kind) {
            return Err(invalid_value(format!("'{kind}' is not a valid taggable resource type for this operation.")));
        }
        let tags = tags_from(specification.tags.as_deref().unwrap_or_default())?;
        if tags.0.is_empty() {
            return Err(invalid_value("Tag specification must have at least one tag"));
        }
        if all.insert(kind.to_owned(), tags).is_some() {
            return Err(invalid_value("The same resource type may not be specified more than once in tag specifications"));
        }
    }
    Ok(all)
}

/// The filters of a Describe call, checked.
///
/// # Errors
/// As [`FilterError`].
pub(crate) fn filters<T>(given: Option<&Vec<shapes::Filter>>, known: &[Field<T>], tags: bool) -> Result<Filters<T>, ApiError> {
    let given = given.into_iter().flatten().map(|f| (f.name.as_deref(), f.values.as_deref().unwrap_or_default()));
    Filters::new(given, known, tags).map_err(|e: FilterError| ApiError::new(e.code(), e.to_string()))
}

/// Longest `ClientToken`, in characters, all of ASCII.
const CLIENT_TOKEN_CHARS_MAX: usize = 64;

/// The `ClientToken` of a call, if it has one.
///
/// # Errors
/// `InvalidParameterValue`.
pub(crate) fn client_token(action: &str, token: Option<&str>) -> Result<Option<TokenId>, ApiError> {
    let Some(token) = token.filter(|t| !t.is_empty()) else { return Ok(None) };
    if token.len() > CLIENT_TOKEN_CHARS_MAX || !token.is_ascii() {
        return Err(invalid_value(format!(
            "Invalid value for clientToken. The client token must be at most {CLIENT_TOKEN_CHARS_MAX} ASCII characters."
        )));
    }
    Ok(Some(TokenId { action: action.into(), token: token.into() }))
}

/// What an earlier call with this token made, if there was one.
///
/// # Errors
/// `IdempotentParameterMismatch` if the earlier call asked for something else.
pub(crate) fn idempotent_result(
    call: &Call,
    tx: &AccountTx<'_>,
    token: Option<&TokenId>,
) -> Result<Option<Arc<IdempotencyToken>>, ApiError> {
    let done = token.and_then(|t| tx.get::<IdempotencyToken>(t)).filter(|t| !t.is_expired(call.now));
    match done {
        Some(done) if done.params_hash != call.fingerprint() => Err(ApiError::new(
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
        )),
        done => Ok(done.cloned()),
    }
}

/// How a Describe call is paged.
pub(crate) struct Paging {
    call: String,
    /// Most items on a page; `None` for all.
    max: Option<usize>,
    /// The key after which to go on.
    pub(crate) after: Option<String>,
}

impl Paging {
    /// Reads `MaxResults` and `NextToken`. `least` and `most` are what the action documents for `MaxResults`.
    ///
    /// # Errors
    /// `InvalidParameterValue`, or `InvalidNextToken` for a token of another call.
    pub(crate) fn new(call: &Call, max: Option<i32>, token: Option<&str>, least: i32, most: i32) -> Result<Self, ApiError> {
        let too = |max: i32| {
            let bound = if max < least { format!("greater than {least}") } else { format!("less than {most}") };
            invalid_value(format!("Value ( {max} ) for parameter maxResults is invalid. Expecting a value {bound}."))
        };
        let max = max.map(|m| if (least..=most).contains(&m) { Ok(m.unsigned_abs() as usize) } else { Err(too(m)) }).transpose()?;
        let fingerprint = call.fingerprint().to_owned();
        let bad = |_| ApiError::new("InvalidNextToken", "The specified NextToken is not valid.");
        let after = token.filter(|t| !t.is_empty()).map(|t| page::position(&fingerprint, t).map_err(bad)).transpose()?;
        Ok(Self { call: fingerprint, max, after })
    }

    /// Whether an item with this key is still to be shown.
    pub(crate) fn is_after(&self, key: &str) -> bool {
        self.after.as_deref().is_none_or(|after| key > after)
    }

    /// Cuts a page, and gives the next one's token. `items` are ordered by `key`.
    pub(crate) fn cut<T>(&self, items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let rest = items.into_iter().filter(|i| self.after.is_none() || self.is_after(&key(i)));
        page::cut(&self.call, rest, self.max, &key)
    }
}
