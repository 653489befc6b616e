//! A request's way in: which protocol it speaks, which service and operation it names, what its parameters are.

use crate::operations::{self, Service};
use crate::sigv4::{self, Key, Rules, Signed, Verified};
use crate::{ApiError, Dialect, Envelope, Parameters, Protocol, Timestamp};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use std::borrow::Cow;

/// EC2's first API version ("API Versioning" and "WSDL and Schema Definitions" of its Developer Guides) and its last (its service model).
///
/// EC2 takes requests in each version that it has had. No list of all of them was found, so any date between these two is taken: a
/// version that never was (AWS: `NoSuchVersion`) is let in rather than an old client kept out.
const EC2_FIRST_VERSION: &str = "2006-06-26";
const EC2_LAST_VERSION: &str = "2016-11-15";

/// Whether EC2 may have had this API version.
fn is_ec2_version(version: &str) -> bool {
    let date = version.len() == EC2_LAST_VERSION.len() && Timestamp::parse(version).is_some();
    date && (EC2_FIRST_VERSION..=EC2_LAST_VERSION).contains(&version)
}

/// A request, looked at but not yet believed.
#[derive(Debug)]
pub struct Request<'a> {
    parts: &'a Parts,
    body: &'a [u8],
    /// What it speaks: also what its errors are written in.
    pub protocol: Protocol,
    /// The service it is for, if AWS has it.
    pub service: Option<&'static Service>,
    parameters: Result<Parameters, ApiError>,
}

impl<'a> Request<'a> {
    /// Looks at a request. This never fails: what can't be read is refused later, in the protocol that it seems to be in.
    #[must_use]
    pub fn read(parts: &'a Parts, body: &'a [u8]) -> Self {
        let claimed = sigv4::claimed_service(&Signed::of(parts, body));
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        // Only a form is parameters; another body is the service's own business.
        let is_form = header(parts, CONTENT_TYPE.as_str()).starts_with("application/x-www-form-urlencoded");
        let form = if is_form { body } else { &[] };
        let parse = |dialect| Parameters::parse(dialect, &[query, form]);
        let (protocol, service) = detect(parts, parse(Dialect::Query).as_ref().ok(), claimed.as_deref());
        let dialect = if protocol == Protocol::Ec2 { Dialect::Ec2 } else { Dialect::Query };
        Self { parts, body, protocol, service, parameters: parse(dialect) }
    }

    /// Checks its signature; see [`sigv4::verify`].
    ///
    /// # Errors
    /// What the service answers to a signature like this.
    pub fn verify(
        &self,
        region: &dyn Fn(&str) -> bool,
        now: Timestamp,
        lookup: impl FnOnce(&str) -> Option<Key>,
    ) -> Result<Verified, ApiError> {
        let rules = Rules { protocol: self.protocol, service: self.service.map(|s| s.signing_name), region, now };
        sigv4::verify(&Signed::of(self.parts, self.body), &rules, lookup)
    }

    /// Its form parameters.
    ///
    /// # Errors
    /// `MalformedQueryString` or `InvalidQueryParameter`.
    pub fn parameters(&self) -> Result<&Parameters, ApiError> {
        self.parameters.as_ref().map_err(Clone::clone)
    }

    /// The service and the operation that it names, both of AWS's. Whether they are built is for the caller to know; if not:
    /// [`not_implemented`].
    ///
    /// # Errors
    /// What AWS answers to a wrong version or an operation that it doesn't have.
    pub fn operation(&self) -> Result<(&'static Service, &'static str), ApiError> {
        match self.protocol {
            Protocol::Ec2 => self.ec2_operation(),
            Protocol::Query => self.query_operation(),
            Protocol::Json10 | Protocol::Json11 => {
                let name = header(self.parts, "x-amz-target").rsplit('.').next().unwrap_or_default();
                self.named(name).ok_or_else(|| unknown_operation(400))
            }
            Protocol::RpcV2Cbor => self.named(rpc_path(self.parts.uri.path()).map_or("", |p| p.1)).ok_or_else(|| unknown_operation(404)),
            Protocol::RestJson | Protocol::RestXml => {
                let (method, uri) = (self.parts.method.as_str(), &self.parts.uri);
                let found = self.service.and_then(|s| Some((s, s.route(method, uri.path(), uri.query().unwrap_or_default())?)));
                found.ok_or_else(|| unknown_operation(404))
            }
        }
    }

    /// What its reply is wrapped in.
    #[must_use]
    pub fn envelope<'b>(&self, request_id: &'b str) -> Envelope<'b> {
        let version = self.parameters.as_ref().ok().and_then(|p| p.get("Version"));
        let namespace = match (self.protocol, self.service) {
            // EC2 answers in the version that was asked for.
            (Protocol::Ec2, _) => {
                let version = version.filter(|v| is_ec2_version(v)).unwrap_or(EC2_LAST_VERSION);
                Cow::Owned(format!("http://ec2.amazonaws.com/doc/{version}/"))
            }
            (_, Some(service)) => Cow::Borrowed(service.xml_namespace.unwrap_or_default()),
            (_, None) => Cow::Borrowed(""),
        };
        Envelope { protocol: self.protocol, namespace, request_id }
    }

    fn named(&self, name: &str) -> Option<(&'static Service, &'static str)> {
        let service = self.service?;
        Some((service, service.operation(name)?))
    }

    fn ec2_operation(&self) -> Result<(&'static Service, &'static str), ApiError> {
        let parameters = self.parameters()?;
        let required = |name: &str| {
            let missing = || ApiError::new("MissingParameter", format!("The request must contain the parameter {name}"));
            parameters.get(name).filter(|v| !v.is_empty()).ok_or_else(missing)
        };
        let (action, version) = (required("Action")?, required("Version")?);
        if !is_ec2_version(version) {
            let message = format!("The requested version ({version}) of service AmazonEC2 does not exist");
            return Err(ApiError::new("NoSuchVersion", message));
        }
        let unknown = || ApiError::new("InvalidAction", format!("The action {action} is not valid for this web service."));
        self.named(action).ok_or_else(unknown)
    }

    fn query_operation(&self) -> Result<(&'static Service, &'static str), ApiError> {
        let parameters = self.parameters()?;
        let Some(action) = parameters.get("Action").filter(|a| !a.is_empty()) else {
            return Err(ApiError::new("MissingAction", "The request is missing an action or a required parameter."));
        };
        let version = parameters.get("Version");
        let right_version = |s: &&(&'static Service, &'static str)| version.is_some_and(|v| s.0.versions.contains(&v));
        self.named(action).as_ref().filter(right_version).copied().ok_or_else(|| {
            let version = version.unwrap_or("NO_VERSION_SPECIFIED");
            ApiError::new("InvalidAction", format!("Could not find operation {action} for version {version}"))
        })
    }
}

/// The answer for an operation that AWS has and this cloud hasn't. Status 501, since SDKs retry other server errors.
#[must_use]
pub fn not_implemented(service: &Service, operation: &str) -> ApiError {
    ApiError::new("NotImplemented", format!("The operation {operation} of {} is known but not built yet.", service.id))
}

fn unknown_operation(status: u16) -> ApiError {
    ApiError::with_status("UnknownOperationException", status, "The requested operation is not known to this service.")
}

fn header<'a>(parts: &'a Parts, name: &str) -> &'a str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// `/service/Name/operation/Operation`.
fn rpc_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/service/")?.split_once("/operation/")
}

/// The protocol and the service of a request. What it claims in its credential counts most; without one, an error must still be written in
/// some protocol, so the likeliest is taken.
fn detect(parts: &Parts, parameters: Option<&Parameters>, claimed: Option<&str>) -> (Protocol, Option<&'static Service>) {
    if header(parts, "smithy-protocol") == "rpc-v2-cbor" {
        let service = rpc_path(parts.uri.path()).and_then(|(name, operation)| operations::by_target(name, operation));
        return (Protocol::RpcV2Cbor, service);
    }
    if let Some((prefix, operation)) = header(parts, "x-amz-target").rsplit_once('.') {
        let json10 = header(parts, CONTENT_TYPE.as_str()).starts_with("application/x-amz-json-1.0");
        return (if json10 { Protocol::Json10 } else { Protocol::Json11 }, operations::by_target(prefix, operation));
    }
    let action = parameters.and_then(|p| p.get("Action"));
    let version = parameters.and_then(|p| p.get("Version"));
    let candidates: Vec<&'static Service> = match claimed {
        Some(name) => operations::by_signing_name(name).collect(),
        None => operations::services().iter().filter(|s| version.is_some_and(|v| s.versions.contains(&v))).collect(),
    };
    let form = |s: &Service| s.protocols.iter().copied().find(|p| p.is_form());
    let of_form = || candidates.iter().filter_map(|s| Some((form(s)?, *s)));
    let fits = |s: &Service| action.is_some_and(|a| s.operation(a).is_some()) && version.is_some_and(|v| s.versions.contains(&v));
    let rest: Vec<&'static Service> = candidates.iter().copied().filter(|s| form(s).is_none()).collect();
    if action.is_some() || rest.is_empty() {
        let named = of_form().find(|(_, s)| fits(s));
        // Of a claimed service even an unknown operation is in its protocol; of an unclaimed one it could be anyone's.
        let any = || of_form().next().filter(|_| claimed.is_some());
        if let Some((protocol, service)) = named.or_else(any) {
            return (protocol, Some(service));
        }
        if action.is_some() {
            let ec2 = version.is_some_and(is_ec2_version);
            return (if ec2 { Protocol::Ec2 } else { Protocol::Query }, None);
        }
    }
    let routed = rest.iter().find(|s| s.route(parts.method.as_str(), parts.uri.path(), parts.uri.query().unwrap_or_default()).is_some());
    match routed.or(rest.first()).filter(|_| claimed.is_some()) {
        Some(service) => (service.protocols.first().copied().unwrap_or(Protocol::RestJson), Some(service)),
        None => (Protocol::RestJson, None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn claim(service: &str) -> String {
        format!("AWS4-HMAC-SHA256 Credential=AKIA/20150830/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0")
    }

    /// The service and the operation, or the error's code, status and message.
    type Named = Result<(&'static str, &'static str), (String, u16, String)>;

    /// The protocol, and the operation or the error, of a form posted to a service.
    fn posted(service: &str, form: &str) -> (Protocol, Named) {
        let claim = claim(service);
        let form_type = "application/x-www-form-urlencoded; charset=utf-8";
        let parts = parts("POST", "/", &[("authorization", &claim), ("x-amz-date", "x"), ("content-type", form_type)]);
        outcome(&Request::read(&parts, form.as_bytes()))
    }

    fn outcome(request: &Request<'_>) -> (Protocol, Named) {
        let operation = request.operation().map(|(s, o)| (s.id, o)).map_err(|e| (e.code.into_owned(), e.status, e.message));
        (request.protocol, operation)
    }

    #[test]
    fn forms() {
        assert_eq!(posted("ec2", "Action=CreateVpc&Version=2016-11-15"), (Protocol::Ec2, Ok(("ec2", "CreateVpc"))));
        assert_eq!(posted("ec2", "Action=RunInstances&Version=2009-04-04"), (Protocol::Ec2, Ok(("ec2", "RunInstances"))));
        assert_eq!(posted("sts", "Action=GetCallerIdentity&Version=2011-06-15"), (Protocol::Query, Ok(("sts", "GetCallerIdentity"))));
        let elb = "elasticloadbalancing";
        assert_eq!(posted(elb, "Action=CreateLoadBalancer&Version=2012-06-01").1, Ok(("elb", "CreateLoadBalancer")));
        assert_eq!(posted(elb, "Action=CreateLoadBalancer&Version=2015-12-01").1, Ok(("elbv2", "CreateLoadBalancer")));
        assert_eq!(posted("monitoring", "Action=PutMetricData&Version=2010-08-01"), (Protocol::Query, Ok(("cloudwatch", "PutMetricData"))));
    }

    #[test]
    fn what_aws_does_not_have() {
        let error = |service: &str, form: &str| posted(service, form).1.unwrap_err();
        let of = |code: &str, message: &str| (code.to_owned(), 400, message.to_owned());
        assert_eq!(
            error("ec2", "Action=Nope&Version=2016-11-15"),
            of("InvalidAction", "The action Nope is not valid for this web service.")
        );
        assert_eq!(
            error("ec2", "Action=RunInstances&Version=2031-03-31"),
            of("NoSuchVersion", "The requested version (2031-03-31) of service AmazonEC2 does not exist")
        );
        for version in ["2006-06-25", "2016-11-16", "2013-13-01", "1234567890", "latest"] {
            assert_eq!(error("ec2", &format!("Action=RunInstances&Version={version}")).0, "NoSuchVersion", "{version}");
        }
        assert_eq!(error("ec2", "Action=RunInstances"), of("MissingParameter", "The request must contain the parameter Version"));
        assert_eq!(error("ec2", "Version=2016-11-15"), of("MissingParameter", "The request must contain the parameter Action"));
        assert_eq!(
            error("sts", "Action=Nope&Version=2011-06-15"),
            of("InvalidAction", "Could not find operation Nope for version 2011-06-15")
        );
        assert_eq!(
            error("sts", "Action=GetCallerIdentity"),
            of("InvalidAction", "Could not find operation GetCallerIdentity for version NO_VERSION_SPECIFIED")
        );
        assert_eq!(error("sts", "Version=2011-06-15").0, "MissingAction");
        assert_eq!(error("ec2", "Action=RunInstances&Version=%zz").0, "MalformedQueryString");
    }

    #[test]
    fn the_other_protocols() {
        let read = |method: &str, uri: &str, headers: &[(&str, &str)]| outcome(&Request::read(&parts(method, uri, headers), b"{}"));
        let target = [("x-amz-target", "DynamoDB_20120810.PutItem"), ("content-type", "application/x-amz-json-1.0")];
        assert_eq!(read("POST", "/", &target), (Protocol::Json10, Ok(("dynamodb", "PutItem"))));
        let target = [("x-amz-target", "Logs_20140328.Nope"), ("content-type", "application/x-amz-json-1.1")];
        let (protocol, error) = read("POST", "/", &target);
        assert_eq!((protocol, error.unwrap_err().0.as_str()), (Protocol::Json11, "UnknownOperationException"));
        let cbor = [("smithy-protocol", "rpc-v2-cbor")];
        let path = "/service/GraniteServiceVersion20100801/operation/PutMetricData";
        assert_eq!(read("POST", path, &cbor), (Protocol::RpcV2Cbor, Ok(("cloudwatch", "PutMetricData"))));
        let (lambda, s3) = (claim("lambda"), claim("s3"));
        let signed = |claim: &'static str| [("authorization", claim), ("x-amz-date", "x")];
        let leak = |s: String| -> &'static str { s.leak() };
        let (lambda, s3) = (signed(leak(lambda)), signed(leak(s3)));
        assert_eq!(read("GET", "/2015-03-31/functions", &lambda), (Protocol::RestJson, Ok(("lambda", "ListFunctions"))));
        assert_eq!(read("GET", "/nope", &lambda).1.unwrap_err().1, 404);
        assert_eq!(read("GET", "/bucket?acl", &s3), (Protocol::RestXml, Ok(("s3", "GetBucketAcl"))));
    }

    #[test]
    fn without_a_signature_the_likeliest_protocol_answers() {
        let read = |uri: &str| Request::read(&parts("GET", uri, &[]), b"").protocol;
        assert_eq!(read("/?Action=DescribeInstances&Version=2016-11-15"), Protocol::Ec2);
        assert_eq!(read("/?Action=Nope&Version=2016-11-15"), Protocol::Ec2);
        assert_eq!(read("/?Action=GetCallerIdentity&Version=2011-06-15"), Protocol::Query);
        assert_eq!(read("/?Action=Nope"), Protocol::Query);
        assert_eq!(read("/"), Protocol::RestJson);
    }

    #[test]
    fn ec2_answers_in_the_version_that_was_asked_for() {
        let parts = parts("GET", "/?Action=DescribeInstances&Version=2013-02-01", &[]);
        assert_eq!(Request::read(&parts, b"").envelope("r").namespace, "http://ec2.amazonaws.com/doc/2013-02-01/");
    }

    #[test]
    fn known_but_not_built() {
        let service = operations::by_signing_name("ec2").next().unwrap();
        let error = not_implemented(service, "CreateVpc");
        assert_eq!((error.code.as_ref(), error.status), ("NotImplemented", 501));
    }
}
