//! NAMESPACE (RFC 2342): the user's own, other users', and public ones.

use crate::context::Context;
use crate::grammar::print;
use crate::reply::{Completion, Reply};
use common::hierarchy::Namespaces;

/// `NAMESPACE`
pub fn namespace(context: &mut Context<'_>) -> Completion {
    context.conn.push(&response(&context.namespaces))?;
    Ok(Reply::ok("These are they."))
}

fn response(namespaces: &Namespaces) -> Vec<u8> {
    let own = &*namespaces.own().namespace().prefix;
    let mut line = b"* NAMESPACE".to_vec();
    for prefix in [Some(own), namespaces.shared_prefix(), namespaces.public_prefix()] {
        line.push(b' ');
        let Some(prefix) = prefix else {
            line.extend_from_slice(b"NIL");
            continue;
        };
        line.extend_from_slice(b"((");
        print::string(&mut line, prefix);
        line.push(b' ');
        print::string(&mut line, &[namespaces.separator()]);
        line.extend_from_slice(b"))");
    }
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    #[test]
    fn prefixes_and_separator() {
        let (public, shared) =
            ("namespace_public_location=maildir:/p", "namespace_shared_location=maildir:/%%u");
        for (settings, want) in [
            (&[][..], "((\"\" \".\")) NIL NIL"),
            (&["namespace_prefix=INBOX."], "((\"INBOX.\" \".\")) NIL NIL"),
            (&["namespace_prefix=INBOX", "namespace_separator=/"], "((\"INBOX/\" \"/\")) NIL NIL"),
            (&[public], "((\"\" \".\")) NIL ((\"Public.\" \".\"))"),
            (
                &[public, shared, "namespace_separator=/", "namespace_shared_prefix=#shared"],
                "((\"\" \"/\")) ((\"#shared/\" \"/\")) ((\"Public/\" \"/\"))",
            ),
        ] {
            let line = String::from_utf8(response(&Place::new(settings).namespaces)).unwrap();
            assert_eq!(line, format!("* NAMESPACE {want}\r\n"));
        }
    }
}
