//! What holds of every answer.

use super::world::{Ask, Reply};

/// The name of the root element, if a text is well-formed.
fn root(text: &[u8]) -> Result<String, String> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_reader(text);
    let (mut root, mut depth) = (None, 0_u32);
    loop {
        match reader.read_event().map_err(|e| format!("{e}: {}", String::from_utf8_lossy(text)))? {
            Event::Start(tag) => {
                root.get_or_insert_with(|| tag.name().as_ref().to_owned());
                depth += 1;
            }
            Event::Empty(tag) => _ = root.get_or_insert_with(|| tag.name().as_ref().to_owned()),
            Event::End(_) => depth -= 1,
            Event::Eof if depth == 0 => return root.ok_or_else(|| "nothing".into()),
            Event::Eof => return Err(format!("it ends early: {}", String::from_utf8_lossy(text))),
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
    }
}

/// What every answer must be.
///
/// # Errors
/// What it isn't.
pub(crate) fn judge(ask: &Ask, reply: &Reply) -> Result<(), String> {
    let (status, text) = (reply.status.as_u16(), String::from_utf8_lossy(&reply.body));
    let all = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{ask:?}\n{what}: {status} {text}")) };
    all(status < 500 || status == 501, "a fault of S3's own")?;
    all(reply.headers.contains_key("x-amz-request-id"), "without an id")?;
    // hyper keeps the body of an answer to HEAD to itself.
    if ask.method == "HEAD" {
        return Ok(());
    }
    if status == 304 {
        return all(reply.body.is_empty(), "it has a body");
    }
    let is_xml = reply.headers.get("content-type").is_some_and(|kind| kind == "application/xml");
    if status >= 400 {
        all(root(&reply.body).as_deref() == Ok("Error"), "no document of an error")?;
        return ["<Code>", "<Message>", "<RequestId>"].into_iter().try_for_each(|tag| all(text.contains(tag), tag));
    }
    if is_xml && !reply.body.is_empty() && ask.path.iter().filter(|b| **b == b'/').count() == 1 {
        return root(&reply.body).map(drop).map_err(|why| format!("{ask:?}\n{why}"));
    }
    Ok(())
}
