//! What a `SignatureDoesNotMatch` says of the signature's calculation: judged here, and masked where it has the present time in it.

use crate::case::Call;
use crate::send::Sender;
use crate::sign::{Signer, hex};
use sha2::{Digest as _, Sha256};

/// The document without what changes from run to run. What is masked was calculated as the client did it: its string to sign, signed with the
/// client's wrong secret, has the client's signature, and the rest belongs to that string.
///
/// # Panics
/// If it was not.
pub(crate) fn masked(text: &str, call: &Call, sender: &Sender) -> String {
    let Some(secret) = call.manner.iter().find_map(|line| line.strip_prefix("secret ")) else { return text.to_owned() };
    if !text.contains("<Code>SignatureDoesNotMatch</Code>") {
        return text.to_owned();
    }
    let (key, _) = sender.key.unwrap();
    let signer = Signer { key: key.into(), secret: secret.into(), region: sender.region.clone(), date: sender.date.clone() };
    let string = element(text, "StringToSign").unwrap();
    let provided = element(text, "SignatureProvided").unwrap();
    assert_eq!(element(text, "AWSAccessKeyId").as_deref(), Some(key));
    assert_eq!(signer.sign(&string), provided, "another string was signed: {string}");
    assert_eq!(element(text, "StringToSignBytes").unwrap(), bytes(&string));
    let mut text = replaced(text, "SignatureProvided", "{signature}");
    text = replaced(&text, "StringToSignBytes", "{bytes}");
    let Some(canonical) = element(&text, "CanonicalRequest") else { return replaced(&text, "StringToSign", "{policy}") };
    let hash = hex(&Sha256::digest(&canonical));
    assert_eq!(string.lines().last(), Some(hash.as_str()));
    assert_eq!(element(&text, "CanonicalRequestBytes").unwrap(), bytes(&canonical));
    text = replaced(&text, "CanonicalRequestBytes", "{bytes}");
    text.replace(&hash, "{hash}").replace(&sender.date, "{date}").replace(&sender.date[..8], "{day}")
}

fn bytes(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The text of an element.
fn element(text: &str, name: &str) -> Option<String> {
    let text = text.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>"))?.0;
    Some(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

/// The document with another text in an element.
fn replaced(text: &str, name: &str, by: &str) -> String {
    let (front, rest) = text.split_once(&format!("<{name}>")).unwrap();
    let (_, rest) = rest.split_once(&format!("</{name}>")).unwrap();
    format!("{front}<{name}>{by}</{name}>{rest}")
}
