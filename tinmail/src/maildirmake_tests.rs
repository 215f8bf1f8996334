use super::*;
use std::os::unix::fs::PermissionsExt;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("tinmail-maildirmake-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Place(path)
    }

    fn make(&self, words: &[&str]) -> Result<(), Failed> {
        let path = self.0.join("Maildir");
        let words: Vec<&str> = words.iter().copied().chain([path.to_str().unwrap()]).collect();
        run(&Config::DEFAULT, &words)
    }

    fn list(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("Maildir").join(below)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_maildir_and_folders() {
    let place = Place::new("folders");
    assert!(
        matches!(place.make(&["-f", "Sent"]), Err(Failed::Said(what)) if what.ends_with("there is no Maildir"))
    );
    place.make(&[]).unwrap();
    assert_eq!(place.list(""), ["cur", "new", "tmp"]);
    for name in ["", "cur", "new", "tmp"] {
        let mode = fs::metadata(place.0.join("Maildir").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{name}");
    }
    assert!(
        matches!(place.make(&[]), Err(Failed::Said(what)) if what.ends_with("there is a Maildir already"))
    );
    for folder in ["Sent", "Archive.2026", "Entw\u{fc}rfe", "Gel&APY-scht", "R&D"] {
        place.make(&["-f", folder]).unwrap();
        assert!(
            matches!(place.make(&["-f", folder]), Err(Failed::Said(what)) if what.ends_with("exists")),
            "{folder}"
        );
    }
    let folders = [".Archive.2026", ".Entw&APw-rfe", ".Gel&APY-scht", ".R&-D", ".Sent"];
    let all = place.list("");
    assert!(folders.iter().all(|name| all.iter().any(|there| there == name)), "{all:?}");
    assert_eq!(place.list(".Sent"), ["cur", "maildirfolder", "new", "tmp"]);
    for wrong in ["", "a/b", "..", "a..b", "INBOX", "\u{1}"] {
        assert!(matches!(place.make(&["-f", wrong]), Err(Failed::Said(_))), "{wrong:?}");
    }
}

#[test]
fn quotas() {
    let place = Place::new("quotas");
    place.make(&["-q", "10000000S,1000C"]).unwrap();
    let read = || fs::read_to_string(place.0.join("Maildir/maildirsize")).unwrap();
    assert!(read().starts_with("10000000S,1000C\n0 0"), "{}", read());
    fs::write(place.0.join("Maildir/cur/1.a,S=300:2,S"), vec![b'x'; 300]).unwrap();
    fs::write(place.0.join("Maildir/new/2.b"), vec![b'x'; 7]).unwrap();
    place.make(&["-q", "5C"]).unwrap();
    assert!(read().starts_with("5C\n307 2"), "{}", read());
    assert_eq!(place.list("tmp"), [""; 0]);
    for wrong in ["", "S", "10", "10K", "-1S", "+1S", "1S,2S", "1S,", "99999999999999999999S", "1S\n2 2"] {
        assert!(matches!(place.make(&["-q", wrong]), Err(Failed::Usage(_))), "{wrong:?}");
    }
}

#[test]
fn wrong_words() {
    for words in [&[][..], &["a", "b"], &["-f"], &["-q"], &["-x", "a"], &[""]] {
        assert!(matches!(run(&Config::DEFAULT, words), Err(Failed::Usage(_))), "{words:?}");
    }
    let place = Place::new("file");
    fs::write(place.0.join("Maildir"), "").unwrap();
    assert!(
        matches!(place.make(&[]), Err(Failed::Said(what)) if what.ends_with("something else has this name"))
    );
}
