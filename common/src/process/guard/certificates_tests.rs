//! Tests of [`super`], from inside a front that was taken over: it has the channel, and says on it what it likes.

use super::super::super::channel::{Channel, Proof, Request, Why};
use super::super::super::front::Facts;
use super::super::super::{After, Program, front};
use super::*;
use crate::cli;
use crate::config::Config;
use crate::io::Ending;
use crate::log::Log;
use crate::peer::Peer;
use crate::sys::fd;
use crate::tls::testing::{Client, Keeper, identity, path, shake};
use crate::tls::{Offer, Remote};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

static PROGRAM: Program = Program {
    line: cli::Program { name: "pop3d", version: "0", summary: "", flags: &[] },
    beside: None,
    protocol: "pop3",
    out_of_order: "",
    front: |_: &mut front::Front| Err(Ending::Quit),
    after: After::Session { speak: |_| Ending::Quit, idle_timeout: |config| config.pop3_idle_timeout },
    others: &[],
    check: |_| Vec::new(),
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A guard that serves in a thread of its own, and the front's end of the channel to it.
struct Taken {
    channel: Arc<Line>,
    guard: Option<JoinHandle<Result<Option<String>, String>>>,
    users: PathBuf,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.users);
    }
}

/// The channel, as a front of ours uses it; what passes is kept.
struct Line {
    channel: Channel,
    signed: Mutex<Option<(u16, Vec<u8>)>>,
    shown: Mutex<Option<ClientProof>>,
    /// Whether the proof is handed on as it should be.
    shows: bool,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl Remote for Line {
    fn sign(&self, scheme: u16, message: &[u8]) -> Option<Vec<u8>> {
        *self.signed.lock().unwrap() = Some((scheme, message.to_vec()));
        match self.channel.ask(&Request::Sign { scheme, message: message.to_vec() }) {
            Ok(Answer::Signature(signature)) => Some(signature),
            _ => None,
        }
    }
    fn judge(&self, proof: ClientProof) -> bool {
        *self.shown.lock().unwrap() = Some(proof.clone());
        !self.shows || matches!(self.channel.ask(&Request::Judge(proof)), Ok(Answer::Judged { .. }))
    }
}

impl Taken {
    /// With these settings besides those that are needed; the guard's own key is `server`.
    fn new(server: &'static str, settings: &[&str], shows: bool) -> Taken {
        let (ours, theirs) = fd::socketpair().unwrap();
        let text = |name: &str| path(name).to_str().unwrap().to_owned();
        let (cert, key) = match server {
            "ec" => (text("../cert.pem"), text("../key.pem")),
            name => (text(&format!("{name}.pem")), text(&format!("{name}-key.pem"))),
        };
        let uid = if process::is_root() { 20_001 } else { process::user_and_group().0 };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let users = std::env::temp_dir().join(format!("tinmail-users-{}-{count}", std::process::id()));
        std::fs::write(&users, format!("anna:!:{uid}:{uid}::/home/anna::\n")).unwrap();
        let mut pairs = vec![
            format!("ssl_cert_file={cert}"),
            format!("ssl_key_file={key}"),
            format!("ssl_ca_file={}", text("ca.pem")),
            format!("passdb=passwd-file:{}", users.display()),
            "ssl_verify_client_cert=yes".to_owned(),
            "ssl_username_from_cert=yes".to_owned(),
            "auth_mechanisms=plain external".to_owned(),
            "auth_failure_delay=0".to_owned(),
            "first_valid_uid=1".to_owned(),
            "log_path=/dev/null".to_owned(),
        ];
        pairs.extend(settings.iter().map(|&pair| pair.to_owned()));
        let guard = std::thread::spawn(move || {
            let config = Config::from_pairs(&PROGRAM.line, pairs.iter().map(String::as_str));
            let config = config.map_err(|error| error.to_string())?;
            let log = Log::open(&config, "test".to_owned());
            let facts = Box::new(Facts { tls_available: true, ..Facts::default() });
            let guard = Guard::new(
                &PROGRAM,
                Rc::new(config),
                log,
                Peer { remote: None, local: None, on_network: true },
                facts,
                false,
                None,
            );
            let mut guard = guard.map_err(|error| error.to_string())?;
            let channel = Channel::new(ours, PATIENCE);
            let login = guard.converse(&channel).map_err(|error| error.to_string())?;
            Ok(login.map(|login| login.account.name))
        });
        let channel = Channel::new(theirs, PATIENCE);
        let channel = Line { channel, signed: Mutex::default(), shown: Mutex::default(), shows };
        Taken { channel: Arc::new(channel), guard: Some(guard), users }
    }

    fn ask(&self, request: &Request) -> Answer {
        self.channel.channel.ask(request).unwrap()
    }

    fn offer(&self) -> Offer {
        match self.ask(&Request::StartTls) {
            Answer::Tls(offer) => offer,
            other => panic!("{other:?}"),
        }
    }

    /// A handshake with a client, as a front of ours does it.
    fn shake(&self, client: &Client) -> Result<(), rustls::Error> {
        shake(self.offer(), self.channel.clone(), client).map(drop)
    }

    fn external(&self) -> Answer {
        let proof = Proof::External { authzid: Vec::new() };
        self.ask(&Request::Login { proof, tls: "TLS".to_owned() })
    }

    /// What the front would have shown.
    fn shown(&self) -> ClientProof {
        self.channel.shown.lock().unwrap().clone().unwrap()
    }

    /// Who is in: the guard's verdict at the end. `Err`: it broke off.
    fn end(&mut self) -> Result<Option<String>, String> {
        let nothing = String::new;
        let request = Request::Ended { why: Why::Left, detail: nothing(), tls: nothing(), counts: nothing() };
        let _ = self.channel.channel.tell(&request);
        self.guard.take().unwrap().join().unwrap()
    }

    fn assert_nobody(mut self) {
        assert_eq!(self.external(), Answer::Refused(Refused::OutOfTurn));
        assert_eq!(self.end(), Ok(None));
    }
}

const OUT_OF_TURN: Answer = Answer::Refused(Refused::OutOfTurn);

#[test]
fn a_client_with_its_certificate_is_in() {
    for server in ["ec", "ed25519-server"] {
        for is_tls13 in [false, true] {
            let mut taken = Taken::new(server, &[], true);
            taken.shake(&Client::named("anna", is_tls13)).unwrap();
            assert_eq!(taken.external(), Answer::Accepted { server_signature: Vec::new() });
            let handover = Request::Handover { unread: Vec::new(), state: Vec::new() };
            taken.channel.channel.tell(&handover).unwrap();
            assert_eq!(taken.guard.take().unwrap().join().unwrap(), Ok(Some("anna".to_owned())));
        }
    }
}

#[test]
fn a_claim_alone_is_nothing() {
    Taken::new("ec", &[], true).assert_nobody();
    let taken = Taken::new("ec", &[], true);
    taken.offer();
    taken.assert_nobody();
    let taken = Taken::new("ec", &[], true);
    taken.shake(&Client { chain: Vec::new(), ..Client::named("anna", true) }).unwrap();
    taken.assert_nobody();
}

/// The client has shown a certificate, and the front does not have it judged.
#[test]
fn a_certificate_that_the_guard_has_not_judged_is_nothing() {
    let taken = Taken::new("ec", &[], false);
    taken.shake(&Client::named("anna", true)).unwrap();
    taken.assert_nobody();
}

#[test]
fn a_handshake_of_another_connection_is_nothing() {
    for server in ["ec", "ed25519-server"] {
        for is_tls13 in [false, true] {
            let old = Taken::new(server, &[], false);
            old.shake(&Client::named("anna", is_tls13)).unwrap();
            let (scheme, message) = old.channel.signed.lock().unwrap().take().unwrap();
            let new = Taken::new(server, &[], false);
            new.offer();
            // The same signature, if the key makes the same each time; nothing else can be had.
            assert!(matches!(new.ask(&Request::Sign { scheme, message }), Answer::Signature(_)));
            assert_eq!(new.ask(&Request::Judge(old.shown())), OUT_OF_TURN, "{server} {is_tls13}");
            new.assert_nobody();
            // On its own connection it was good.
            assert_eq!(old.ask(&Request::Judge(old.shown())), Answer::Judged { external: true });
        }
    }
}

/// The client meant another server, which is the attacker's; the front lets it sign for that.
#[test]
fn a_handshake_with_another_server_is_nothing() {
    for is_tls13 in [false, true] {
        let taken = Taken::new("ec", &[], false);
        let ask_client = taken.offer().ask_client;
        let theirs = Arc::new(Keeper { identity: Some(identity("ed25519-server")), ..Keeper::default() });
        let offer = Offer { ask_client, ..identity("ed25519-server").offer(false) };
        shake(offer, theirs.clone(), &Client::named("anna", is_tls13)).unwrap();
        let signed = theirs.signed.lock().unwrap().clone().unwrap();
        let message = signed.message;
        assert!(matches!(taken.ask(&Request::Sign { scheme: 0x0403, message }), Answer::Signature(_)));
        let proof = theirs.shown.lock().unwrap().clone().unwrap();
        assert_eq!(taken.ask(&Request::Judge(proof)), OUT_OF_TURN);
        taken.assert_nobody();
    }
}

/// The guard signs it, but the certificate in it is the attacker's.
#[test]
fn our_signature_under_another_certificate_is_nothing() {
    for is_tls13 in [false, true] {
        let taken = Taken::new("ec", &[], false);
        let offer = Offer { chain: identity("ed25519-server").chain(), ..taken.offer() };
        shake(offer, taken.channel.clone(), &Client::named("anna", is_tls13)).unwrap();
        assert_eq!(taken.ask(&Request::Judge(taken.shown())), OUT_OF_TURN);
        taken.assert_nobody();
    }
}

#[test]
fn random_octets_that_are_not_the_guards_are_nothing() {
    for is_tls13 in [false, true] {
        let taken = Taken::new("ec", &[], false);
        let mut offer = taken.offer();
        offer.ask_client.as_mut().unwrap().random = [7; 32];
        shake(offer, taken.channel.clone(), &Client::named("anna", is_tls13)).unwrap();
        assert_eq!(taken.ask(&Request::Judge(taken.shown())), OUT_OF_TURN);
        taken.assert_nobody();
    }
}

#[test]
fn a_certificate_without_its_key_is_nothing() {
    for is_tls13 in [false, true] {
        let client = Client { key: "bert".to_owned(), ..Client::named("anna", is_tls13) };
        let taken = Taken::new("ec", &[], true);
        assert!(taken.shake(&client).is_err(), "the handshake fails");
        taken.assert_nobody();
        let taken = Taken::new("ec", &[], false);
        taken.shake(&client).unwrap();
        assert_eq!(taken.ask(&Request::Judge(taken.shown())), Answer::Refused(Refused::Credentials));
        // Once.
        assert_eq!(taken.ask(&Request::Judge(taken.shown())), OUT_OF_TURN);
        taken.assert_nobody();
    }
}

#[test]
fn certificates_for_which_nobody_vouches_are_nothing() {
    for name in ["expired", "early", "stranger", "server"] {
        let taken = Taken::new("ec", &[], true);
        taken.shake(&Client { key: "anna".to_owned(), ..Client::named(name, true) }).unwrap();
        taken.assert_nobody();
    }
    let taken = Taken::new("ec", &["ssl_require_crl=yes"], true);
    taken.shake(&Client::named("anna", true)).unwrap();
    taken.assert_nobody();
}

#[test]
fn each_request_has_its_turn() {
    let proof = ClientProof { transcript: vec![1; 100], scheme: 0x0403, signature: vec![2; 70] };
    // Before TLS, before our signature.
    let taken = Taken::new("ec", &[], false);
    assert_eq!(taken.ask(&Request::Judge(proof.clone())), OUT_OF_TURN);
    taken.assert_nobody();
    let taken = Taken::new("ec", &[], false);
    taken.offer();
    assert_eq!(taken.ask(&Request::Judge(proof.clone())), OUT_OF_TURN);
    taken.assert_nobody();
    // The second of two good ones: the first one counts.
    let taken = Taken::new("ec", &[], true);
    taken.shake(&Client::named("anna", true)).unwrap();
    assert_eq!(taken.ask(&Request::Judge(taken.shown())), OUT_OF_TURN);
    // Where no certificate is asked for.
    let taken = Taken::new("ec", &["ssl_verify_client_cert=no"], false);
    assert_eq!(taken.offer().ask_client, None);
    assert_eq!(taken.ask(&Request::Judge(proof)), OUT_OF_TURN);
    taken.assert_nobody();
}

/// A long message has one place only.
#[test]
fn a_handshake_is_not_read_out_of_turn() {
    let proof = ClientProof { transcript: vec![1; 20_000], ..ClientProof::default() };
    let mut taken = Taken::new("ec", &[], false);
    let _ = taken.channel.channel.ask(&Request::Judge(proof));
    assert!(taken.end().is_err());
}

#[test]
fn external_has_to_be_on_offer() {
    for settings in ["auth_mechanisms=plain", "ssl_username_from_cert=no"] {
        let taken = Taken::new("ec", &[settings], true);
        taken.shake(&Client::named("anna", true)).unwrap();
        taken.assert_nobody();
    }
}

#[test]
fn the_certificate_is_that_of_one_user() {
    for (authzid, want) in [("bert", Refused::Credentials), ("anna2", Refused::Credentials)] {
        let mut taken = Taken::new("ec", &[], true);
        taken.shake(&Client::named("anna", true)).unwrap();
        let proof = Proof::External { authzid: authzid.into() };
        assert_eq!(taken.ask(&Request::Login { proof, tls: "TLS".to_owned() }), Answer::Refused(want));
        assert_eq!(taken.end(), Ok(None));
    }
    // The CA vouches for him, but he has no account here.
    let mut taken = Taken::new("ec", &[], true);
    taken.shake(&Client::named("bert", true)).unwrap();
    assert_eq!(taken.external(), Answer::Refused(Refused::Credentials));
    assert_eq!(taken.end(), Ok(None));
}
