//! Writes Rust for a service's shapes.

use super::WantedService;
use super::model::{Model, Reference, Shape};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Makes the files of one service: name and text.
pub(crate) fn service(module: &str, wanted: &WantedService, model: &Model) -> Result<Vec<(String, String)>> {
    let ec2 = match model.metadata.protocol.as_str() {
        "ec2" => true,
        "query" => false,
        other => bail!("protocol {other} has no generator yet"),
    };
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for name in &wanted.operations {
        let operation = model.operations.get(name).with_context(|| format!("the model has no operation {name}"))?;
        inputs.extend(operation.input.as_ref().map(|r| r.shape.as_str()));
        outputs.extend(operation.output.as_ref().map(|r| r.shape.as_str()));
    }
    let emitter = Emitter { module, wanted, model, ec2, inputs: model.reachable(inputs)?, outputs: model.reachable(outputs)? };
    emitter.files()
}

/// The module that holds all services.
pub(crate) fn root<'a>(modules: impl Iterator<Item = &'a String>) -> String {
    let mut out =
        "//! The shapes of the operations that are built, one module a service, as `xtask/operations.toml` lists them.\n\n".to_owned();
    for module in modules {
        let _ = writeln!(out, "#[allow(missing_docs, reason = \"a member's AWS name is its documentation\")]\npub mod {module};");
    }
    out
}

struct Emitter<'a> {
    module: &'a str,
    wanted: &'a WantedService,
    model: &'a Model,
    ec2: bool,
    inputs: BTreeSet<&'a str>,
    outputs: BTreeSet<&'a str>,
}

impl Emitter<'_> {
    fn files(&self) -> Result<Vec<(String, String)>> {
        let mut files = Vec::new();
        let mut uses = String::new();
        let kinds = [
            ("requests", "Shapes of requests alone.", (true, false)),
            ("results", "Shapes of replies alone.", (false, true)),
            ("shared", "Shapes of both requests and replies.", (true, true)),
        ];
        for (file, about, sides) in kinds {
            let mut body = String::new();
            for name in self.inputs.union(&self.outputs) {
                let shape = self.model.shape(name)?;
                if shape.r#type == "structure" && sides == (self.inputs.contains(name), self.outputs.contains(name)) {
                    self.structure(name, shape, &mut body).with_context(|| format!("shape {name}"))?;
                }
            }
            if !body.is_empty() {
                let _ = writeln!(uses, "mod {file};\npub use {file}::*;");
                files.push((format!("{file}.rs"), format!("//! {about}\n\n{}{body}", imports(&body))));
            }
        }
        let enums = self.enums()?;
        if !enums.is_empty() {
            uses.push_str("pub mod enums;\n");
            files.push(("enums.rs".to_owned(), format!("//! Values that the model allows in requests.\n\n{enums}")));
        }
        let metadata = &self.model.metadata;
        let namespace = metadata.xml_namespace.as_deref().context("the model has no XML namespace")?.trim_end_matches('/');
        let mut root = format!("//! Shapes of {}'s API, version {}.\n\n{uses}\n", self.module, metadata.api_version);
        let _ = writeln!(root, "/// The API version of these shapes.\npub const API_VERSION: &str = {:?};", metadata.api_version);
        let _ = writeln!(root, "/// The namespace of its replies.\npub const XML_NAMESPACE: &str = \"{namespace}/\";");
        root.push_str("\n#[cfg(test)]\npub(crate) mod samples;\n");
        files.push(("mod.rs".to_owned(), root));
        files.push(("samples.rs".to_owned(), self.samples()?));
        Ok(files)
    }

    /// Test code: a full value of every reply's shape, and a walk over the operations.
    fn samples(&self) -> Result<String> {
        let mut out = "//! For tests: a value of each reply's shapes with every member there, and all operations.\n\n\
                       use super::*;\nuse crate::botocore::{Visitor, sample};\n\n"
            .to_owned();
        for name in &self.outputs {
            let shape = self.model.shape(name)?;
            if shape.r#type == "structure" {
                let fields: String = shape.members.keys().map(|m| format!("{}, ", field_name(m))).collect();
                let _ = writeln!(out, "sample!({} {{ {fields} }});", type_name(name));
            }
        }
        out.push_str("\npub(crate) fn visit(visitor: &mut impl Visitor) {\n");
        for name in &self.wanted.operations {
            let operation = &self.model.operations[name];
            let kind = |shape: &Option<Reference>| shape.as_ref().map_or("crate::Empty".to_owned(), |r| type_name(&r.shape));
            ensure!(operation.input.is_some(), "operation {name} has no input: not generated yet");
            let _ = writeln!(out, "visitor.operation::<{}, {}>({name:?});", kind(&operation.input), kind(&operation.output));
        }
        out.push_str("}\n");
        Ok(out)
    }

    fn structure(&self, name: &str, shape: &Shape, out: &mut String) -> Result<()> {
        let rust_name = type_name(name);
        let _ = writeln!(out, "/// Shape `{name}` of {}'s model.", self.module);
        let _ = writeln!(out, "#[derive(Debug, Clone, Default, PartialEq)]\npub struct {rust_name} {{");
        for (member, reference) in &shape.members {
            let _ = writeln!(out, "pub {}: Option<{}>,", field_name(member), self.rust_type(&reference.shape)?);
        }
        out.push_str("}\n\n");
        if self.inputs.contains(name) {
            self.decode(name, &rust_name, shape, out)?;
        }
        if self.outputs.contains(name) {
            self.encode(&rust_name, shape, out)?;
        }
        Ok(())
    }

    fn rust_type(&self, name: &str) -> Result<String> {
        let shape = self.model.shape(name)?;
        Ok(match shape.r#type.as_str() {
            "structure" => type_name(name),
            "list" => format!("Vec<{}>", self.rust_type(&item(shape)?.shape)?),
            "string" | "character" => "String".to_owned(),
            "boolean" => "bool".to_owned(),
            "integer" => "i32".to_owned(),
            "long" => "i64".to_owned(),
            "double" | "float" => "f64".to_owned(),
            "timestamp" => "Timestamp".to_owned(),
            "blob" => "Vec<u8>".to_owned(),
            other => bail!("type {other} of shape {name} is not generated yet"),
        })
    }

    fn decode(&self, name: &str, rust_name: &str, shape: &Shape, out: &mut String) -> Result<()> {
        let _ = writeln!(out, "impl Decode for {rust_name} {{\nfn read(node: Node<'_>, cx: &mut Context) -> Self {{");
        if shape.members.is_empty() {
            out.push_str("node.members().for_each(|m| cx.unknown(m));\nSelf::default()\n}\n}\n\n");
            return Ok(());
        }
        out.push_str("let mut out = Self::default();\nfor m in node.members() {\nmatch m.name() {\n");
        let mut names = BTreeSet::new();
        for (member, reference) in &shape.members {
            let (name, call) = self.decode_call(member, reference).with_context(|| format!("member {member}"))?;
            ensure!(names.insert(name.clone()), "two members are named {name}");
            let _ = writeln!(out, "{name:?} => out.{} = {call},", field_name(member));
        }
        out.push_str("_ => cx.unknown(m),\n}\n}\n");
        let unrequired = |member: &str| self.wanted.unrequired.iter().any(|u| u.split_once('.') == Some((name, member)));
        for member in shape.required.iter().filter(|m| !unrequired(m)) {
            let reference = shape.members.get(member).with_context(|| format!("required member {member} doesn't exist"))?;
            let _ = writeln!(out, "cx.require(node, {:?}, out.{}.is_some());", self.query_name(member, reference), field_name(member));
        }
        out.push_str("out\n}\n}\n\n");
        Ok(())
    }

    /// A member's name in requests, and the call that reads it.
    fn decode_call(&self, member: &str, reference: &Reference) -> Result<(String, String)> {
        let mut name = self.query_name(member, reference);
        let shape = self.model.shape(&reference.shape)?;
        let call = match shape.r#type.as_str() {
            "structure" => "cx.structure(m)".to_owned(),
            "list" => {
                let item = item(shape)?;
                let form = if self.ec2 {
                    "Form::Flat".to_owned()
                } else if shape.flattened || reference.flattened {
                    name = item.location_name.clone().unwrap_or(name);
                    "Form::Flat".to_owned()
                } else {
                    format!("Form::Wrapped({:?})", item.location_name.as_deref().unwrap_or("member"))
                };
                let max = shape.max.map_or("MAX_ITEMS".to_owned(), |max| max.to_string());
                ensure!(shape.min.unwrap_or_default() <= 0.0, "a least number of items is not checked yet");
                let item_shape = self.model.shape(&item.shape)?;
                match item_shape.r#type.as_str() {
                    "structure" => format!("cx.structures(m, {form}, {max})"),
                    "list" => bail!("a list of lists is not generated yet"),
                    _ => format!("cx.scalars(m, {}, {form}, {max})", self.rule(&item.shape, item_shape)?),
                }
            }
            _ => format!("cx.scalar(m, {})", self.rule(&reference.shape, shape)?),
        };
        Ok((name, call))
    }

    fn query_name(&self, member: &str, reference: &Reference) -> String {
        if !self.ec2 {
            return reference.location_name.clone().unwrap_or_else(|| member.to_owned());
        }
        match (&reference.query_name, &reference.location_name) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => capitalised(name),
            (None, None) => member.to_owned(),
        }
    }

    fn rule(&self, name: &str, shape: &Shape) -> Result<String> {
        ensure!(shape.pattern.is_none(), "shape {name}: patterns are not checked yet; no operation built so far has one");
        if self.checked(name, shape) {
            return Ok(format!("Rule::OneOf(enums::{})", constant_name(name)));
        }
        if shape.min.is_none() && shape.max.is_none() {
            return Ok("Rule::Any".to_owned());
        }
        let bound = |b: Option<f64>, none: &str| b.map_or(none.to_owned(), |b| b.to_string());
        Ok(match shape.r#type.as_str() {
            "string" | "blob" => format!("Rule::Length({}, {})", bound(shape.min, "0"), bound(shape.max, "usize::MAX")),
            "integer" | "long" => format!("Rule::Range({}, {})", bound(shape.min, "i64::MIN"), bound(shape.max, "i64::MAX")),
            other => bail!("bounds of a {other} are not checked yet"),
        })
    }

    fn checked(&self, name: &str, shape: &Shape) -> bool {
        !shape.r#enum.is_empty() && !self.wanted.unchecked.iter().any(|u| u == name)
    }

    fn encode(&self, rust_name: &str, shape: &Shape, out: &mut String) -> Result<()> {
        let unused = if shape.members.is_empty() { "_" } else { "" };
        let _ = writeln!(out, "impl Encode for {rust_name} {{\nfn encode(&self, {unused}xml: &mut Xml) {{");
        for (member, reference) in &shape.members {
            let name = reference.location_name.as_deref().unwrap_or(member);
            let shape = self.model.shape(&reference.shape)?;
            let field = field_name(member);
            let _ = match shape.r#type.as_str() {
                "structure" => writeln!(out, "xml.structure({name:?}, &self.{field});"),
                "list" => {
                    ensure!(!shape.flattened && !reference.flattened, "member {member}: flattened lists are not written yet");
                    let item = item(shape)?;
                    let kind = match self.model.shape(&item.shape)?.r#type.as_str() {
                        "structure" => "structures",
                        "list" => bail!("a list of lists is not generated yet"),
                        _ => "scalars",
                    };
                    let item_name = item.location_name.as_deref().unwrap_or("member");
                    writeln!(out, "xml.{kind}({name:?}, {item_name:?}, &self.{field});")
                }
                _ => writeln!(out, "xml.scalar({name:?}, &self.{field});"),
            };
        }
        out.push_str("}\n}\n\n");
        Ok(())
    }

    fn enums(&self) -> Result<String> {
        let mut out = String::new();
        for name in &self.inputs {
            let shape = self.model.shape(name)?;
            if self.checked(name, shape) {
                let _ = writeln!(out, "pub const {}: &[&str] = &{:?};\n", constant_name(name), shape.r#enum);
            }
        }
        Ok(out)
    }
}

fn item(shape: &Shape) -> Result<&Reference> {
    shape.member.as_ref().context("a list without a member")
}

/// The imports that a file needs.
fn imports(body: &str) -> String {
    let mut out = String::new();
    if body.contains("enums::") {
        out.push_str("use super::enums;\n");
    }
    // Shapes refer to one another across files.
    out.push_str("#[allow(unused_imports, reason = \"not every file refers to another\")]\nuse super::*;\n");
    if body.contains("impl Decode") {
        let names: Vec<&str> = ["Form", "MAX_ITEMS", "Rule"]
            .into_iter()
            .filter(|n| body.contains(&format!("{n}::")) || body.contains(&format!(", {n})")))
            .collect();
        let _ = writeln!(out, "use crate::decode::{{Context, Decode, {}}};\nuse crate::params::Node;", names.join(", "));
    }
    if body.contains("impl Encode") {
        out.push_str("use crate::xml::{Encode, Xml};\n");
    }
    if body.contains("Timestamp>") {
        out.push_str("use crate::Timestamp;\n");
    }
    out.push('\n');
    out
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A shape's name as a type.
fn type_name(name: &str) -> String {
    capitalised(name)
}

/// A shape's name as a constant.
fn constant_name(name: &str) -> String {
    snake_case(name).to_uppercase()
}

/// A member's name as a field.
fn field_name(name: &str) -> String {
    let name = snake_case(name);
    match name.as_str() {
        "type" | "return" | "enum" | "match" | "ref" | "mod" | "move" | "static" | "use" | "where" => format!("r#{name}"),
        _ => name,
    }
}

/// `VpcId` is `vpc_id`, `IPv6CidrBlock` is `ipv6_cidr_block`, `DefaultVCpus` is `default_vcpus`, `SSEType` is `sse_type`.
fn snake_case(name: &str) -> String {
    // Words that AWS writes in mixed case.
    let name = name.replace("VCpu", "Vcpu").replace("IPv", "Ipv").replace("MiB", "Mib").replace("GiB", "Gib");
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(at + 1);
        let starts_word = c.is_uppercase()
            && before.is_some_and(|b| {
                b.is_lowercase()
                    || b.is_ascii_digit()
                    || (b.is_uppercase() && after.is_some_and(|a| a.is_lowercase() && plural(&chars, at) != Some(true)))
            });
        if starts_word && !out.ends_with('_') {
            out.push('_');
        }
        if *c == '-' || *c == '.' { out.push('_') } else { out.extend(c.to_lowercase()) }
    }
    out
}

/// Whether the upper-case letter at `at` ends an abbreviation in the plural, as in `ARNs`.
fn plural(chars: &[char], at: usize) -> Option<bool> {
    Some(*chars.get(at + 1)? == 's' && chars.get(at + 2).is_none_or(|c| c.is_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (aws, rust) in [
            ("VpcId", "vpc_id"),
            ("Ipv6Addresses", "ipv6_addresses"),
            ("IPv6CidrBlock", "ipv6_cidr_block"),
            ("DefaultVCpus", "default_vcpus"),
            ("VCpuInfo", "vcpu_info"),
            ("SizeInMiB", "size_in_mib"),
            ("SSEType", "sse_type"),
            ("PolicyARNs", "policy_arns"),
            ("DNSName", "dns_name"),
            ("s3Key", "s3_key"),
            ("Return", "r#return"),
            ("Type", "r#type"),
        ] {
            assert_eq!(field_name(aws), rust, "{aws}");
        }
        assert_eq!(constant_name("ResourceType"), "RESOURCE_TYPE");
    }
}
