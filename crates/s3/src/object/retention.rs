//! GetObjectRetention, PutObjectRetention, GetObjectLegalHold, PutObjectLegalHold.

use crate::error::{self, Result, custom, malformed_xml};
use crate::object::{lock, version_id};
use crate::service::S3;
use crate::time;
use model::time::Timestamp;
use objects::{Bucket, Lock, LockMode, Version};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, s3_error};
use std::sync::Arc;

/// A bucket with object lock.
fn locking(s3: &S3, name: &str) -> Result<Arc<Bucket>> {
    let bucket = s3.bucket(name)?;
    if bucket.object_lock { Ok(bucket) } else { Err(lock::missing()) }
}

/// GetObjectRetention.
pub(crate) async fn get(s3: &S3, request: S3Request<GetObjectRetentionInput>) -> Result<S3Response<GetObjectRetentionOutput>> {
    let input = request.input;
    locking(s3, &input.bucket)?;
    let id = version_id(input.version_id.as_deref())?;
    let version = s3.objects.get(&input.bucket, &input.key, id.as_ref()).await.map_err(error::engine)?;
    let Lock { mode: Some(mode), until: Some(until), .. } = version.record.lock else {
        return Err(unlocked());
    };
    let mode = ObjectLockRetentionMode::from_static(lock::mode_name(mode));
    let retention = ObjectLockRetention { mode: Some(mode), retain_until_date: Some(time::show(until)) };
    Ok(S3Response::new(GetObjectRetentionOutput { retention: Some(retention) }))
}

/// Nothing of this kind was ever said of the object.
fn unlocked() -> S3Error {
    custom("NoSuchObjectLockConfiguration", 404, "The specified object does not have a ObjectLock configuration")
}

/// PutObjectRetention.
pub(crate) async fn put(s3: &S3, request: S3Request<PutObjectRetentionInput>) -> Result<S3Response<PutObjectRetentionOutput>> {
    let input = request.input;
    locking(s3, &input.bucket)?;
    let now = s3.now();
    let wanted = wanted(input.retention, now)?;
    let bypass = input.bypass_governance_retention.unwrap_or_default();
    let change = move |version: &mut Version| {
        let lock = &mut version.record.lock;
        if !may_change(lock, wanted, now, bypass) {
            return Err(s3_error!(AccessDenied, "Access Denied because object protected by object lock."));
        }
        (lock.mode, lock.until) = (wanted.map(|(mode, _)| mode), wanted.map(|(_, until)| until));
        Ok(())
    };
    let id = version_id(input.version_id.as_deref())?;
    s3.objects.update(&input.bucket, &input.key, id, change).await.map_err(error::engine)??;
    Ok(S3Response::new(PutObjectRetentionOutput::default()))
}

/// What a document asks for; nothing: no retention.
fn wanted(retention: Option<ObjectLockRetention>, now: Timestamp) -> Result<Option<(LockMode, Timestamp)>> {
    match retention {
        None | Some(ObjectLockRetention { mode: None, retain_until_date: None }) => Ok(None),
        Some(ObjectLockRetention { mode: Some(mode), retain_until_date: Some(until) }) => {
            let mode = lock::mode(mode.as_str()).map_err(|_| malformed_xml())?;
            Ok(Some((mode, lock::future(time::read(&until), now)?)))
        }
        Some(_) => Err(malformed_xml()),
    }
}

/// Whether a retention may take another's place: it may become longer, governance with the permission anything.
fn may_change(lock: &Lock, wanted: Option<(LockMode, Timestamp)>, now: Timestamp, bypass: bool) -> bool {
    let (Some(mode), Some(until)) = (lock.mode, lock.until) else { return true };
    let longer = wanted.is_some_and(|(new, end)| new == mode && end >= until);
    until <= now || longer || (mode == LockMode::Governance && bypass)
}

/// GetObjectLegalHold.
pub(crate) async fn hold_get(s3: &S3, request: S3Request<GetObjectLegalHoldInput>) -> Result<S3Response<GetObjectLegalHoldOutput>> {
    let input = request.input;
    locking(s3, &input.bucket)?;
    let id = version_id(input.version_id.as_deref())?;
    let version = s3.objects.get(&input.bucket, &input.key, id.as_ref()).await.map_err(error::engine)?;
    let held = version.record.lock.legal_hold.ok_or_else(unlocked)?;
    let status = if held { ObjectLockLegalHoldStatus::ON } else { ObjectLockLegalHoldStatus::OFF };
    let legal_hold = ObjectLockLegalHold { status: Some(ObjectLockLegalHoldStatus::from_static(status)) };
    Ok(S3Response::new(GetObjectLegalHoldOutput { legal_hold: Some(legal_hold) }))
}

/// PutObjectLegalHold.
pub(crate) async fn hold_put(s3: &S3, request: S3Request<PutObjectLegalHoldInput>) -> Result<S3Response<PutObjectLegalHoldOutput>> {
    let input = request.input;
    locking(s3, &input.bucket)?;
    let on = match input.legal_hold.and_then(|hold| hold.status).as_ref().map(ObjectLockLegalHoldStatus::as_str) {
        Some(ObjectLockLegalHoldStatus::ON) => true,
        Some(ObjectLockLegalHoldStatus::OFF) => false,
        _ => return Err(malformed_xml()),
    };
    let change = move |version: &mut Version| {
        version.record.lock.legal_hold = Some(on);
        Ok::<(), S3Error>(())
    };
    let id = version_id(input.version_id.as_deref())?;
    s3.objects.update(&input.bucket, &input.key, id, change).await.map_err(error::engine)??;
    Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retentions_get_longer_only() {
        use LockMode::{Compliance, Governance};
        let at = Timestamp;
        let lock = |mode, until| Lock { mode: Some(mode), until: Some(at(until)), legal_hold: None };
        for (what, lock, wanted, bypass, may) in [
            ("none yet", Lock::default(), Some((Compliance, at(20))), false, true),
            ("longer", lock(Governance, 20), Some((Governance, at(30))), false, true),
            ("shorter", lock(Governance, 20), Some((Governance, at(15))), false, false),
            ("shorter, bypassed", lock(Governance, 20), Some((Governance, at(15))), true, true),
            ("another mode", lock(Governance, 20), Some((Compliance, at(30))), false, false),
            ("another mode, bypassed", lock(Governance, 20), Some((Compliance, at(30))), true, true),
            ("removed", lock(Governance, 20), None, false, false),
            ("removed, bypassed", lock(Governance, 20), None, true, true),
            ("compliance, longer", lock(Compliance, 20), Some((Compliance, at(30))), false, true),
            ("compliance, shorter, bypassed", lock(Compliance, 20), Some((Compliance, at(15))), true, false),
            ("compliance, weaker", lock(Compliance, 20), Some((Governance, at(30))), true, false),
            ("over", lock(Compliance, 5), None, false, true),
        ] {
            assert_eq!(may_change(&lock, wanted, at(10), bypass), may, "{what}");
        }
    }
}
