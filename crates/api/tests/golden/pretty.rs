//! How replies are shown; the golden exchanges of `crates/s3` use it, too.

/// XML with one element a line, so that a difference is a line.
pub(crate) fn pretty(xml: &str) -> String {
    let (mut pretty, mut depth) = (String::new(), 0_usize);
    let mut rest = xml.trim();
    while let Some(start) = rest.find('<') {
        let text = rest[..start].trim();
        let end = rest[start..].find('>').map_or(rest.len(), |e| start + e + 1);
        let tag = &rest[start..end];
        rest = &rest[end..];
        if tag.starts_with("</") {
            depth = depth.saturating_sub(1);
            if !text.is_empty() || opens(&pretty, &tag[2..tag.len() - 1]) {
                // A value stays on its element's line.
                pretty.push_str(&text.replace('\n', "&#10;"));
            } else {
                pretty.push('\n');
                pretty.push_str(&"  ".repeat(depth));
            }
            pretty.push_str(tag);
        } else {
            if !pretty.is_empty() {
                pretty.push('\n');
            }
            pretty.push_str(&"  ".repeat(depth));
            pretty.push_str(tag);
            if !tag.starts_with("<?") && !tag.ends_with("/>") {
                depth += 1;
            }
        }
    }
    pretty.push('\n');
    pretty
}

/// Whether the last tag of a text opens an element of this name.
fn opens(text: &str, name: &str) -> bool {
    let rest = text.rsplit('<').next().and_then(|tag| tag.strip_prefix(name));
    rest.is_some_and(|rest| rest.ends_with('>') && !rest.ends_with("/>") && rest.starts_with([' ', '>']))
}

/// The lines around the first that differ.
pub(crate) fn difference(written: &str, came: &str) -> String {
    let (written, came): (Vec<&str>, Vec<&str>) = (written.lines().collect(), came.lines().collect());
    let at = written.iter().zip(&came).position(|(w, c)| w != c).unwrap_or(written.len().min(came.len()));
    let part = |lines: &[&str], sign: &str| {
        let lines = lines.iter().enumerate().skip(at.saturating_sub(2)).take(6);
        lines.map(|(n, l)| format!("  {sign}{:4} {l}\n", n + 1)).collect::<String>()
    };
    format!("{}{}", part(&written, "-"), part(&came, "+"))
}
