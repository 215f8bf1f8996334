//! LANG (RFC 6856 section 3): replies are in English, and that can be said.

use crate::reply;
use common::io::{Conn, Ending};

/// Answers LANG. Nothing changes, because there is one language.
pub fn lang(conn: &mut Conn, tag: Option<&[u8]>) -> Result<(), Ending> {
    let Some(tag) = tag else {
        conn.push_line(reply::LANGUAGES)?;
        conn.push_line("en English")?;
        conn.push_line("i-default Default language")?;
        return conn.push_line(".");
    };
    // "*" asks for the best; a longer tag (en-GB) matches the shorter one we have, as RFC 4647 lookup does.
    let matches = tag == b"*"
        || tag.eq_ignore_ascii_case(b"i-default")
        || tag.eq_ignore_ascii_case(b"en")
        || tag.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"en-"));
    conn.push_line(if matches { reply::LANGUAGE_SET } else { reply::NO_SUCH_LANGUAGE })
}
