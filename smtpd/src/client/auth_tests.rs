use super::super::stream::Stream;
use super::super::testing::{client, open};
use super::super::{Client, Remote};
use super::*;
use common::auth::crypt::Work;
use common::auth::scram::ScramKeys;
use common::config::Config;
use common::sys::fd;
use proptest::prelude::*;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};

fn login() -> Login {
    Login { user: "us,er".to_owned(), password: Secret::new(b"pencil".to_vec()) }
}

fn plaintext_client() -> Client {
    let options = Set::<SaslOption>::of(&[SaslOption::NoAnonymous]);
    Client::new(&Config {
        smtp_helo_name: "me.test".into(),
        smtp_sasl_security_options: options,
        ..Config::DEFAULT
    })
}

/// Logs in at a server that offers these mechanisms and answers each line as `answer` says. What the client said, and what
/// became of it.
fn talk(
    client: &Client,
    offer: &str,
    mut answer: impl FnMut(&str) -> String + Send + 'static,
) -> (Vec<String>, Result<(), Status>) {
    let (ours, theirs) = fd::socketpair().unwrap();
    let offer = format!("220 x\r\n250-x\r\n250 AUTH {offer}\r\n");
    let server = std::thread::spawn(move || {
        let mut server = File::from(theirs);
        server.write_all(offer.as_bytes()).unwrap();
        let mut heard = Vec::new();
        for line in BufReader::new(server.try_clone().unwrap()).lines().skip(1) {
            let line = line.unwrap();
            if line != "QUIT" {
                server.write_all(format!("{}\r\n", answer(&line)).as_bytes()).unwrap();
            }
            heard.push(line);
        }
        heard
    });
    let remote = Remote { name: "mx.test".to_owned(), address: None };
    let result = open(client, Stream::new(ours).unwrap(), remote, Some(&login())).map(drop);
    (server.join().unwrap(), result)
}

fn b64(text: &str) -> String {
    Base64::encode_string(text.as_bytes())
}

fn unb64(text: &str) -> String {
    String::from_utf8(Base64::decode_vec(text).unwrap()).unwrap()
}

#[test]
fn plain_and_login_only_where_allowed() {
    let yes = |_: &str| "235 2.7.0 Ok".to_owned();
    let (said, result) = talk(&plaintext_client(), "LOGIN PLAIN", yes);
    assert_eq!((said, result), (vec![format!("AUTH PLAIN {}", b64("\0us,er\0pencil"))], Ok(())));
    for offer in ["LOGIN PLAIN", "GSSAPI", ""] {
        let (said, result) = talk(&client(), offer, yes);
        let status = result.unwrap_err();
        assert_eq!((said, status.code, status.enhanced), (vec!["QUIT".to_owned()], 454, Enhanced(4, 7, 8)));
        assert!(!status.text.contains("pencil"));
    }
    let mut answers = ["334 VXNlcm5hbWU6", "334 ?", "235 Ok"].into_iter();
    let (said, result) = talk(&plaintext_client(), "LOGIN", move |_| answers.next().unwrap().to_owned());
    assert_eq!((said, result), (vec!["AUTH LOGIN".to_owned(), b64("us,er"), b64("pencil")], Ok(())));
}

#[test]
fn cram_md5_and_what_is_tried_after_it() {
    let challenge = "<1896.697170952@postoffice.reston.mci.net>";
    let mut answers =
        [format!("334 {}", b64(challenge)), "535 5.7.8 No".to_owned(), "235 Ok".to_owned()].into_iter();
    let (said, result) = talk(&plaintext_client(), "PLAIN CRAM-MD5", move |_| answers.next().unwrap());
    let digest = cram_md5(b"pencil", challenge.as_bytes()).map(|octet| format!("{octet:02x}")).concat();
    assert_eq!(
        said,
        [
            "AUTH CRAM-MD5".to_owned(),
            b64(&format!("us,er {digest}")),
            format!("AUTH PLAIN {}", b64("\0us,er\0pencil"))
        ]
    );
    assert_eq!(result, Ok(()));
}

#[test]
fn refusals_are_temporary_and_not_repeated() {
    for (answer, tries) in
        [("535 5.7.8 No", 1), ("504 5.5.4 What", 2), ("454 4.7.0 Later", 1), ("421 Bye", 1)]
    {
        let (said, result) = talk(&plaintext_client(), "PLAIN LOGIN", move |_| answer.to_owned());
        let status = result.unwrap_err();
        assert_eq!((said.len() - 1, status.code), (tries, 454), "{answer}");
        assert!(status.text.contains(answer) && !status.text.contains("pencil"), "{}", status.text);
    }
    for answer in ["334 ???", "334 ", "235 Ok"] {
        let (_, result) = talk(&client(), "SCRAM-SHA-256", move |_| answer.to_owned());
        assert!(result.is_err(), "{answer}");
    }
}

/// A server that does SCRAM, except that it changes what it says.
fn scram(hash: ScramHash, change: impl Fn(usize, String) -> String + Send + 'static) -> Result<(), Status> {
    let salt = b"salty".to_vec();
    let keys = ScramKeys::derive(hash, b"pencil", &salt, 4096, &mut Work::default());
    let (mut step, mut first_bare, mut server_first) = (0, String::new(), String::new());
    let answer = move |line: &str| {
        step += 1;
        let said = match step {
            1 => {
                let first = unb64(line.rsplit(' ').next().unwrap());
                first_bare = first.strip_prefix("n,,").unwrap().to_owned();
                assert!(first_bare.starts_with("n=us=2Cer,r="));
                let nonce = first_bare.rsplit("r=").next().unwrap();
                server_first = change(1, format!("r={nonce}srv,s={},i=4096", Base64::encode_string(&salt)));
                server_first.clone()
            }
            2 => {
                let last = unb64(line);
                let (without, proof) = last.rsplit_once(",p=").unwrap();
                let auth_message = format!("{first_bare},{server_first},{without}");
                match keys.verify_proof(auth_message.as_bytes(), &Base64::decode_vec(proof).unwrap()) {
                    Some(signature) => change(2, format!("v={}", Base64::encode_string(&signature))),
                    None => return "535 5.7.8 No".to_owned(),
                }
            }
            _ => return "235 Ok".to_owned(),
        };
        format!("334 {}", b64(&said))
    };
    talk(&client(), hash.name(), answer).1
}

#[test]
fn scram_checks_the_server_too() {
    for hash in [ScramHash::Sha1, ScramHash::Sha256] {
        assert_eq!(scram(hash, |_, said| said), Ok(()));
        for (at, from, to) in [
            (1, "r=", "r=x"),
            (1, "i=4096", "i=4095"),
            (1, "i=4096", "i=10000000"),
            (1, ",s=", ",s=!"),
            (2, "v=", "v=A"),
        ] {
            let result =
                scram(hash, move |step, said| if step == at { said.replace(from, to) } else { said });
            assert!(result.is_err(), "{from} {to}");
        }
        // Its own nonce alone would do for a replay.
        assert!(scram(hash, |step, said| if step == 1 { said.replace("srv", "") } else { said }).is_err());
    }
}

/// Of a server that knows nothing of the password: what it may answer, with our nonce where it wants to have it.
fn answer(choice: u8, words: &str, line: &str) -> String {
    let said = line.rsplit(' ').next().and_then(|word| Base64::decode_vec(word).ok()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let nonce = said.rsplit("r=").next().unwrap_or_default();
    match choice {
        0 => format!("334 {}", b64(&format!("r={nonce}x,s=YWJj,i=4096"))),
        1 => format!("334 {}", b64(&format!("r={nonce}{words}"))),
        2 => format!("334 {}", b64(words)),
        3 => format!("334 {words}"),
        4 => format!("235 {words}"),
        _ => format!("535 {words}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn who_knows_nothing_is_not_believed(
        choices in proptest::collection::vec(
            (prop::sample::select(vec![0u8, 0, 0, 0, 1, 2, 3, 4, 4, 4, 5]), "[ -~]{0,40}"),
            4,
        ),
        offer in prop::sample::select(vec!["SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-256 SCRAM-SHA-1"]),
    ) {
        let mut at = 0;
        let (said, result) = talk(&client(), offer, move |line| {
            let (choice, words) = &choices[at.min(choices.len() - 1)];
            at += 1;
            answer(*choice, words, line)
        });
        // 235 in place of a proof is none.
        prop_assert!(result.is_err(), "{said:?}");
        for line in said {
            let words = line.rsplit(' ').next().unwrap_or_default();
            let words = Base64::decode_vec(words).unwrap_or_default();
            prop_assert!(!line.contains("pencil") && !String::from_utf8_lossy(&words).contains("pencil"));
        }
    }
}

proptest! {
    #[test]
    fn challenges_are_bounded(
        code in prop::sample::select(vec![334u16, 235, 535]),
        text in "[A-Za-z0-9+/=]{0,1400}|([a-zA-Z]{4}){0,300}| *[ -~]{0,20} *",
    ) {
        let (ours, _theirs) = fd::socketpair().unwrap();
        let mut stream = Stream::new(ours).unwrap();
        for mechanism in ["CRAM-MD5", "LOGIN"] {
            let dialogue = Dialogue { stream: &mut stream, time: Duration::ZERO, mechanism };
            let decoded = Base64::decode_vec(text.trim()).ok();
            match dialogue.challenge(Reply { code, text: text.clone() }) {
                Ok(challenge) => {
                    prop_assert!(code == 334 && text.trim().len() <= CHALLENGE_MAX);
                    prop_assert!(decoded.is_some() || mechanism == "LOGIN");
                    prop_assert_eq!(challenge, decoded.unwrap_or_default());
                }
                Err(Failure::Refused(reply, _)) => prop_assert!(code != 334 && reply.code == code),
                Err(Failure::Wrong(_)) => {
                    prop_assert!(code == 334 && (decoded.is_none() || text.trim().len() > CHALLENGE_MAX));
                }
                Err(_) => prop_assert!(false),
            }
        }
    }

    #[test]
    fn only_scram_is_scram(
        text in "(r=ours|r=our|r=|)[a-z]{0,6},s=([A-Za-z0-9]{4}){0,2}=?,i=[0-9]{3,7}(,[a-z=]{0,4})?|[rsi=,a0-9]{0,20}",
    ) {
        let mut fields = text.split(',');
        let mut next = |start| fields.next().and_then(|field| field.strip_prefix(start));
        let (nonce, salt, iterations) = (next("r=ours"), next("s="), next("i="));
        let salt = salt.and_then(|salt| Base64::decode_vec(salt).ok());
        let iterations = iterations.and_then(|text| text.parse().ok());
        let is_right = nonce.is_some_and(|more| !more.is_empty())
            && salt.is_some_and(|salt| !salt.is_empty())
            && iterations.is_some_and(|count: u32| (4096..=600_000).contains(&count));
        let parsed = parse_server_first(&text, "ours");
        prop_assert_eq!(parsed.is_some(), is_right);
        if let Some((nonce, salt, iterations)) = parsed {
            let again = format!("r={nonce},s={},i={iterations}", Base64::encode_string(&salt));
            prop_assert_eq!(parse_server_first(&again, "ours"), Some((nonce, salt, iterations)));
        }
    }
}
