use super::*;
use proptest::prelude::*;

fn media(value: &str) -> Option<String> {
    let media = MediaType::parse(value.as_bytes())?;
    let mut text = format!("{}/{}", media.kind.escape_ascii(), media.subtype.escape_ascii());
    for parameter in media.parameters() {
        text += &format!("|{}={}", parameter.name.escape_ascii(), parameter.value.escape_ascii());
    }
    Some(text)
}

#[test]
fn media_types() {
    for (value, want) in [
        ("text/plain", Some("text/plain")),
        ("TEXT / Plain (c) ; (c) CharSet = (d) \"x y\" (e)", Some("TEXT/Plain|CharSet=x y")),
        ("text/html;charset=utf-8;format=flowed;", Some("text/html|charset=utf-8|format=flowed")),
        ("text; charset=utf-8", Some("text/plain|charset=utf-8")),
        ("multipart; boundary=b", Some("multipart/mixed|boundary=b")),
        ("text/plain charset=x; format=flowed", Some("text/plain|format=flowed")),
        ("a/b; x=\"a;b\\\"c\"; y=d", Some("a/b|x=a;b\\\"c|y=d")),
        ("a/b; x=\"open", Some("a/b|x=open")),
        ("a/b; x=a=b=c; y==?utf-8?q?a=20b?=", Some("a/b|x=a=b=c|y==?utf-8?q?a=20b?=")),
        ("a/b; name=two words.txt; y=1", Some("a/b|name=two words.txt|y=1")),
        ("a/b; x=1 y=2; z=3", Some("a/b|x=1|z=3")),
        ("a/b; x=1 (c) ; z=3", Some("a/b|x=1|z=3")),
        ("a/b; novalue; =x; ; z=; w = \"\"", Some("a/b|z=|w=")),
        ("a/b; x=\"q\" junk; y=1", Some("a/b|x=q|y=1")),
        ("text plain", None),
        ("text/", None),
        ("/plain", None),
        ("application", None),
        ("", None),
    ] {
        assert_eq!(media(value).as_deref(), want, "{value}");
    }
}

#[test]
fn parameters_of_rfc_2231() {
    for (value, want) in [
        // RFC 2231 section 4.1.
        (
            "a/b; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
            "title*=us-ascii'en'This%20is%20even%20more%20%2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!",
        ),
        ("a/b; URL*0=\"ftp://\"; url*1=\"cs.utk.edu\"", "URL=ftp://cs.utk.edu"),
        ("a/b; o*1=second; x=y; O*0=first", "o=firstsecond|x=y"),
        ("a/b; n*=utf-8''%e2%82%ac; n=fallback", "n*=utf-8\\'\\'%e2%82%ac|n=fallback"),
        ("a/b; p*1=a; p*2=c", "p*1=a|p*2=c"),
        ("a/b; p*0=a; p*2=c", "p=a|p*2=c"),
        ("a/b; w**=1; *0=2; v*01=3; u*x=4; t*99999999999=5", "w**=1|*0=2|v*01=3|u*x=4|t*99999999999=5"),
        ("a/b; p*0=a; p*0=b; p*1=c", "p=ac|p=b"),
    ] {
        let got = media(value).unwrap().replace("\\'", "'");
        assert_eq!(got.strip_prefix("a/b|").unwrap(), want.replace("\\'", "'"), "{value}");
    }
}

#[test]
fn parameters_are_bounded() {
    let many = format!("a/b{}", "; x*0=y".repeat(5000));
    assert_eq!(MediaType::parse(many.as_bytes()).unwrap().parameters().len(), 256);
    for piece in ["; x*0=\"", ";\"", ";(", "; x=a ", ";=", "; x*0=y; x*1=z"] {
        let value = format!("a/b{}", piece.repeat(200_000 / piece.len()));
        let begun = std::time::Instant::now();
        media(&value);
        assert!(begun.elapsed().as_secs() < 5, "{piece}");
    }
}

#[test]
fn dispositions() {
    let print = |value: &str| {
        let (kind, parameters) = disposition(value.as_bytes())?;
        let kind = kind.map(|kind| kind.escape_ascii().to_string());
        Some((kind, parameters.len()))
    };
    for (value, want) in [
        ("attachment", Some((Some("attachment"), 0))),
        ("inline; filename=x; size=3", Some((Some("inline"), 2))),
        ("attachment filename=x", Some((Some("attachment"), 0))),
        ("x y; filename=x", Some((None, 1))),
        ("\"inline\"; filename=x", Some((None, 1))),
        ("; filename=x", Some((None, 1))),
        ("", None),
        ("???", None),
    ] {
        assert_eq!(print(value), want.map(|(kind, count)| (kind.map(str::to_owned), count)), "{value}");
    }
}

#[test]
fn tokens_and_lists() {
    assert_eq!(token(b" (c) base64 (d)"), Some(&b"base64"[..]));
    assert_eq!(token(b"\"7bit\""), None);
    assert_eq!(token(b""), None);
    assert_eq!(tokens(b"en, (c) de fr, x!"), [&b"en"[..], b"de", b"x!"]);
    assert_eq!(tokens(b",,a"), [&b"a"[..]]);
    assert!(tokens(b"").is_empty());
}

#[test]
fn parameters_decoded() {
    let mut none = |_: &[u8], _: &[u8], _: &mut String| false;
    for (name, value, want) in [
        (&b"filename*"[..], &b"utf-8''%e2%82%ac%2"[..], "\u{20ac}%2"),
        (b"filename*", b"utf-8'en'a'b", "a'b"),
        (b"filename*", b"no quotes %41", "no quotes A"),
        (b"filename", b"=?utf-8?q?=C3=B6?=.txt", "\u{f6}.txt"),
        (b"filename", b"%41", "%41"),
    ] {
        assert_eq!(decode_parameter(name, value, &mut none), want);
    }
}

proptest! {
    #[test]
    fn nothing_is_too_strange(value in "(a/b|;|=|[*]0|[*]1|[*]|\"|[(]|[)]|\\\\| |x|'|%41|[?]){0,30}") {
        media(&value);
        let (kind, parameters) = disposition(value.as_bytes()).unwrap_or_default();
        prop_assert!(kind.unwrap_or_default().len() <= value.len());
        for parameter in parameters {
            prop_assert!(!parameter.name.is_empty());
            prop_assert!(parameter.value.len() <= 3 * value.len());
        }
        tokens(value.as_bytes());
    }
}
