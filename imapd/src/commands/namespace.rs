//! NAMESPACE (RFC 2342): the user's own; there are no others.

use crate::context::Context;
use crate::grammar::print;
use crate::reply::{Completion, Reply};
use common::hierarchy::Namespace;

/// `NAMESPACE`
pub fn namespace(context: &mut Context<'_>) -> Completion {
    let hierarchy = &context.hierarchy;
    context.conn.push(&response(hierarchy.namespace()))?;
    Ok(Reply::ok("These are they."))
}

fn response(namespace: &Namespace) -> Vec<u8> {
    let mut line = b"* NAMESPACE ((".to_vec();
    print::string(&mut line, &namespace.prefix);
    line.push(b' ');
    print::string(&mut line, &[namespace.separator]);
    line.extend_from_slice(b")) NIL NIL\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_and_separator() {
        for (prefix, separator, want) in [
            ("", b'.', "* NAMESPACE ((\"\" \".\")) NIL NIL\r\n"),
            ("INBOX.", b'.', "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\n"),
            ("INBOX", b'/', "* NAMESPACE ((\"INBOX/\" \"/\")) NIL NIL\r\n"),
        ] {
            assert_eq!(String::from_utf8(response(&Namespace::new(prefix, separator))).unwrap(), want);
        }
    }
}
