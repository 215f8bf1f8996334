//! What the session has to know of the conversation before the login: the state that the guard passes on.
//!
//! The front wrote it, and the front may have been taken over by its client: it is read like anything hostile.

use crate::grammar::Tag;

/// The conversation before the login, as far as it matters afterwards.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Login {
    /// Refused commands.
    pub bad_commands: u32,
    /// The tag of the command that logged in, whose completion the session owes. `None`: `--preauth`.
    pub tag: Option<Tag>,
    /// What the log has to say of the client's ID, printable; empty: nothing.
    pub id: String,
}

impl Login {
    /// As octets.
    pub fn encode(&self) -> Vec<u8> {
        let mut state = self.bad_commands.to_be_bytes().to_vec();
        state.extend_from_slice(self.tag.as_ref().map_or(b"", Tag::as_bytes));
        state.push(b' ');
        state.extend_from_slice(self.id.as_bytes());
        state
    }

    /// From octets; whatever is wrong with them is left out.
    pub fn decode(state: &[u8]) -> Login {
        let Some((bad_commands, rest)) = state.split_first_chunk() else { return Login::default() };
        let tag = Tag::read(rest);
        let id = rest.splitn(2, |&c| c == b' ').nth(1).unwrap_or_default();
        let id = String::from_utf8_lossy(id).chars().filter(|c| !c.is_control()).collect();
        Login { bad_commands: u32::from_be_bytes(*bad_commands), tag, id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::TAG_MAX;
    use proptest::prelude::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (tag, id) in [(Some("a1"), "name=x y"), (Some("*"), ""), (None, "")] {
            let tag = tag.and_then(|tag| Tag::read(tag.as_bytes()));
            let login = Login { bad_commands: 7, tag, id: id.to_owned() };
            assert_eq!(Login::decode(&login.encode()), login);
        }
    }

    #[test]
    fn anything_else_is_left_out() {
        for state in [&b""[..], b"abc", b"\0\0\0\0", b"\0\0\0\x01+ \r\n\xff"] {
            let login = Login::decode(state);
            assert_eq!(login.tag, None, "{state:?}");
            assert!(!login.id.contains(['\r', '\n']));
        }
    }

    proptest! {
        /// A front that was taken over writes what it likes: there is nothing in it that ends a line, and it reads back.
        #[test]
        fn nothing_of_a_front_ends_a_line(state in proptest::collection::vec(any::<u8>(), 0..300)) {
            let login = Login::decode(&state);
            prop_assert!(!login.id.contains(char::is_control), "{:?}", login.id);
            if let Some(tag) = &login.tag {
                prop_assert!((1..=TAG_MAX).contains(&tag.as_bytes().len()));
                prop_assert!(tag.as_bytes().iter().all(u8::is_ascii_graphic), "{tag:?}");
            }
            prop_assert_eq!(Login::decode(&login.encode()), login);
        }

        #[test]
        fn whatever_is_encoded_is_decoded(bad_commands: u32, tag in "([a-zA-Z0-9.]{1,100})?", id in "[^\\pC]{0,80}") {
            let login = Login { bad_commands, tag: Tag::read(tag.as_bytes()), id };
            prop_assert_eq!(login.tag.is_some(), !tag.is_empty());
            prop_assert_eq!(Login::decode(&login.encode()), login);
        }
    }
}
