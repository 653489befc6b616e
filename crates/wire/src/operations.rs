//! Every service and operation that AWS has, by name: what isn't built answers `NotImplemented`, what AWS doesn't have `InvalidAction`.

use crate::protocol::Protocol;
use std::sync::LazyLock;

/// Made by `cargo xtask codegen`. A line `=` with a service: id, signing name, protocols, JSON version, target prefix, versions, XML
/// namespace, with tabs between; then a line for each operation: its name, and for REST its method and path.
static DATA: &str = include_str!("operations.txt");

static SERVICES: LazyLock<Vec<Service>> = LazyLock::new(|| DATA.split("\n=").skip(1).filter_map(Service::read).collect());

/// A service of AWS's.
#[derive(Debug)]
pub struct Service {
    /// Its name in botocore, unique: `ec2`, `elbv2`.
    pub id: &'static str,
    /// Its name in a credential's scope, which several may share: `ec2`, `elasticloadbalancing`.
    pub signing_name: &'static str,
    /// What it speaks, its first choice first.
    pub protocols: Vec<Protocol>,
    /// What stands before the operation in `X-Amz-Target`.
    pub target_prefix: Option<&'static str>,
    /// The API versions that botocore knows, oldest first.
    pub versions: Vec<&'static str>,
    /// The namespace of its XML replies.
    pub xml_namespace: Option<&'static str>,
    operations: &'static str,
}

impl Service {
    fn read(text: &'static str) -> Option<Self> {
        let (head, operations) = text.split_once('\n').unwrap_or((text, ""));
        let mut fields = head.split('\t');
        let mut next = || fields.next();
        let given = |field: &'static str| (field != "-").then_some(field);
        let (id, signing_name, protocols, json) = (next()?, next()?, next()?, next()?);
        Some(Self {
            id,
            signing_name,
            protocols: protocols.split(',').filter_map(|p| Protocol::of_model(p, json)).collect(),
            target_prefix: given(next()?),
            versions: next()?.split(',').collect(),
            xml_namespace: given(next()?),
            operations,
        })
    }

    /// Its operations' names, in order.
    pub fn operations(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.operations.lines().filter_map(|line| line.split('\t').next())
    }

    /// The operation of exactly this name.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&'static str> {
        self.operations().find(|o| *o == name)
    }

    /// The REST operation that a method, a path and a query string name: of all that fit, the one with the most fixed parts.
    #[must_use]
    pub fn route(&self, method: &str, path: &str, query: &str) -> Option<&'static str> {
        let candidates = self.operations.lines().filter_map(|line| {
            let mut fields = line.split('\t');
            let (name, its_method, uri) = (fields.next()?, fields.next()?, fields.next()?);
            if its_method != method {
                return None;
            }
            let (template, keys) = uri.split_once('?').unwrap_or((uri, ""));
            Some((fixed_segments(template, path)? + fixed_keys(keys, query)?, name))
        });
        // The first of equals: `max_by_key` would take the last.
        candidates
            .fold(None, |best: Option<(usize, &str)>, new| if best.is_none_or(|b| new.0 > b.0) { Some(new) } else { best })
            .map(|b| b.1)
    }
}

/// How many of a path's segments a template names, if the path fits it.
fn fixed_segments(template: &str, path: &str) -> Option<usize> {
    let (mut wanted, mut given) = (template.trim_matches('/').split('/'), path.trim_matches('/').split('/'));
    let mut fixed = 0;
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(fixed),
            (Some(w), Some(g)) if w.starts_with('{') && !g.is_empty() => {
                if w.ends_with("+}") {
                    return Some(fixed);
                }
            }
            (Some(w), Some(g)) if w == g => fixed += 1,
            _ => return None,
        }
    }
}

/// How many query keys a template names, if the query string has them all.
fn fixed_keys(wanted: &str, query: &str) -> Option<usize> {
    let mut fixed = 0;
    for key in wanted.split('&').filter(|k| !k.is_empty()) {
        let fits = |pair: &str| pair == key || (!key.contains('=') && pair.split('=').next() == Some(key));
        if !query.split('&').any(fits) {
            return None;
        }
        fixed += 1;
    }
    Some(fixed)
}

/// All services.
pub fn services() -> &'static [Service] {
    &SERVICES
}

/// The services with this name in the credential's scope.
pub fn by_signing_name(name: &str) -> impl Iterator<Item = &'static Service> + use<'_> {
    services().iter().filter(move |s| s.signing_name == name)
}

/// The service with this target prefix. Of several (`timestream`), the one that has the operation.
#[must_use]
pub fn by_target(prefix: &str, operation: &str) -> Option<&'static Service> {
    let fits = |s: &&Service| s.target_prefix == Some(prefix);
    services().iter().filter(fits).find(|s| s.operation(operation).is_some()).or_else(|| services().iter().find(fits))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn service(id: &str) -> &'static Service {
        services().iter().find(|s| s.id == id).unwrap()
    }

    #[test]
    fn all_of_aws_is_known() {
        assert!(services().len() > 400, "{}", services().len());
        assert!(services().iter().map(|s| s.operations().count()).sum::<usize>() > 15_000);
        for s in services() {
            assert!(!s.protocols.is_empty() && !s.versions.is_empty() && s.operations().count() > 0, "{s:?}");
        }
        let ec2 = service("ec2");
        assert_eq!((ec2.signing_name, ec2.protocols.as_slice()), ("ec2", [Protocol::Ec2].as_slice()));
        assert!(ec2.versions.contains(&"2016-11-15"));
        assert_eq!(ec2.operation("CreateVpc"), Some("CreateVpc"));
        assert_eq!(ec2.operation("createVpc"), None);
        assert_eq!(service("cloudwatch").protocols, [Protocol::RpcV2Cbor, Protocol::Json10, Protocol::Query]);
        assert_eq!(service("sts").xml_namespace, Some("https://sts.amazonaws.com/doc/2011-06-15/"));
        assert_eq!(by_signing_name("elasticloadbalancing").map(|s| s.id).collect::<Vec<_>>(), ["elb", "elbv2"]);
        assert_eq!(by_target("DynamoDB_20120810", "PutItem").unwrap().id, "dynamodb");
        assert_eq!(by_target("Timestream_20181101", "WriteRecords").unwrap().id, "timestream-write");
    }

    #[test]
    fn rest_operations_are_found_by_their_path() {
        let route = |id: &str, method: &str, path: &str, query: &str| service(id).route(method, path, query);
        assert_eq!(route("lambda", "POST", "/2015-03-31/functions/f/invocations", ""), Some("Invoke"));
        assert_eq!(route("lambda", "GET", "/2015-03-31/functions/f", "Qualifier=1"), Some("GetFunction"));
        assert_eq!(route("lambda", "GET", "/nothing", ""), None);
        assert_eq!(route("s3", "GET", "/bucket/a/key", ""), Some("GetObject"));
        assert_eq!(route("s3", "GET", "/bucket/a/key", "acl"), Some("GetObjectAcl"));
        assert_eq!(route("s3", "GET", "/", ""), Some("ListBuckets"));
        assert_eq!(route("s3", "GET", "/bucket", "list-type=2&prefix=x"), Some("ListObjectsV2"));
    }
}
