//! What `newaliases` says: everything that is wrong with an alias file, by line.

use super::{Item, entry, items};
use crate::expand::RECIPIENTS_MAX;
use crate::logical::LogicalLines;
use common::sys::trusted;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Octets of a file of addresses.
pub(crate) const INCLUDE_MAX: u64 = 1 << 20;

/// Most problems that are told.
const PROBLEMS_MAX: usize = 100;

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line that the alias begins in; 0: it is about the file.
    pub line: usize,
    /// What is wrong, and what to do.
    pub text: String,
    /// Mail is lost for it, or cannot be delivered; the others are only worth a look.
    pub error: bool,
}

/// The figures that sendmail's `newaliases` prints, and the problems.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many aliases there are.
    pub aliases: usize,
    /// Octets of the longest right side.
    pub longest: usize,
    /// Octets of all names and right sides.
    pub total: usize,
    /// In the order of the lines.
    pub problems: Vec<Problem>,
}

impl Problem {
    /// What stands behind the file's name: `:7`, or nothing.
    pub fn place(&self) -> String {
        if self.line == 0 { String::new() } else { format!(":{}", self.line) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), common::log::readable(self.text.as_bytes()))
    }
}

impl Checked {
    fn add(&mut self, line: usize, error: bool, text: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { line, text: text.into(), error });
        }
    }

    /// Whether mail can be delivered by it.
    pub fn is_good(&self) -> bool {
        !self.problems.iter().any(|problem| problem.error)
    }
}

/// Reads the whole file. `is_user`: whether there is a user with this name, as far as the caller can know. Errors: it cannot
/// be opened.
pub fn check(path: &Path, is_user: &dyn Fn(&str) -> bool) -> io::Result<Checked> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    let mut checked = Checked::default();
    if let Err(error) = trusted::open_in_place(path) {
        let text = format!("{error}: programs and files named here are refused");
        checked.add(0, true, text);
    } else if meta.mode() & 0o022 != 0 {
        let text = "others than the owner can write to it: programs and files in it are refused (chmod go-w)";
        checked.add(0, true, text);
    }
    let mut lines = LogicalLines::of_aliases(BufReader::new(file));
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut used: Vec<Used> = Vec::new();
    loop {
        let (number, line) = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                checked.add(0, true, error.to_string());
                break;
            }
        };
        let text = String::from_utf8_lossy(line);
        if std::str::from_utf8(line).is_err() {
            checked.add(number, true, format!("{text}: not UTF-8"));
        }
        let (name, value) = match entry(&text) {
            Ok(entry) => entry,
            Err(why) => {
                checked.add(number, true, why);
                continue;
            }
        };
        checked.aliases += 1;
        checked.longest = checked.longest.max(value.len());
        checked.total += name.len() + value.len();
        let name = name.to_ascii_lowercase();
        if let Some(first) = names.get(&name) {
            checked.add(number, false, format!("{name}: is in line {first} already, which counts"));
        } else {
            names.insert(name.clone(), number);
        }
        if name.contains('@') {
            let why = "is never looked up: names here have no domain (virtual_alias_maps has addresses)";
            checked.add(number, false, format!("{name}: {why}"));
        }
        check_value(number, &name, value, &mut used, &mut checked);
    }
    check_circles(&names, &used, &mut checked);
    for Used { number, alias, name, own } in used {
        if name == "root" && (own || alias == "root") {
            checked.add(
                number,
                true,
                format!("{alias}: mail is never delivered as root: name somebody else"),
            );
        }
        let base = name.split(['+', '-']).next().unwrap_or_default().to_owned();
        let known = |name: &str| names.contains_key(name) || is_user(name);
        if !known(&name) && !known(&base) {
            checked.add(number, true, format!("{alias}: there is no user or alias {name}"));
        }
    }
    for (name, error) in [("postmaster", true), ("root", false)] {
        // A postmaster without an alias gets root's mail.
        if !names.contains_key(name) && !names.contains_key("root") {
            let text =
                format!("{name}: is missing; write \"{name}: somebody\" (mail is never delivered as root)");
            checked.add(0, error, text);
        }
    }
    checked.problems.sort_by_key(|problem| problem.line);
    Ok(checked)
}

/// A name in the right side of an alias.
struct Used {
    number: usize,
    alias: String,
    name: String,
    /// `\name`.
    own: bool,
}

/// Aliases that come back to themselves by way of others. One that names itself means the user.
fn check_circles(names: &HashMap<String, usize>, used: &[Used], checked: &mut Checked) {
    let mut next: HashMap<&str, Vec<&str>> = HashMap::new();
    for one in used.iter().filter(|one| !one.own && one.name != one.alias && names.contains_key(&one.name)) {
        if names.get(&one.alias) == Some(&one.number) {
            next.entry(&one.alias).or_default().push(&one.name);
        }
    }
    let mut over: HashSet<&str> = HashSet::new();
    let mut starts: Vec<&str> = next.keys().copied().collect();
    starts.sort_by_key(|name| names.get(*name));
    for start in starts {
        // The way to where we are, each with how many of its names were followed.
        let mut way: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, at)) = way.last_mut().filter(|(name, _)| !over.contains(name)) {
            let (from, target) = (*name, next.get(*name).and_then(|list| list.get(*at)).copied());
            *at += 1;
            match target {
                None => {
                    over.insert(from);
                    way.pop();
                }
                Some(name) if way.iter().any(|(known, _)| *known == name) => {
                    let number = names.get(name).copied().unwrap_or_default();
                    let text = format!("{name}: {from} names it again: mail for it is refused");
                    checked.add(number, true, text);
                }
                Some(name) if over.contains(name) => {}
                Some(name) => way.push((name, 0)),
            }
        }
    }
}

fn check_value(number: usize, name: &str, value: &str, used: &mut Vec<Used>, checked: &mut Checked) {
    let list = items(value);
    // Each entry of its own and of the files that it includes. What those aliases mean that it names is not looked up.
    let mut entries = list.iter().filter(|item| !matches!(item, Ok(Item::Include(_)))).count();
    if list.is_empty() {
        checked.add(number, true, format!("{name}: nothing stands behind it (/dev/null throws mail away)"));
    }
    for item in list {
        match item {
            Err(why) => checked.add(number, true, format!("{name}: {why}")),
            Ok(item @ (Item::Name(_) | Item::Own(_))) => {
                let own = matches!(item, Item::Own(_));
                let (Item::Name(user) | Item::Own(user)) = item else { continue };
                used.push(Used { number, alias: name.to_owned(), name: user.to_ascii_lowercase(), own });
            }
            Ok(Item::Include(path)) => entries += check_include(number, name, Path::new(&path), checked),
            Ok(Item::Command(words)) => {
                let program = words.first().map(String::as_str).unwrap_or_default();
                if program.starts_with('/') && !Path::new(program).is_file() {
                    checked.add(number, true, format!("{name}: there is no program {program}"));
                }
            }
            Ok(Item::File(_) | Item::Address(_)) => {}
        }
    }
    if entries > RECIPIENTS_MAX {
        let text = format!(
            "{name}: means {entries} recipients, and more than {RECIPIENTS_MAX} are not accepted: divide it and send to each part"
        );
        checked.add(number, true, text);
    }
}

/// How many entries the file has.
fn check_include(number: usize, name: &str, path: &Path, checked: &mut Checked) -> usize {
    let mut count = 0;
    let mut text = String::new();
    let read = trusted::open(path, None)
        .and_then(|trusted| trusted.file.take(INCLUDE_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) => checked.add(number, true, format!("{name}: {}: {error}", path.display())),
        Ok(length) if length as u64 > INCLUDE_MAX => {
            checked.add(number, true, format!("{name}: {}: too large", path.display()));
        }
        Ok(_) => {
            let entries = text.lines().zip(1usize..).filter(|(line, _)| !line.trim_start().starts_with('#'));
            for (entries, line) in entries {
                for item in items(entries) {
                    match item {
                        Ok(_) => count += 1,
                        Err(why) => {
                            checked.add(number, true, format!("{name}: {}:{line}: {why}", path.display()))
                        }
                    }
                }
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn problems(text: &str) -> (Checked, Vec<String>) {
        let scratch = Scratch::new();
        let path = scratch.file("aliases", text);
        let checked = check(&path, &|user| user == "anna").unwrap();
        let lines =
            checked.problems.iter().map(|problem| format!("{}:{}", problem.line, problem.text)).collect();
        (checked, lines)
    }

    #[test]
    fn a_good_file() {
        let (checked, problems) = problems(
            "# aliases\npostmaster: root\nroot: anna, Anna+mail\nnull: /dev/null\nprog: \"|/bin/sh -c 'x'\"\nout: a@b.example\n",
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert!(checked.is_good());
        assert_eq!((checked.aliases, checked.longest), (5, 17));
    }

    #[test]
    fn circles() {
        for (text, want) in [
            ("a: b\nb: c, anna\nc: a\n", &["3:a: c names it again"][..]),
            ("x: a\na: b, c\nb: c\nc: anna\n", &[]),
            ("anna: anna, x\nx: \\anna\n", &[]),
            ("a: b\na: a\nb: anna\nb: a\n", &["4:a: is in line 3", "6:b: is in line 5"]),
            ("a: b\nb: a\nc: d\nd: c\n", &["3:a: b names it again", "5:c: d names it again"]),
            ("r: \\root\n", &["3:r: mail is never"]),
            ("a@b: anna\n", &["3:a@b: is never looked up"]),
        ] {
            let (_, problems) = problems(&format!("postmaster: anna\nroot: anna\n{text}"));
            let fits = problems.iter().zip(want).all(|(got, want)| got.starts_with(want));
            assert!(fits && problems.len() == want.len(), "{text}: {problems:?}");
        }
        assert!(problems("postmaster: anna\nroot: root\n").1[0].starts_with("2:root: mail is never"));
        // A chain of any length is no matter of the stack.
        let chain: String = (0..20_000).map(|n| format!("a{n}: a{}\n", n + 1)).collect();
        assert!(problems(&format!("postmaster: anna\nroot: anna\n{chain}a20000: a0\n")).1.len() == 1);
    }

    #[test]
    fn more_members_than_there_may_be() {
        let scratch = Scratch::new();
        let members = |count: usize| -> String { (0..count).map(|n| format!("m{n}@b.example\n")).collect() };
        let (most, more) =
            (scratch.file("most", members(RECIPIENTS_MAX)), scratch.file("more", members(1001)));
        let of = |path: &Path, more: &str| {
            let text = format!("postmaster: anna\nroot: anna\nlist: :include:{}{more}\n", path.display());
            problems(&text).1
        };
        assert_eq!(of(&most, ""), [""; 0]);
        for problems in [of(&more, ""), of(&most, ", anna")] {
            assert!(
                problems.len() == 1 && problems[0].starts_with("3:list: means 1001 recipients"),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let text = "root: anna\nnonsense\nroot: anna\na: nobody\nb:\nc: x y\n: z\nd: |cat > x\ne: :include:/nonexistent\n\
                    f: \"|/nonexistent/program\"\ng: \"|''\"\n";
        let (checked, problems) = problems(text);
        assert!(!checked.is_good());
        for want in [
            "2:want name: address",
            "3:root: is in line 1 already",
            "4:a: there is no user or alias nobody",
            "5:b: nothing stands behind it",
            "6:c: \"x y\": a blank in a name",
            "7:the name is missing",
            "8:d: \"|cat > x\": this needs a shell",
            "9:e: /nonexistent: No such file",
            "10:f: there is no program /nonexistent/program",
            "11:g: \"\"|''\"\": the program's name is empty",
        ] {
            assert!(problems.iter().any(|line| line.starts_with(want)), "{want}: {problems:?}");
        }
        assert_eq!(problems.len(), 10);
    }

    #[test]
    fn a_postmaster_there_has_to_be() {
        for (text, want) in [
            ("postmaster: anna\nroot: anna\n", &[][..]),
            // It goes where root's goes.
            ("root: anna\n", &[]),
            ("a: anna\n", &["0:postmaster: is missing", "0:root: is missing"]),
            ("postmaster: anna\n", &["0:root: is missing"]),
        ] {
            let (_, problems) = problems(text);
            assert_eq!(problems.len(), want.len(), "{text}: {problems:?}");
            assert!(
                want.iter().zip(&problems).all(|(want, got)| got.starts_with(want)),
                "{text}: {problems:?}"
            );
        }
    }

    #[test]
    fn octets_that_are_not_utf_8_are_named_with_their_line() {
        let scratch = Scratch::new();
        let path = scratch.file("aliases", b"postmaster: anna\nroot: anna\nteam: anna # Kollegen f\xfcr\n");
        let checked = check(&path, &|_| true).unwrap();
        let first = checked.problems.first().unwrap();
        assert!(
            first.line == 3 && first.text.starts_with("team: anna") && first.text.ends_with(": not UTF-8")
        );
    }

    #[test]
    fn files_that_others_can_write_to() {
        let scratch = Scratch::new();
        std::fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        let list = scratch.file("list", "anna\n# c\nx y\n");
        let text = format!("postmaster: anna\nroot: anna\nlist: :include:{}\n", list.display());
        let path = scratch.file("aliases", text);
        let lines = || -> Vec<String> {
            check(&path, &|_| true).unwrap().problems.into_iter().map(|problem| problem.text).collect()
        };
        assert!(lines().iter().any(|text| text.contains("list:3: ")), "{:?}", lines());
        std::fs::set_permissions(&list, Permissions::from_mode(0o666)).unwrap();
        assert!(lines().iter().any(|text| text.contains("can be written to by others")), "{:?}", lines());
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(lines().iter().any(|text| text.contains("chmod go-w")));
        assert!(check(Path::new("/nonexistent"), &|_| true).is_err());
    }

    #[test]
    fn directories_that_others_can_write_to() {
        let scratch = Scratch::new();
        let path = scratch.file("aliases", "postmaster: anna\nroot: anna\n");
        for (mode, is_good) in [(0o755, true), (0o775, false), (0o777, false), (0o1777, true)] {
            std::fs::set_permissions(scratch.path(), Permissions::from_mode(mode)).unwrap();
            let checked = check(&path, &|_| true).unwrap();
            assert_eq!(checked.is_good(), is_good, "{mode:o}: {:?}", checked.problems);
            let named = format!("{} can be written to by others: ", scratch.path().display());
            assert!(checked.problems.iter().all(|one| one.line == 0 && one.text.starts_with(&named)));
        }
    }
}
