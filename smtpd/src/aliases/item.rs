//! One entry on the right side of an alias, or of a `~/.forward`.
//!
//! ```text
//! user@example.org    name    \name    :include:/path    /file    /directory/    |program argument 'one argument'
//! "|program argument" "/a file" ":include:/a list" "odd name" "odd name"@example.org    Phrase <user@example.org> (comment)
//! "Phrase, of words" <user@example.org>
//! ```
//! There is no shell: what only a shell understands is refused with the advice to name one.

use crate::address::{Address, LOCAL_PART_MAX};

/// Most words of a command.
const WORDS_MAX: usize = 200;

/// What an entry means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An address with its domain.
    Address(Address),
    /// A name of this host: an alias or a user.
    Name(String),
    /// `\name`: the mailbox of that user, whatever aliases and `~/.forward` say.
    Own(String),
    /// A file with more entries.
    Include(String),
    /// A file to append to, or a Maildir (with `/` at the end).
    File(String),
    /// A program and its arguments.
    Command(Vec<String>),
}

/// The entries of a list: commas separate them. Errors say which and why.
pub fn items(text: &str) -> Vec<Result<Item, String>> {
    split(text).into_iter().map(str::trim).filter(|entry| !entry.is_empty()).map(item).collect()
}

/// The entries of a list of a user's, who may write `~/file` for one in this home directory.
pub fn items_at_home(text: &str, home: &str) -> Vec<Result<Item, String>> {
    let home = home.trim_end_matches('/');
    let quoted = home.replace('\\', "\\\\").replace('"', "\\\"");
    let one = |entry: &str| match (entry.strip_prefix("~/"), entry.strip_prefix("\"~/")) {
        (Some(path), _) => item(&format!("{home}/{path}")),
        (None, Some(path)) => item(&format!("\"{quoted}/{path}")),
        (None, None) => item(entry),
    };
    split(text).into_iter().map(str::trim).filter(|entry| !entry.is_empty()).map(one).collect()
}

/// Cuts at commas that are neither quoted nor in `<>` nor in a comment.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped, mut angle, mut comment) = (false, false, false, 0u32);
    for (at, c) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match c {
            '\\' => escaped = true,
            '"' if comment == 0 => quoted = !quoted,
            _ if quoted => {}
            '(' => comment = comment.saturating_add(1),
            ')' => comment = comment.saturating_sub(1),
            '<' if comment == 0 => angle = true,
            '>' if comment == 0 => angle = false,
            ',' if comment == 0 && !angle => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// Reads one entry, blanks around it taken off.
pub fn item(text: &str) -> Result<Item, String> {
    let wrong = |why: &str| format!("\"{text}\": {why}");
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(wrong("a control character"));
    }
    // All of it in quotes, or an address whose local-part is.
    if text.starts_with('"') {
        let (inner, rest) = unquote(text).ok_or_else(|| wrong("a quote is missing"))?;
        let rest = without_comments(rest);
        let rest = rest.trim();
        if rest.is_empty() {
            return special(&inner).unwrap_or_else(|| item_in_brackets(&inner)).map_err(|why| wrong(&why));
        }
        if let Some((_, behind)) = rest.split_once('<').filter(|_| !rest.starts_with('@')) {
            let inner = behind.strip_suffix('>').ok_or_else(|| wrong("> is missing at its end"))?;
            return item_in_brackets(inner.trim()).map_err(|why| wrong(&why));
        }
        return address(text).map_err(|why| wrong(&why));
    }
    if let Some(quoted) = text.strip_prefix('|').map(str::trim_start).filter(|rest| rest.starts_with('"')) {
        if let Some((inner, "")) = unquote(quoted) {
            return words(&inner).map(Item::Command).map_err(|why| wrong(&why));
        }
    }
    if let Some(item) = special(text) {
        return item.map_err(|why| wrong(&why));
    }
    let text = without_comments(text);
    let text = text.trim();
    if let Some(own) = text.strip_prefix('\\').filter(|own| !own.contains('@')) {
        return match name(own) {
            Ok(Item::Name(own)) => Ok(Item::Own(own)),
            Ok(_) => Err(wrong("a name must follow")),
            Err(why) => Err(wrong(&why)),
        };
    }
    let text = text.strip_prefix('\\').unwrap_or(text);
    if let Some((_, behind)) = text.split_once('<') {
        let inner = behind.strip_suffix('>').ok_or_else(|| wrong("> is missing at its end"))?;
        return item_in_brackets(inner.trim()).map_err(|why| wrong(&why));
    }
    item_in_brackets(text).map_err(|why| wrong(&why))
}

fn item_in_brackets(text: &str) -> Result<Item, String> {
    if text.contains('@') { address(text) } else { name(text) }
}

/// What begins with `|`, `/` or `:include:`.
fn special(text: &str) -> Option<Result<Item, String>> {
    if let Some(command) = text.strip_prefix('|') {
        return Some(words(command).map(Item::Command));
    }
    if text.starts_with('/') {
        return Some(Ok(Item::File(text.to_owned())));
    }
    let lower = text.get(..9).map(str::to_ascii_lowercase);
    if lower.as_deref() == Some(":include:") {
        let path = text.get(9..).unwrap_or_default().trim();
        let path = path.strip_prefix('"').and_then(|path| path.strip_suffix('"')).unwrap_or(path);
        return Some(match path.starts_with('/') {
            true => Ok(Item::Include(path.to_owned())),
            false => Err("the path must begin with /".to_owned()),
        });
    }
    None
}

fn address(text: &str) -> Result<Item, String> {
    Address::parse(text.as_bytes()).map(Item::Address).map_err(|error| error.0.to_owned())
}

fn name(text: &str) -> Result<Item, String> {
    if text.is_empty() {
        return Err("a name is missing".to_owned());
    }
    if text.len() > LOCAL_PART_MAX {
        return Err("the name is too long".to_owned());
    }
    if text.contains([' ', '\t']) {
        return Err("a blank in a name: is a comma missing?".to_owned());
    }
    if text.contains([':', '"', '|', '/', '<', '>']) {
        return Err("neither an address nor a name".to_owned());
    }
    Ok(Item::Name(text.to_owned()))
}

/// The text in the quotes that it begins with, and what follows them.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut inner = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some((inner, chars.as_str())),
            '\\' => match chars.next()? {
                // What is not a quote keeps its backslash: a command's own.
                escaped @ ('"' | '\\') => inner.push(escaped),
                other => inner.extend(['\\', other]),
            },
            c => inner.push(c),
        }
    }
    None
}

fn without_comments(text: &str) -> String {
    let (mut depth, mut out) = (0u32, String::new());
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        if !std::mem::take(&mut escaped) {
            match c {
                '\\' => escaped = true,
                '"' if depth == 0 => quoted = !quoted,
                '(' if !quoted => depth = depth.saturating_add(1),
                ')' if !quoted && depth > 0 => {
                    depth -= 1;
                    continue;
                }
                _ => {}
            }
        }
        if depth == 0 {
            out.push(c);
        }
    }
    out
}

/// Cuts a command into its words as a shell would, with quotes and backslashes. What else a shell does is refused.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    const SHELL: &str = "this needs a shell: write |/bin/sh -c '...'";
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            // sendmail wants entries to differ, so people put their name there.
            '#' if word.is_none() => break,
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a quote is missing".to_owned()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a quote is missing".to_owned()),
                        },
                        Some('$' | '`') => return Err(SHELL.to_owned()),
                        Some(c) => word.push(c),
                        None => return Err("a quote is missing".to_owned()),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("a backslash at the end".to_owned()),
            },
            ';' | '&' | '|' | '<' | '>' | '(' | ')' | '$' | '`' | '*' | '?' | '[' | '~' => {
                return Err(SHELL.to_owned());
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    // A shell would replace itself; here nothing is in the way.
    if words.len() > 1 && words.first().is_some_and(|first| first == "exec") {
        words.remove(0);
    }
    match words.first() {
        None => Err("the program is missing".to_owned()),
        // `|''`
        Some(first) if first.is_empty() => Err("the program's name is empty".to_owned()),
        Some(first) if first.contains('=') => Err(SHELL.to_owned()),
        Some(_) if words.len() > WORDS_MAX => Err("too many words".to_owned()),
        Some(_) => Ok(words),
    }
}

#[cfg(test)]
#[path = "item_tests.rs"]
mod tests;
