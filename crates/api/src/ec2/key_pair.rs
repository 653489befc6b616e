//! Key pairs: CreateKeyPair, ImportKeyPair, DescribeKeyPairs, DeleteKeyPair.

use super::common::{filters, invalid_combination, invalid_value, missing, tag_list, tag_list_if_any, tag_specifications};
use super::kind;
use super::shown::{text, time};
use crate::action::{Call, Desk, Read, Slow, Write, actions, internal};
use crate::keys::{self, BadKey, PrivateForm};
use model::filter::Field;
use model::ids::KeyPairId;
use model::key_pair::{KeyPair, KeyType};
use model::tag::Tags;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use store::{AccountTx, View};
use tokio::sync::Semaphore;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

actions![slow CreateKeyPair, write ImportKeyPair, read DescribeKeyPairs, write DeleteKeyPair,];

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Most key pairs of an account in a region ("Amazon EC2 endpoints and quotas").
const KEY_PAIRS_MAX: usize = 5000;
/// Most RSA keys that are made at a time: each takes a processor for up to a second, and the other calls need some, too.
static MAKING: Semaphore = Semaphore::const_new(2);

pub(super) struct CreateKeyPair;

impl Slow for CreateKeyPair {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "CreateKeyPair";
    const WRITES: bool = true;
    type Input = shapes::CreateKeyPairRequest;
    type Output = shapes::KeyPair;

    async fn run(mut desk: Desk, input: Self::Input) -> Result<Self::Output, ApiError> {
        let name = checked_name(input.key_name)?;
        let tags = tags(input.tag_specifications.as_ref())?;
        let key_type = match input.key_type.as_deref() {
            Some("ed25519") => KeyType::Ed25519,
            _ => KeyType::Rsa,
        };
        let form = match input.key_format.as_deref() {
            Some("ppk") => PrivateForm::Ppk,
            _ => PrivateForm::Pem,
        };
        // Refused here already, so that nobody waits for a key that can't be kept; and again when it is written.
        refuse_new(desk.store.snapshot().of(&desk.call.scope), &name)?;
        if desk.call.dry_run {
            return desk.write(move |_, tx| refuse_new(tx.view(), &name).map(|()| shapes::KeyPair::default())).await;
        }
        let rng: StdRng = StdRng::from_rng(&mut desk.call.rng);
        let made = make(key_type, form, name.clone(), rng).await?;
        desk.write(move |call, tx| {
            let line = made.public.line(&name);
            let pair = put(call, tx, name, made.public.key_type, made.public.fingerprint, line, tags)?;
            Ok(shapes::KeyPair {
                key_pair_id: text(&pair.id),
                key_name: text(&pair.name),
                key_fingerprint: text(&pair.fingerprint),
                key_material: Some(made.private),
                tags: tag_list_if_any(&pair.tags),
            })
        })
        .await
    }
}

/// Makes a key on a thread that nobody else waits for.
async fn make(key_type: KeyType, form: PrivateForm, name: String, mut rng: StdRng) -> Result<keys::Created, ApiError> {
    let _turn = MAKING.acquire().await.map_err(|e| internal(&e))?;
    let made = tokio::task::spawn_blocking(move || keys::create(key_type, form, &name, &mut rng));
    made.await.map_err(|e| internal(&e))?.map_err(|e| internal(&e))
}

pub(super) struct ImportKeyPair;

impl Write for ImportKeyPair {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "ImportKeyPair";
    type Input = shapes::ImportKeyPairRequest;
    type Output = shapes::ImportKeyPairResult;

    fn run(call: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let name = checked_name(input.key_name)?;
        let tags = tags(input.tag_specifications.as_ref())?;
        let material = input.public_key_material.ok_or_else(|| missing("PublicKeyMaterial"))?;
        let key = keys::import(&material).map_err(refused)?;
        refuse_new(tx.view(), &name)?;
        let line = key.line(&name);
        let pair = put(call, tx, name, key.key_type, key.fingerprint, line, tags)?;
        Ok(shapes::ImportKeyPairResult {
            key_pair_id: text(&pair.id),
            key_name: text(&pair.name),
            key_fingerprint: text(&pair.fingerprint),
            tags: tag_list_if_any(&pair.tags),
        })
    }
}

fn refused(bad: BadKey) -> ApiError {
    match bad {
        BadKey::Format => ApiError::new("InvalidKey.Format", "Key is not in valid OpenSSH public key format"),
        BadKey::Length => ApiError::new("InvalidKey.Format", "Key length is not supported. Supported lengths are 1024, 2048 and 4096 bits"),
    }
}

/// Writes a new key pair.
fn put(
    call: &mut Call,
    tx: &mut AccountTx<'_>,
    name: String,
    key_type: KeyType,
    fingerprint: String,
    public_key: String,
    tags: Tags,
) -> Result<KeyPair, ApiError> {
    refuse_new(tx.view(), &name)?;
    let pair = KeyPair { id: KeyPairId::generate(&mut call.rng), name, key_type, fingerprint, public_key, created: call.now, tags };
    tx.put(pair.clone());
    Ok(pair)
}

/// Refuses a name that is taken, and a pair too many.
fn refuse_new(view: View<'_>, name: &str) -> Result<(), ApiError> {
    if view.key_pair_by_name(name).is_some() {
        return Err(ApiError::new("InvalidKeyPair.Duplicate", "The keypair already exists"));
    }
    if view.count::<KeyPair>() >= KEY_PAIRS_MAX {
        return Err(ApiError::new("KeyPairLimitExceeded", format!("The maximum of {KEY_PAIRS_MAX} key pairs has been reached.")));
    }
    Ok(())
}

/// A name of printable ASCII: it becomes part of a line of `authorized_keys`.
fn checked_name(name: Option<String>) -> Result<String, ApiError> {
    let name = name.ok_or_else(|| missing("KeyName"))?;
    let value = |why: &str| invalid_value(format!("Value ({name}) for parameter KeyName is invalid. {why}"));
    if name.is_empty() {
        return Err(value("The value cannot be empty"));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(value(&format!("Length exceeds maximum of {NAME_CHARS_MAX}.")));
    }
    if name.bytes().any(|b| !b.is_ascii() || b.is_ascii_control()) {
        return Err(value("Character sets beyond ASCII are not supported."));
    }
    if name.trim() != name {
        return Err(value("It must not start or end with a space."));
    }
    Ok(name)
}

fn tags(specifications: Option<&Vec<shapes::TagSpecification>>) -> Result<Tags, ApiError> {
    Ok(tag_specifications(specifications, &["key-pair"])?.remove("key-pair").unwrap_or_default())
}

pub(super) struct DescribeKeyPairs;

impl Read for DescribeKeyPairs {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DescribeKeyPairs";
    type Input = shapes::DescribeKeyPairsRequest;
    type Output = shapes::DescribeKeyPairsResult;

    fn run(_: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let filters = filters(input.filters.as_ref(), FIELDS, true)?;
        let (names, ids) = (input.key_names.unwrap_or_default(), input.key_pair_ids.unwrap_or_default());
        let mut pairs: Vec<&KeyPair> = if names.is_empty() && ids.is_empty() {
            view.list::<KeyPair>().map(|k| &**k).collect()
        } else {
            let mut named = by_names(view, &names)?;
            named.extend(kind::KEY_PAIR.find_all(&ids, |id| view.get::<KeyPair>(id))?.into_iter().map(|k| &**k));
            named
        };
        pairs.retain(|k| filters.matches(k, &k.tags));
        pairs.sort_by(|a, b| a.name.cmp(&b.name));
        pairs.dedup_by(|a, b| a.id == b.id);
        let with_key = input.include_public_key.unwrap_or_default();
        Ok(shapes::DescribeKeyPairsResult { key_pairs: Some(pairs.into_iter().map(|k| show(k, with_key)).collect()) })
    }
}

const FIELDS: &[Field<KeyPair>] =
    &[("fingerprint", |k, is| is(&k.fingerprint)), ("key-name", |k, is| is(&k.name)), ("key-pair-id", |k, is| is(k.id.as_str()))];

fn by_names<'a>(view: View<'a>, names: &[String]) -> Result<Vec<&'a KeyPair>, ApiError> {
    let find = |name: &String| {
        let not_found = || ApiError::new("InvalidKeyPair.NotFound", format!("The key pair '{name}' does not exist"));
        view.key_pair_by_name(name).map(|k| &**k).ok_or_else(not_found)
    };
    names.iter().map(find).collect()
}

fn show(pair: &KeyPair, with_key: bool) -> shapes::KeyPairInfo {
    let key_type = match pair.key_type {
        KeyType::Rsa => "rsa",
        KeyType::Ed25519 => "ed25519",
    };
    shapes::KeyPairInfo {
        key_pair_id: text(&pair.id),
        key_name: text(&pair.name),
        key_type: text(&key_type),
        key_fingerprint: text(&pair.fingerprint),
        create_time: time(pair.created),
        public_key: with_key.then(|| pair.public_key.clone()),
        tags: tag_list(&pair.tags),
    }
}

pub(super) struct DeleteKeyPair;

impl Write for DeleteKeyPair {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "DeleteKeyPair";
    type Input = shapes::DeleteKeyPairRequest;
    type Output = shapes::DeleteKeyPairResult;

    /// A name that no pair has is no error; an id is.
    fn run(_: &mut Call, tx: &mut AccountTx<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let id = match (input.key_name, input.key_pair_id) {
            (Some(_), Some(_)) => {
                return Err(invalid_combination("The parameter KeyName cannot be used with the parameter KeyPairId"));
            }
            (None, None) => return Err(missing("KeyName or KeyPairId")),
            (Some(name), None) => tx.view().key_pair_by_name(&name).map(|k| k.id.clone()),
            (None, Some(id)) => {
                let id: KeyPairId = kind::KEY_PAIR.parse(&id)?;
                if tx.get::<KeyPair>(&id).is_none() {
                    return Err(kind::KEY_PAIR.not_found(&[id]));
                }
                Some(id)
            }
        };
        if let Some(id) = &id {
            tx.remove::<KeyPair>(id);
        }
        Ok(shapes::DeleteKeyPairResult { key_pair_id: id.map(|id| id.to_string()), r#return: Some(true) })
    }
}
