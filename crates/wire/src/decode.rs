//! From parameters to an operation's input, checked against the model as AWS checks it.

use crate::params::{Node, Parameters};
use crate::{ApiError, Timestamp};
use base64::Engine as _;

/// Violations that one reply names.
const MAX_VIOLATIONS: usize = 16;
/// Bytes of a client's value that a message repeats.
const MAX_SHOWN_BYTES: usize = 256;
/// The highest number that an item of a list may have.
const MAX_INDEX: u32 = 100_000;

/// A structure that is read from parameters.
pub trait Decode: Sized {
    /// Reads the structure at `node`. What is wrong is told to `cx`; the value is then not to be used.
    fn read(node: Node<'_>, cx: &mut Context) -> Self;

    /// Reads an operation's input.
    ///
    /// # Errors
    /// What AWS answers for the first violation (EC2) or for all of them (other query services).
    fn decode(parameters: &Parameters) -> Result<Self, ApiError> {
        let mut cx = Context { dialect: parameters.dialect(), violations: Vec::new() };
        let value = Self::read(parameters.root(), &mut cx);
        cx.into_error().map_or(Ok(value), Err)
    }
}

/// Whose words and rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// EC2: unknown parameters are refused, one violation is reported.
    Ec2,
    /// The other query services: unknown parameters are passed over, all violations are reported in one `ValidationError`.
    Query,
}

/// What the model says of a scalar.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Nothing.
    Any,
    /// Only these values.
    OneOf(&'static [&'static str]),
    /// The least and the highest number.
    Range(i64, i64),
    /// The least and the highest number of characters.
    Length(usize, usize),
}

/// How a list's items are named.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// `List.1`.
    Flat,
    /// `List.member.1`.
    Wrapped(&'static str),
}

/// Items in a list of which the model says nothing.
pub const MAX_ITEMS: usize = 10_000;

/// Collects what is wrong with a request.
#[derive(Debug)]
pub struct Context {
    dialect: Dialect,
    violations: Vec<Violation>,
}

#[derive(Debug)]
enum Violation {
    Unknown { path: String },
    Missing { path: String },
    Invalid { path: String, value: String, why: Why },
}

#[derive(Debug)]
enum Why {
    Empty,
    Form(&'static str),
    OneOf(&'static [&'static str]),
    Under(i64),
    Over(i64),
    Shorter(usize),
    Longer(usize),
    Items(usize),
}

impl Context {
    /// A scalar at `node`.
    pub fn scalar<T: Scalar>(&mut self, node: Node<'_>, rule: Rule) -> Option<T> {
        node.members().for_each(|m| self.unknown(m));
        let text = node.value()?;
        let Some(value) = T::read(text) else {
            self.invalid(node, if text.is_empty() { Why::Empty } else { Why::Form(T::FORM) });
            return None;
        };
        if let Some(why) = broken(rule, text) {
            self.invalid(node, why);
        }
        Some(value)
    }

    /// A structure at `node`.
    pub fn structure<T: Decode>(&mut self, node: Node<'_>) -> Option<T> {
        self.no_value(node);
        Some(T::read(node, self))
    }

    /// A list of scalars at `node`.
    pub fn scalars<T: Scalar>(&mut self, node: Node<'_>, rule: Rule, form: Form, max: usize) -> Option<Vec<T>> {
        let items = self.items(node, form, max);
        Some(items.into_iter().filter_map(|item| self.scalar(item, rule)).collect())
    }

    /// A list of structures at `node`.
    pub fn structures<T: Decode>(&mut self, node: Node<'_>, form: Form, max: usize) -> Option<Vec<T>> {
        let items = self.items(node, form, max);
        Some(items.into_iter().filter_map(|item| self.structure(item)).collect())
    }

    /// A parameter that the model doesn't have.
    pub fn unknown(&mut self, node: Node<'_>) {
        match self.dialect {
            Dialect::Ec2 => self.add(Violation::Unknown { path: node.path().to_owned() }),
            Dialect::Query => {}
        }
    }

    /// A member that the model requires, below `node`.
    pub fn require(&mut self, node: Node<'_>, name: &str, given: bool) {
        if !given {
            let path = if node.path().is_empty() { name.to_owned() } else { format!("{}.{name}", node.path()) };
            // A value that couldn't be read is wrong, not missing.
            if !self.violations.iter().any(|v| matches!(v, Violation::Invalid { path: wrong, .. } if *wrong == path)) {
                self.add(Violation::Missing { path });
            }
        }
    }

    /// The items of a list. Gaps in the numbers are passed over, as AWS does.
    fn items<'a>(&mut self, node: Node<'a>, form: Form, max: usize) -> Vec<Node<'a>> {
        self.no_value(node);
        let mut out = Vec::new();
        let mut take = |cx: &mut Self, list: Node<'a>| {
            for item in list.members() {
                if is_index(item.name()) { out.push(item) } else { cx.unknown(item) }
            }
        };
        match form {
            Form::Flat => take(self, node),
            Form::Wrapped(name) => {
                for member in node.members() {
                    if member.name() == name { take(self, member) } else { self.unknown(member) }
                }
            }
        }
        if out.len() > max {
            self.invalid(node, Why::Items(max));
        }
        out
    }

    /// A list or structure has no value of its own; the query protocol sends an empty one for an empty list.
    fn no_value(&mut self, node: Node<'_>) {
        if node.value().is_some_and(|v| !v.is_empty()) {
            self.unknown(node);
        }
    }

    fn invalid(&mut self, node: Node<'_>, why: Why) {
        let mut value = node.value().unwrap_or_default().to_owned();
        let end = value.floor_char_boundary(MAX_SHOWN_BYTES);
        value.truncate(end);
        self.add(Violation::Invalid { path: node.path().to_owned(), value, why });
    }

    fn add(&mut self, violation: Violation) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation);
        }
    }

    fn into_error(self) -> Option<ApiError> {
        match self.dialect {
            Dialect::Ec2 => self.violations.iter().min_by_key(|v| ec2_rank(v)).map(ec2_error),
            Dialect::Query => (!self.violations.is_empty()).then(|| query_error(&self.violations)),
        }
    }
}

fn is_index(name: &str) -> bool {
    !name.starts_with(['0', '+']) && name.parse::<u32>().is_ok_and(|n| n <= MAX_INDEX)
}

fn broken(rule: Rule, text: &str) -> Option<Why> {
    match rule {
        Rule::Any => None,
        Rule::OneOf(_) if text.is_empty() => Some(Why::Empty),
        Rule::OneOf(values) => (!values.contains(&text)).then_some(Why::OneOf(values)),
        Rule::Range(min, max) => {
            // Not an integer: read as a float, or refused already.
            let n: i64 = text.parse().ok()?;
            (n < min).then_some(Why::Under(min)).or((n > max).then_some(Why::Over(max)))
        }
        Rule::Length(min, max) => {
            let n = text.chars().count();
            (n < min).then_some(Why::Shorter(min)).or((n > max).then_some(Why::Longer(max)))
        }
    }
}

/// EC2 names what it doesn't know before what it misses, and that before wrong values.
fn ec2_rank(violation: &Violation) -> u8 {
    match violation {
        Violation::Unknown { .. } => 0,
        Violation::Missing { .. } => 1,
        Violation::Invalid { .. } => 2,
    }
}

fn ec2_error(violation: &Violation) -> ApiError {
    match violation {
        Violation::Unknown { path } => ApiError::new("UnknownParameter", format!("The parameter {path} is not recognized")),
        Violation::Missing { path } => ApiError::new("MissingParameter", format!("The request must contain the parameter {path}")),
        Violation::Invalid { path, value, why } => {
            let name = lower_camel(path);
            let message = match why {
                Why::Empty => format!("Value () for parameter {name} is invalid. The value cannot be empty"),
                Why::Form(form) => format!("Value ({value}) for parameter {name} is invalid. Expecting {form}."),
                // AWS says this of a selector of attributes of instances and images.
                Why::OneOf(_) if path == "Attribute" => format!("Value ({value}) for parameter {name} is invalid. Unknown attribute."),
                Why::OneOf(_) => format!("Value ({value}) for parameter {name} is invalid."),
                Why::Under(min) => format!("Value ( {value} ) for parameter {name} is invalid. Expecting a value greater than {min}."),
                Why::Over(max) => format!("Value ( {value} ) for parameter {name} is invalid. Expecting a value less than {max}."),
                Why::Shorter(min) => {
                    format!("Value ({value}) for parameter {name} is invalid. The length must be at least {min} characters.")
                }
                Why::Longer(max) => format!("Value ({value}) for parameter {name} is invalid. The length exceeds {max} characters."),
                Why::Items(max) => format!("The parameter {path} has too many values. The maximum is {max}."),
            };
            ApiError::new("InvalidParameterValue", message)
        }
    }
}

fn query_error(violations: &[Violation]) -> ApiError {
    let all: Vec<String> = violations
        .iter()
        .map(|violation| match violation {
            Violation::Unknown { path } => format!("Value at '{}' is not a member", lower_camel(path)),
            Violation::Missing { path } => {
                format!("Value null at '{}' failed to satisfy constraint: Member must not be null", lower_camel(path))
            }
            Violation::Invalid { path, value, why } => {
                let must = match why {
                    Why::Empty => "not be empty".to_owned(),
                    Why::Form(form) => format!("be {form}"),
                    Why::OneOf(values) => format!("satisfy enum value set: [{}]", values.join(", ")),
                    Why::Under(min) => format!("have value greater than or equal to {min}"),
                    Why::Over(max) => format!("have value less than or equal to {max}"),
                    Why::Shorter(min) => format!("have length greater than or equal to {min}"),
                    Why::Longer(max) | Why::Items(max) => format!("have length less than or equal to {max}"),
                };
                format!("Value '{value}' at '{}' failed to satisfy constraint: Member must {must}", lower_camel(path))
            }
        })
        .collect();
    let s = if all.len() == 1 { "" } else { "s" };
    ApiError::new("ValidationError", format!("{} validation error{s} detected: {}", all.len(), all.join("; ")))
}

/// `Placement.Tenancy` is `placement.tenancy` in AWS's words.
fn lower_camel(path: &str) -> String {
    let lower = |part: &str| {
        let mut chars = part.chars();
        chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
    };
    path.split('.').map(lower).collect::<Vec<_>>().join(".")
}

/// A value without members.
pub trait Scalar: Sized {
    /// What a client should have sent, after "Expecting".
    const FORM: &'static str;
    /// Reads the text of a parameter.
    fn read(text: &str) -> Option<Self>;
}

impl Scalar for String {
    const FORM: &'static str = "a string";
    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Scalar for bool {
    const FORM: &'static str = "a boolean";
    fn read(text: &str) -> Option<Self> {
        if text == "1" || text.eq_ignore_ascii_case("true") {
            Some(true)
        } else if text == "0" || text.eq_ignore_ascii_case("false") {
            Some(false)
        } else {
            None
        }
    }
}

impl Scalar for i32 {
    const FORM: &'static str = "an integer";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Scalar for i64 {
    const FORM: &'static str = "an integer";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Scalar for f64 {
    const FORM: &'static str = "a number";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Scalar for Timestamp {
    const FORM: &'static str = "a time in ISO 8601 form";
    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Scalar for Vec<u8> {
    const FORM: &'static str = "base64-encoded data";
    fn read(text: &str) -> Option<Self> {
        base64::engine::general_purpose::STANDARD.decode(text).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::shapes::ec2;

    fn ec2<T: Decode>(form: &str) -> Result<T, (String, String)> {
        let parameters = Parameters::parse(Dialect::Ec2, &[form.as_bytes()]).unwrap();
        T::decode(&parameters).map_err(|e| (e.code.into_owned(), e.message))
    }

    fn refused<T: Decode + std::fmt::Debug>(form: &str) -> (String, String) {
        ec2::<T>(form).unwrap_err()
    }

    #[test]
    fn run_instances_as_botocore_sends_it() {
        let input: ec2::RunInstancesRequest = ec2(concat!(
            "BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsda1&BlockDeviceMapping.1.Ebs.VolumeSize=8&BlockDeviceMapping.1.Ebs.DeleteOnTermination=true",
            "&ImageId=ami-1&InstanceType=t3.nano&MaxCount=2&MinCount=1&SecurityGroupId.1=sg-1&SecurityGroupId.2=sg-2",
            "&NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.PrivateIpAddresses.1.Primary=true&UserData=aGk%3D",
            "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=",
            "&InstanceMarketOptions.SpotOptions.ValidUntil=2026-11-24T04%3A07%3A39Z&ClientToken=t"
        ))
        .unwrap();
        let device = &input.block_device_mappings.unwrap()[0];
        assert_eq!(device.device_name.as_deref(), Some("/dev/sda1"));
        assert_eq!(device.ebs.as_ref().unwrap().volume_size, Some(8));
        assert_eq!(device.ebs.as_ref().unwrap().delete_on_termination, Some(true));
        assert_eq!((input.min_count, input.max_count), (Some(1), Some(2)));
        assert_eq!(input.security_group_ids.unwrap(), ["sg-1", "sg-2"]);
        assert_eq!(input.network_interfaces.unwrap()[0].private_ip_addresses.as_ref().unwrap()[0].primary, Some(true));
        assert_eq!(input.user_data.as_deref(), Some("aGk="));
        let tags = input.tag_specifications.unwrap();
        assert_eq!(tags[0].tags.as_ref().unwrap()[0], ec2::Tag { key: Some("a".into()), value: Some(String::new()) });
        let until = input.instance_market_options.unwrap().spot_options.unwrap().valid_until;
        assert_eq!(until, Some(Timestamp(1_795_493_259_000)));
    }

    #[test]
    fn what_the_model_requires() {
        assert_eq!(
            refused::<ec2::RunInstancesRequest>("ImageId=ami-1&MinCount=1"),
            ("MissingParameter".into(), "The request must contain the parameter MaxCount".into())
        );
        assert_eq!(refused::<ec2::MonitorInstancesRequest>("").1, "The request must contain the parameter InstanceId");
    }

    #[test]
    fn what_the_model_does_not_have() {
        let one = refused::<ec2::StopInstancesRequest>("InstanceID.1=i-1");
        assert_eq!(one, ("UnknownParameter".into(), "The parameter InstanceID is not recognized".into()));
        for (form, path) in [
            ("InstanceId.1=i-1&Force.1=true", "Force.1"),
            ("InstanceId=i-1", "InstanceId"),
            ("InstanceId.0=i-1", "InstanceId.0"),
            ("InstanceId.x=i-1", "InstanceId.x"),
            ("InstanceId.01=i-1", "InstanceId.01"),
            ("InstanceId.100001=i-1", "InstanceId.100001"),
            ("InstanceId..1=i-1", "InstanceId."),
        ] {
            assert_eq!(refused::<ec2::StopInstancesRequest>(form).1, format!("The parameter {path} is not recognized"), "{form}");
        }
        assert_eq!(refused::<ec2::RunInstancesRequest>("MinCount=1&MaxCount=1&Placement=x").1, "The parameter Placement is not recognized");
    }

    #[test]
    fn wrong_values() {
        for (form, message) in [
            ("MinCount=x&MaxCount=1", "Value (x) for parameter minCount is invalid. Expecting an integer."),
            ("MinCount=&MaxCount=1", "Value () for parameter minCount is invalid. The value cannot be empty"),
            ("MinCount=1&MaxCount=4294967296", "Value (4294967296) for parameter maxCount is invalid. Expecting an integer."),
            ("MinCount=1&MaxCount=1&DryRun=maybe", "Value (maybe) for parameter dryRun is invalid. Expecting a boolean."),
            ("MinCount=1&MaxCount=1&Placement.Tenancy=mine", "Value (mine) for parameter placement.tenancy is invalid."),
        ] {
            assert_eq!(refused::<ec2::RunInstancesRequest>(form), ("InvalidParameterValue".into(), message.into()), "{form}");
        }
        assert_eq!(
            refused::<ec2::DescribeVpcsRequest>("MaxResults=4").1,
            "Value ( 4 ) for parameter maxResults is invalid. Expecting a value greater than 5."
        );
        assert!(ec2::<ec2::DescribeVpcsRequest>("MaxResults=5").is_ok());
        assert_eq!(refused::<ec2::ImportKeyPairRequest>("KeyName=k&PublicKeyMaterial=%21").0, "InvalidParameterValue");
    }

    #[test]
    fn gaps_are_passed_over_and_order_is_numeric() {
        let input: ec2::StopInstancesRequest = ec2("InstanceId.10=c&InstanceId.2=a&InstanceId.9=b&Force=True").unwrap();
        assert_eq!(input.instance_ids.unwrap(), ["a", "b", "c"]);
        assert_eq!(input.force, Some(true));
    }

    #[test]
    fn the_instance_type_is_left_to_the_action() {
        assert!(ec2::<ec2::RunInstancesRequest>("MinCount=1&MaxCount=1&InstanceType=x").is_ok());
    }

    /// A structure as the generator makes it for a query service.
    #[derive(Debug, Default)]
    struct Query {
        name: Option<String>,
        tags: Option<Vec<String>>,
    }

    impl Decode for Query {
        fn read(node: Node<'_>, cx: &mut Context) -> Self {
            let mut out = Self::default();
            for m in node.members() {
                match m.name() {
                    "Name" => out.name = cx.scalar(m, Rule::Length(2, 3)),
                    "Tags" => out.tags = cx.scalars(m, Rule::OneOf(&["a", "b"]), Form::Wrapped("member"), 2),
                    _ => cx.unknown(m),
                }
            }
            cx.require(node, "Name", out.name.is_some());
            out
        }
    }

    #[test]
    fn query_services_report_all_at_once() {
        let read = |form: &str| Query::decode(&Parameters::parse(Dialect::Query, &[form.as_bytes()]).unwrap());
        let good = read("Name=ab&Tags.member.1=b&Tags.member.2=a&Other=1").unwrap();
        assert_eq!((good.name.as_deref(), good.tags.unwrap()), (Some("ab"), vec!["b".to_owned(), "a".to_owned()]));
        assert_eq!(read("Name=ab&Tags=").unwrap().tags, Some(vec![]));
        let error = read("Tags.member.1=c").unwrap_err();
        assert_eq!(error.code, "ValidationError");
        assert_eq!(
            error.message,
            "2 validation errors detected: Value 'c' at 'tags.member.1' failed to satisfy constraint: Member must satisfy enum value set: [a, b]; \
             Value null at 'name' failed to satisfy constraint: Member must not be null"
        );
        assert!(read("Name=abcd").unwrap_err().message.ends_with("Member must have length less than or equal to 3"));
        assert!(read("Name=ab&Tags.member.1=a&Tags.member.2=a&Tags.member.3=a").unwrap_err().message.contains("at 'tags'"));
    }

    proptest::proptest! {
        /// Whatever form comes, it is read or refused, and what is refused is the client's fault.
        #[test]
        fn garbage_is_answered(form in "([A-Z][a-zA-Z]{0,8}(\\.[0-9a-zA-Z]{0,6}){0,5}=[ -~é]{0,12}&?){0,8}") {
            if let Ok(parameters) = Parameters::parse(Dialect::Ec2, &[form.as_bytes()])
                && let Err(error) = ec2::RunInstancesRequest::decode(&parameters)
            {
                proptest::prop_assert!(error.is_client(), "{}", error);
            }
        }

        /// The same near the right names.
        #[test]
        fn nearly_right_is_answered(name in "(Filter|InstanceId|TagSpecification)(\\.[0-9x]{0,12}){0,3}(\\.(Tag|Name|Value|Key))?", value in ".{0,20}") {
            let form = format!("MinCount=1&MaxCount=1&{name}={value}");
            if let Ok(parameters) = Parameters::parse(Dialect::Ec2, &[form.as_bytes()]) {
                let _ = ec2::RunInstancesRequest::decode(&parameters);
                let _ = ec2::DescribeInstancesRequest::decode(&parameters);
            }
        }
    }
}
