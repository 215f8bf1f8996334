//! LSUB (RFC 3501 section 6.3.9): what is subscribed to, whether it exists or not.

use crate::context::Context;
use crate::grammar::print;
use crate::reply::{Completion, Reply};
use common::hierarchy::{Hierarchy, Pattern};
use common::maildir::StorageError;

/// `LSUB reference pattern`
pub fn lsub(context: &mut Context<'_>, reference: &[u8], pattern: &[u8]) -> Completion {
    let hierarchy = &context.hierarchy;
    let mut ending = Ok(());
    answer(hierarchy, reference, pattern, &mut |line| {
        if ending.is_ok() {
            ending = context.conn.push(line);
        }
    })?;
    ending?;
    Ok(Reply::ok("Listed."))
}

fn answer(
    hierarchy: &Hierarchy,
    reference: &[u8],
    pattern: &[u8],
    push: &mut dyn FnMut(&[u8]),
) -> Result<(), StorageError> {
    let separator = hierarchy.namespace().separator;
    let listing = hierarchy.subscribed(&hierarchy.subscriptions()?)?;
    let mut pattern = Pattern::new(reference, pattern, separator);
    // RFC 3501 section 6.3.9: "%" tells of a level, even if it is not subscribed to, because of what is below it.
    let levels = pattern.ends_with_level();
    let mut line = Vec::new();
    for entry in listing.iter() {
        if !(entry.subscribed || levels) || !pattern.matches(entry.name) {
            continue;
        }
        line.clear();
        line.extend_from_slice(if entry.subscribed { b"* LSUB () " } else { b"* LSUB (\\Noselect) " });
        print::string(&mut line, &[separator]);
        line.push(b' ');
        print::astring(&mut line, entry.name);
        line.extend_from_slice(b"\r\n");
        push(&line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    fn lsub(place: &Place, reference: &str, pattern: &str) -> Vec<String> {
        let mut lines = Vec::new();
        answer(&place.hierarchy, reference.as_bytes(), pattern.as_bytes(), &mut |line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap().trim_end().replace("* LSUB ", ""));
        })
        .unwrap();
        lines
    }

    #[test]
    fn levels_are_told_for_the_sake_of_what_is_below() {
        let place = Place::new(&[]);
        place.subscribe(&["foo.bar", "INBOX", "gone", "foo.baz.x", "a b"]);
        let all =
            ["() \".\" INBOX", "() \".\" \"a b\"", "() \".\" foo.bar", "() \".\" foo.baz.x", "() \".\" gone"];
        assert_eq!(lsub(&place, "", "*"), all);
        let top = ["() \".\" INBOX", "() \".\" \"a b\"", "(\\Noselect) \".\" foo", "() \".\" gone"];
        assert_eq!(lsub(&place, "", "%"), top);
        assert_eq!(lsub(&place, "foo.", "%"), ["() \".\" foo.bar", "(\\Noselect) \".\" foo.baz"]);
        assert_eq!(lsub(&place, "", "inbox"), ["() \".\" INBOX"]);
        assert_eq!(lsub(&place, "", "foo"), [""; 0]);
        assert_eq!(lsub(&place, "", ""), [""; 0]);
    }

    #[test]
    fn names_have_the_prefix() {
        let place = Place::new(&["namespace_prefix=INBOX.", "namespace_separator=/"]);
        place.subscribe(&["foo.bar"]);
        assert_eq!(lsub(&place, "", "*"), ["() \"/\" INBOX/foo/bar"]);
        assert_eq!(lsub(&place, "INBOX/", "%"), ["(\\Noselect) \"/\" INBOX/foo"]);
    }
}
